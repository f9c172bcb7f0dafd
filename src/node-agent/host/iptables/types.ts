/** The tables of iptables(8) that we use, in the order in which a packet meets them. */
export const TABLES = ["raw", "mangle", "nat", "filter"] as const;
export type Table = (typeof TABLES)[number];

/** Rules by chain, in the words of iptables(8) without "-A CHAIN". */
export type Chains = ReadonlyMap<string, readonly string[]>;

/**
 * A built-in chain, and the chain of ours that it goes to before it meets any
 * rule of somebody else. Each owner has one at most in each built-in chain.
 */
export interface Hook {
  readonly builtIn: string;
  readonly chain: string;
  /** Among several owners of ours in one built-in chain, the lower number comes first. 0 to 99. */
  readonly order: number;
}

/** All that an owner is to have in one table. */
export interface RuleSet {
  readonly chains: Chains;
  readonly hooks: readonly Hook[];
}

/** All that an owner is to have; in a table that is not named, nothing. */
export type Rules = Readonly<Partial<Record<Table, RuleSet>>>;

/** By what an owner knows its chains and rules. */
export interface ChainOwner {
  /** Of all its chains, and of nobody else's; it begins with "VIREO". */
  readonly prefix: string;
  /** Begins the comment of each of its rules, and of nobody else's: "vireo" and lower-case letters. */
  readonly tag: string;
}

/** A table as iptables-save prints it: the rules of each chain, without "-A CHAIN". */
export type ObservedTable = Chains;
export type ObservedTables = Readonly<Record<Table, ObservedTable>>;

/** How many packets a rule has matched since its chain was written. */
export interface RuleCounter {
  readonly table: Table;
  readonly chain: string;
  /** As iptables-save prints it, without "-A CHAIN". */
  readonly rule: string;
  readonly packets: number;
}

export type Change =
  /** Makes the chain, or empties it when it exists. */
  | { readonly kind: "empty-chain"; readonly chain: string }
  | { readonly kind: "append-rule"; readonly chain: string; readonly rule: string }
  /** `place` counts from 1. */
  | { readonly kind: "insert-rule"; readonly chain: string; readonly place: number; readonly rule: string }
  | { readonly kind: "delete-rule"; readonly chain: string; readonly rule: string }
  | { readonly kind: "delete-chain"; readonly chain: string };

/** In the order in which they are to be made. */
export type Changes = Readonly<Partial<Record<Table, readonly Change[]>>>;

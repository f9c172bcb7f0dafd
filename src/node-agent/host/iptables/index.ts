import type { RunCommand } from "../command.ts";
import { createInTurn, type InTurn } from "../in-turn.ts";
import { createIptablesDriver, type IptablesDriver, type IptablesProgram } from "./driver.ts";
import { isChainOf } from "./owner.ts";
import { plan, planFromKnown } from "./plan.ts";
import { type ChainOwner, type Changes, type RuleCounter, type Rules, type Table, TABLES } from "./types.ts";

export type { IptablesProgram } from "./driver.ts";
export type { ChainOwner, Chains, Hook, RuleCounter, RuleSet, Rules, Table } from "./types.ts";

export interface IptablesSyncOptions {
  readonly signal: AbortSignal;
  /** Looks at the tables although it is known what was written last. Default: only when that is not known. */
  readonly verify?: boolean;
}

/** A chain of the owner's, or a built-in chain in which the owner's jump was written. */
export interface ChainChange {
  readonly table: Table;
  readonly chain: string;
}

export interface IptablesOutcome {
  /** What was made, written anew, or removed. */
  readonly changed: readonly ChainChange[];
  /** Chains and jumps that were found to differ from what had been written: somebody else's doing. */
  readonly repaired: number;
}

/** The chains and rules of one owner, in all tables of one protocol. */
export interface Iptables {
  /**
   * Makes the tables hold `wanted` and nothing else of the owner's, in one
   * change per table for the kernel; does nothing when they do. Looks at the
   * tables first when it does not know them: in its first call, and after a failure.
   * Rejects with CommandError when iptables refuses.
   */
  sync(wanted: Rules, options: IptablesSyncOptions): Promise<IptablesOutcome>;
  /** What the rules in the owner's chains have matched since their chain was written last. */
  counters(options: { readonly signal: AbortSignal }): Promise<readonly RuleCounter[]>;
}

export interface IptablesOptions {
  readonly run: RunCommand;
  readonly program: IptablesProgram;
  readonly owner: ChainOwner;
  /**
   * Owners that hook into the same built-in chains share one, so that none
   * counts its place among rules which the other is about to move. Default: its own.
   */
  readonly inTurn?: InTurn;
}

const chainsOf = (changes: Changes): readonly ChainChange[] =>
  TABLES.flatMap((table) =>
    [...new Set(changes[table]?.map(({ chain }) => chain))].map((chain) => ({ table, chain })),
  );

export const createIptables = (options: IptablesOptions): Iptables => {
  const { run, program, owner, inTurn = createInTurn() } = options;
  const driver: IptablesDriver = createIptablesDriver(run, program);
  /** What was written last, if nothing has failed since. */
  let known: Rules | undefined;

  const look = async (wanted: Rules, signal: AbortSignal) => {
    const observed = await driver.observe(signal);
    const changes = plan(owner, wanted, observed);
    // What differs from rules that were written already is somebody else's doing.
    const drift = known === undefined ? {} : known === wanted ? changes : plan(owner, known, observed);
    return { changes, repaired: chainsOf(drift).length };
  };
  const compare = async (wanted: Rules, { signal, verify = false }: IptablesSyncOptions) => {
    const changes = verify || known === undefined ? undefined : planFromKnown(owner, wanted, known);
    return changes === undefined ? look(wanted, signal) : { changes, repaired: 0 };
  };
  return {
    sync: (wanted, syncOptions) =>
      inTurn(async () => {
        const { changes, repaired } = await compare(wanted, syncOptions);
        const changed = chainsOf(changes);
        // When the change fails, or is cut short, nobody knows whether it was made.
        known = undefined;
        if (changed.length > 0) await driver.apply(changes, syncOptions.signal);
        known = wanted;
        return { changed, repaired };
      }),
    counters: async ({ signal }) =>
      (await driver.counters(signal)).filter(({ chain }) => isChainOf(owner, chain)),
  };
};

import {
  type Change,
  type Changes,
  type ObservedTables,
  type RuleCounter,
  type Table,
  TABLES,
} from "./types.ts";

/** Between changes and the text of iptables-restore(8) and iptables-save(8). */

const renderChange = (change: Change): string => {
  switch (change.kind) {
    case "empty-chain":
      return `:${change.chain} - [0:0]`;
    case "append-rule":
      return `-A ${change.chain} ${change.rule}`;
    case "insert-rule":
      return `-I ${change.chain} ${change.place} ${change.rule}`;
    case "delete-rule":
      return `-D ${change.chain} ${change.rule}`;
    case "delete-chain":
      return `-X ${change.chain}`;
  }
};

/** Standard input for iptables-restore --noflush; each table is one change for the kernel. */
export const renderChanges = (changes: Changes): string =>
  TABLES.flatMap((table) => {
    const ofTable = changes[table] ?? [];
    return ofTable.length === 0 ? [] : [`*${table}`, ...ofTable.map(renderChange), "COMMIT", ""];
  }).join("\n");

/** The built-in chains, which exist even when iptables-save does not print a table that nobody has used. */
const BUILT_IN_CHAINS: Readonly<Record<Table, readonly string[]>> = {
  raw: ["PREROUTING", "OUTPUT"],
  mangle: ["PREROUTING", "INPUT", "FORWARD", "OUTPUT", "POSTROUTING"],
  nat: ["PREROUTING", "INPUT", "OUTPUT", "POSTROUTING"],
  filter: ["INPUT", "FORWARD", "OUTPUT"],
};

const isTable = (name: string): name is Table => (TABLES as readonly string[]).includes(name);

const unusedTable = (table: Table): Map<string, string[]> =>
  new Map(BUILT_IN_CHAINS[table].map((chain) => [chain, []]));

/** Reads what iptables-save prints, of any number of tables. Tables that are not ours to use are passed over. */
export const parseTables = (text: string): ObservedTables => {
  const tables = {
    raw: unusedTable("raw"),
    mangle: unusedTable("mangle"),
    nat: unusedTable("nat"),
    filter: unusedTable("filter"),
  };
  let chains = new Map<string, string[]>();
  for (const line of text.split("\n")) {
    if (line.startsWith("*")) {
      const name = line.slice(1).trim();
      chains = isTable(name) ? tables[name] : new Map();
    }
    const [, chain] = /^:(\S+) /.exec(line) ?? [];
    if (chain !== undefined) chains.set(chain, []);
    const [, owner, rule] = /^-A (\S+)(?: (.*))?$/.exec(line) ?? [];
    if (owner !== undefined) chains.get(owner)?.push(rule ?? "");
  }
  return tables;
};

/** Reads what `iptables-save --counters` prints. */
export const parseCounters = (text: string): readonly RuleCounter[] => {
  const counters: RuleCounter[] = [];
  let table: Table | undefined;
  for (const line of text.split("\n")) {
    if (line.startsWith("*")) {
      const name = line.slice(1).trim();
      table = isTable(name) ? name : undefined;
    }
    const [, packets, chain, rule] = /^\[(\d+):\d+\] -A (\S+)(?: (.*))?$/.exec(line) ?? [];
    if (table === undefined || chain === undefined) continue;
    counters.push({ table, chain, rule: rule ?? "", packets: Number(packets) });
  }
  return counters;
};

import type { Change, ObservedTable } from "./plan.ts";

/** Between changes and the text of iptables-restore(8) and iptables-save(8). */

const renderChange = (change: Change): string => {
  switch (change.kind) {
    case "empty-chain":
      return `:${change.chain} - [0:0]`;
    case "append-rule":
      return `-A ${change.chain} ${change.rule}`;
    case "insert-first":
      return `-I ${change.chain} 1 ${change.rule}`;
    case "delete-rule":
      return `-D ${change.chain} ${change.rule}`;
    case "delete-chain":
      return `-X ${change.chain}`;
  }
};

/** Standard input for iptables-restore --noflush. */
export const renderChanges = (changes: readonly Change[]): string =>
  ["*filter", ...changes.map(renderChange), "COMMIT", ""].join("\n");

/** The built-in chains, which exist even when iptables-save does not print a table that nobody has used. */
const BUILT_IN_CHAINS = ["INPUT", "FORWARD", "OUTPUT"];

/** Reads what `iptables-save -t filter` prints. */
export const parseTable = (text: string): ObservedTable => {
  const chains = new Map<string, string[]>(BUILT_IN_CHAINS.map((chain) => [chain, []]));
  for (const line of text.split("\n")) {
    const [, chain] = /^:(\S+) /.exec(line) ?? [];
    if (chain !== undefined) chains.set(chain, []);
    const [, owner, rule] = /^-A (\S+)(?: (.*))?$/.exec(line) ?? [];
    if (owner !== undefined) chains.get(owner)?.push(rule ?? "");
  }
  return chains;
};

import type { RunCommand } from "../host/command.ts";
import { both } from "../host/both.ts";
import { createInTurn } from "../host/in-turn.ts";
import { createFilterDriver, type FilterDriver } from "./driver.ts";
import { plan } from "./plan.ts";
import { ipv4Rules, ipv6Rules, noRules, type RuleSet } from "./rules.ts";
import type { GuestFilter } from "./types.ts";

export type { GuestFilter } from "./types.ts";

export interface FiltersCallOptions {
  readonly signal: AbortSignal;
}

/**
 * The packet filter around this node's guests. It is whole-node: each call says
 * what all guests are to have, and a tap that is not named gets nothing through.
 */
export interface Filters {
  /**
   * Makes the rules equal to what `guests` say, in one step for the kernel;
   * does nothing when they are. To be awaited before a guest is started.
   */
  sync(guests: readonly GuestFilter[], options: FiltersCallOptions): Promise<void>;
  /** Removes every rule and chain of ours. */
  tearDown(options: FiltersCallOptions): Promise<void>;
}

export interface FiltersOptions {
  readonly run: RunCommand;
  /**
   * Addresses of nodes, this one and others: guests may not open connections to
   * them. Asked at each pass. What is not IPv4 is ignored.
   */
  readonly nodeAddresses: () => readonly string[];
}

const makeEqual = async (driver: FilterDriver, wanted: RuleSet, signal: AbortSignal): Promise<void> => {
  const changes = plan(wanted, await driver.observe(signal));
  if (changes.length > 0) await driver.apply(changes, signal);
};

export const createFilters = ({ run, nodeAddresses }: FiltersOptions): Filters => {
  const ipv4 = createFilterDriver(run, "iptables");
  const ipv6 = createFilterDriver(run, "ip6tables");
  const inTurn = createInTurn();
  return {
    sync: (guests, { signal }) =>
      inTurn(async () => {
        const rules = ipv4Rules(guests, nodeAddresses());
        await both(makeEqual(ipv6, ipv6Rules, signal), makeEqual(ipv4, rules, signal));
      }),
    tearDown: ({ signal }) =>
      inTurn(async () => {
        await makeEqual(ipv4, noRules, signal);
        await makeEqual(ipv6, noRules, signal);
      }),
  };
};

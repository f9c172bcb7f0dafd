import type { RunCommand } from "../host/command.ts";
import { both } from "../host/both.ts";
import { createInTurn, type InTurn } from "../host/in-turn.ts";
import { createIpsets } from "../host/ipset/index.ts";
import { createIptables } from "../host/iptables/index.ts";
import { affectedGuests } from "./affected.ts";
import { createDropCounter, type Drops } from "./drops.ts";
import { OWNER, SET_PREFIX } from "./owner.ts";
import { type AffectedMachines, createRevocation } from "./revocation.ts";
import { createRuleWriter, ipv6Rules } from "./rules.ts";
import type { DesiredFilters, FilterOutcome } from "./types.ts";

export type {
  DesiredFilters,
  FilterGroup,
  FilterNetwork,
  FilterOutcome,
  FilterRule,
  GroupMembers,
  GuestFilter,
} from "./types.ts";

export { dropReasons } from "./drops.ts";
export type { DropReason, Drops } from "./drops.ts";

export interface FiltersCallOptions {
  readonly signal: AbortSignal;
}

export interface FiltersSyncOptions extends FiltersCallOptions {
  /**
   * Looks at what is really there, and repairs what somebody else has changed.
   * Default: only in the first sync, and after a failure.
   */
  readonly verify?: boolean;
}

/**
 * The packet filter around this node's guests. It is whole-node: each call says
 * what all guests are to have, and a tap that is not named gets nothing through.
 */
export interface Filters {
  /**
   * Makes rules and sets equal to what `desired` says, each table in one step
   * for the kernel; does nothing when they are. To be awaited before a guest is
   * started. Rejects with RangeError when `desired` contradicts itself, and with
   * CommandError when the host refuses; what was in force before stays so then,
   * as far as it was not replaced yet.
   */
  sync(desired: DesiredFilters, options: FiltersSyncOptions): Promise<FilterOutcome>;
  /** Packets refused since the rules were first written, as far as this agent has looked; never less than before. */
  observeDrops(options: FiltersCallOptions): Promise<Drops>;
  /** Removes every rule, chain and set of ours. */
  tearDown(options: FiltersCallOptions): Promise<void>;
}

export interface FiltersOptions {
  readonly run: RunCommand;
  /** Shared with whoever else hooks into the same chains of iptables. Default: nobody. */
  readonly inTurn?: InTurn;
}

export const createFilters = ({ run, inTurn: tables = createInTurn() }: FiltersOptions): Filters => {
  const ipv4 = createIptables({ run, program: "iptables", owner: OWNER, inTurn: tables });
  const ipv6 = createIptables({ run, program: "ip6tables", owner: OWNER });
  const sets = createIpsets({ run, prefix: SET_PREFIX });
  const ipv4Rules = createRuleWriter();
  const sumUp = createDropCounter();
  const inTurn = createInTurn();
  const revocation = createRevocation({ run });
  let before: DesiredFilters | undefined;
  /** Whether it is known what was in force before. */
  let continued = false;

  const judgeConnections = async (
    desired: DesiredFilters,
    affected: AffectedMachines,
    options: FiltersCallOptions,
  ) => {
    const remaining = new Set(desired.guests.map(({ tap }) => tap));
    for (const gone of before?.guests.filter(({ tap }) => !remaining.has(tap)) ?? []) {
      await revocation.forget(gone, desired, options);
    }
    if (affected.length === 0) return { revoked: 0, restored: 0 };
    return revocation.revoke(desired, affected, options);
  };

  /** Sets come before the rules that name them, and go after them. */
  const program = async (desired: DesiredFilters, options: FiltersSyncOptions): Promise<FilterOutcome> => {
    const wanted = ipv4Rules(desired);
    const wasContinued = continued;
    continued = false;
    const [closed, filled] = await both(ipv6.sync(ipv6Rules, options), sets.sync(wanted.sets, options));
    const written = await ipv4.sync(wanted.tables, options);
    const pruned = await sets.prune(wanted.sets, options);
    const everybody = [...new Set(wanted.guests.map(({ vmUid }) => vmUid))].sort();
    const affected = wasContinued ? affectedGuests(wanted, written.changed, filled.changed) : everybody;
    const cut = await judgeConnections(desired, wasContinued ? affected : "all", options);
    before = desired;
    continued = true;
    return {
      changedChains: closed.changed.length + filled.changed.length + written.changed.length + pruned.length,
      repaired: closed.repaired + filled.repaired + written.repaired,
      affectedGuests: affected,
      ...cut,
    };
  };

  return {
    sync: (desired, options) => inTurn(() => program(desired, options)),
    observeDrops: (options) => inTurn(async () => sumUp(await ipv4.counters(options))),
    tearDown: ({ signal }) =>
      inTurn(async () => {
        continued = false;
        const options = { signal, verify: true };
        await ipv4.sync({}, options);
        await ipv6.sync({}, options);
        await sets.sync(new Map(), options);
        await sets.prune(new Map(), { signal });
      }),
  };
};

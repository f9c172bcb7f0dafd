import { setTimeout } from "node:timers/promises";

import { CommandError, type RunCommand } from "../command.ts";
import { differingSets, parseSets, planFill, temporarySet } from "./plan.ts";
import type { AddressSets } from "./types.ts";

export type { AddressSet, AddressSets } from "./types.ts";

export interface IpsetSyncOptions {
  readonly signal: AbortSignal;
  /** Looks at the sets although it is known what was written last. Default: only when that is not known. */
  readonly verify?: boolean;
}

export interface IpsetOutcome {
  /** Names of the sets that were made or got other content. */
  readonly changed: readonly string[];
  /** Sets that were found to differ from what had been written: somebody else's doing. */
  readonly repaired: number;
}

/** The sets of one owner: those whose names begin with its prefix. One call at a time. */
export interface Ipsets {
  /**
   * Makes the wanted sets and gives them their content, each at one moment.
   * Sets that are no longer wanted stay: rules may still use them. Rejects with
   * CommandError when ipset refuses.
   */
  sync(wanted: AddressSets, options: IpsetSyncOptions): Promise<IpsetOutcome>;
  /**
   * Removes the sets that are not among `wanted`, once no rule uses them.
   * Those that are still in use when `patienceMs` is over stay for the next call.
   */
  prune(wanted: AddressSets, options: { readonly signal: AbortSignal }): Promise<readonly string[]>;
}

export interface IpsetsOptions {
  readonly run: RunCommand;
  readonly prefix: string;
  /** How long the kernel may take to let go of a set after its last rule, in ms. Default: 1000. */
  readonly patienceMs?: number;
}

const TIMEOUT_MS = 30_000;
const MAX_OUTPUT_BYTES = 256 * 1024 * 1024;
const PAUSE_MS = 10;

const surplus = (present: AddressSets, wanted: AddressSets): readonly string[] =>
  [...present.keys()].filter((name) => !wanted.has(name));

export const createIpsets = ({ run, prefix, patienceMs = 1000 }: IpsetsOptions): Ipsets => {
  /** What is there, if nothing has failed since it was last written or seen. */
  let known: AddressSets | undefined;

  const look = async (signal: AbortSignal): Promise<AddressSets> => {
    const { stdout } = await run("ipset", ["save"], {
      signal,
      timeoutMs: TIMEOUT_MS,
      maxOutputBytes: MAX_OUTPUT_BYTES,
    });
    return parseSets(prefix, stdout);
  };
  const restore = async (lines: readonly string[], signal: AbortSignal): Promise<void> => {
    await run("ipset", ["restore"], { stdin: `${lines.join("\n")}\n`, signal, timeoutMs: TIMEOUT_MS });
  };
  /** Whether all are gone. The kernel lets go of a set a little after the rule that used it. */
  const destroy = async (names: readonly string[], signal: AbortSignal): Promise<boolean> => {
    try {
      await restore(
        names.map((name) => `destroy ${name}`),
        signal,
      );
      return true;
    } catch (error) {
      if (error instanceof CommandError && error.failure === "exit") return false;
      throw error;
    }
  };

  /** Returns those that are still in use when patience is over. */
  const destroyAll = async (names: readonly string[], signal: AbortSignal): Promise<readonly string[]> => {
    const end = performance.now() + patienceMs;
    let left = names;
    while (!(await destroy(left, signal))) {
      const present = await look(signal);
      left = left.filter((name) => present.has(name));
      if (left.length === 0 || performance.now() > end) return left;
      await setTimeout(PAUSE_MS, undefined, { signal });
    }
    return [];
  };

  return {
    sync: async (wanted, { signal, verify = false }) => {
      const written = known;
      const present = verify || written === undefined ? await look(signal) : written;
      const repaired =
        written === undefined || present === written ? 0 : differingSets(written, present).length;
      const changed = differingSets(wanted, present);
      const lines = planFill(prefix, wanted, present);
      // When the change fails, or is cut short, nobody knows how far it came.
      known = undefined;
      if (lines.length > 0) await restore(lines, signal);
      const kept = [...present].filter(([name]) => name !== temporarySet(prefix));
      known = new Map([...kept, ...wanted]);
      return { changed, repaired };
    },
    prune: async (wanted, { signal }) => {
      const before = known ?? (await look(signal));
      const names = surplus(before, wanted);
      if (names.length === 0) return [];
      known = undefined;
      const left = new Set(await destroyAll(names, signal));
      known = new Map([...before].filter(([name]) => wanted.has(name) || left.has(name)));
      return names.filter((name) => !left.has(name));
    },
  };
};

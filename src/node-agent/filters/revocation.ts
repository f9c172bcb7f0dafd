import { REVOKED_BIT } from "../../api/network-identity.ts";
import type { RunCommand } from "../host/command.ts";
import { createConntrackTable } from "./conntrack.ts";
import { type AffectedMachines, entriesOf, type GoneGuest, markMessage, planRevocations } from "./revoke.ts";
import type { DesiredFilters } from "./types.ts";

export type { AffectedMachines, GoneGuest } from "./revoke.ts";

export interface RevocationCallOptions {
  readonly signal: AbortSignal;
}

/** Cuts connections that the rules no longer allow. */
export interface Revocation {
  /**
   * Judges the connections of the affected machines by `desired`, which the
   * kernel must enforce already: a connection that begins meanwhile is judged
   * by the new rules. To be called after each change of what is allowed, with
   * the machines that it concerns; and for "all" by an agent that has just
   * started, since its predecessor may have died between the two.
   */
  revoke(
    desired: DesiredFilters,
    affected: AffectedMachines,
    options: RevocationCallOptions,
  ): Promise<{ readonly revoked: number; readonly restored: number }>;
  /**
   * Removes what is left of a guest's connections. To be called when its tap is
   * gone from this node and its rules are; `desired` names those that remain.
   */
  forget(gone: GoneGuest, desired: DesiredFilters, options: RevocationCallOptions): Promise<void>;
}

export const createRevocation = ({ run }: { readonly run: RunCommand }): Revocation => {
  const table = createConntrackTable(run);
  return {
    revoke: async (desired, affected, { signal }) => {
      if (desired.guests.length === 0 || affected.length === 0) {
        return { revoked: 0, restored: 0 };
      }
      const { revoke, restore } = planRevocations(await table.list(signal), desired, affected);
      const revoked = await table.change(
        revoke.map((entry) => markMessage(entry, REVOKED_BIT)),
        signal,
      );
      const restored = await table.change(
        restore.map((entry) => markMessage(entry, 0)),
        signal,
      );
      return { revoked, restored };
    },
    forget: async (gone, desired, { signal }) => {
      const left = entriesOf(gone, await table.list(signal), desired);
      await table.change(
        left.map((key) => ({ kind: "delete", key })),
        signal,
      );
    },
  };
};

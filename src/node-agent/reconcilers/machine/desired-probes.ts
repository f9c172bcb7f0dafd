import type { GuestStatus } from "../../../api/virtual-machine.ts";
import type { PlacedMachine } from "../../desired.ts";
import { tapName } from "../../links/types.ts";
import type { Finding, ProbedGuest } from "../../probes/types.ts";

/** How a running guest is to be probed; undefined for one that has no address. */
export const desiredProbes = (
  { machine, allocation }: PlacedMachine,
  known: { readonly guest: GuestStatus; readonly readyBefore: Finding; readonly now: Date },
): ProbedGuest | undefined => {
  const [first] = allocation.interfaces;
  if (first === undefined) return undefined;
  const { metadata, spec } = machine;
  const { startedAt } = known.guest;
  return {
    vmUid: metadata.uid,
    tap: tapName(metadata.uid, first.network),
    address: first.address,
    startedAt: startedAt === undefined ? known.now : new Date(startedAt),
    livenessProbe: spec.livenessProbe,
    readinessProbe: spec.readinessProbe,
    readyBefore: known.readyBefore,
  };
};

import { withTransitionTimes } from "../../../api/condition.ts";
import { apiVersionOf } from "../../../api/resource.ts";
import {
  type SnapshotConsistency,
  type SnapshotPhase,
  type VirtualMachineSnapshot,
  virtualMachineSnapshots,
} from "../../../api/virtual-machine-snapshot.ts";
import type { OwnStatus } from "../../object-view.ts";
import { type Readiness, readyConditions } from "../../ready-conditions.ts";

type Status = NonNullable<VirtualMachineSnapshot["status"]>;

/** What a snapshot shows, once it is taken. */
export interface TakenSnapshot {
  readonly takenAt: string;
  readonly consistency: SnapshotConsistency;
  readonly memory: boolean;
  readonly memoryBytes?: number;
  readonly disks: IntendedDisks;
  /** Why the guest's file systems were not frozen although that was asked for. */
  readonly quiesceFailure?: string | undefined;
}

/** Which disks are to be in a snapshot: written down before the first of them is touched. */
export type IntendedDisks = NonNullable<Status["disks"]>;

/** What a pass over a snapshot came to. */
export type SnapshotResult =
  /** Something has to happen first. */
  | { readonly kind: "waiting"; readonly reason: string; readonly message: string }
  | { readonly kind: "taking"; readonly disks: IntendedDisks }
  | { readonly kind: "taken"; readonly taken: TakenSnapshot }
  /** There is no snapshot and will be none. */
  | { readonly kind: "failed"; readonly reason: string; readonly message: string }
  /** Deleted; what only it needed is merged or removed. */
  | { readonly kind: "deleting"; readonly progressPercent?: number | undefined; readonly message?: string }
  | { readonly kind: "released" };

/** What of a snapshot's status the agent writes. */
export const ownSnapshotStatus: OwnStatus = {
  fields: [
    "observedGeneration",
    "phase",
    "takenAt",
    "consistency",
    "memory",
    "memoryBytes",
    "disks",
    "progressPercent",
  ],
  conditions: ["Ready", "Reconciling", "Stalled", "Released"],
};

interface Verdict extends Readiness {
  readonly phase: SnapshotPhase;
  /** What the snapshot shows, as far as that is known. */
  readonly content: Partial<Status>;
}

/** What was said of the content before: it stays while the snapshot is deleted. */
const contentOf = ({ status }: VirtualMachineSnapshot): Partial<Status> => {
  const { takenAt, consistency, memory, memoryBytes, disks } = status ?? {};
  return Object.fromEntries(
    Object.entries({ takenAt, consistency, memory, memoryBytes, disks }).filter(
      ([, value]) => value !== undefined,
    ),
  );
};

const takenMessages: Readonly<Record<TakenSnapshot["consistency"], string>> = {
  Online: "The disks are as after a power cut at that moment.",
  Quiesced: "The guest's file systems were frozen at that moment.",
  Offline: "The guest was off at that moment.",
};

const takenVerdict = ({ quiesceFailure, ...content }: TakenSnapshot): Verdict => {
  const { consistency, memory } = content;
  const disks = memory ? "The guest's memory is in the snapshot too." : takenMessages[consistency];
  const message =
    quiesceFailure === undefined ? disks : `${disks} They could not be frozen: ${quiesceFailure}`;
  return { phase: "Ready", ready: "True", reason: consistency, message, content };
};

const verdictOf = (snapshot: VirtualMachineSnapshot, result: SnapshotResult): Verdict => {
  switch (result.kind) {
    case "waiting": {
      const { reason, message } = result;
      return { phase: "Pending", ready: "False", reason, message, content: contentOf(snapshot) };
    }
    case "taking":
      return {
        phase: "InProgress",
        ready: "False",
        reason: "InProgress",
        message: "The snapshot is being taken.",
        content: { disks: result.disks },
      };
    case "taken":
      return takenVerdict(result.taken);
    case "failed": {
      const { reason, message } = result;
      return { phase: "Failed", ready: "False", reason, message, stalled: true, content: {} };
    }
    case "deleting":
      return {
        phase: "Deleting",
        ready: "False",
        reason: "Merging",
        message: result.message ?? "What only the snapshot needs is being removed.",
        content: {
          ...contentOf(snapshot),
          ...(result.progressPercent === undefined ? {} : { progressPercent: result.progressPercent }),
        },
      };
    case "released":
      return {
        phase: "Deleting",
        ready: "False",
        reason: "Released",
        message: "Nothing that only the snapshot needed is left on the node.",
        content: contentOf(snapshot),
      };
  }
};

/** Everything that the node agent says of a snapshot, as one server-side apply of its status. */
export const snapshotStatus = (snapshot: VirtualMachineSnapshot, result: SnapshotResult, now: Date) => {
  const said = verdictOf(snapshot, result);
  const observedGeneration = snapshot.metadata.generation ?? 0;
  const isReleased = result.kind === "released";
  const drafts = readyConditions(said, { observedGeneration, isReleased });
  const { name, namespace, uid } = snapshot.metadata;
  return {
    apiVersion: apiVersionOf(virtualMachineSnapshots),
    kind: virtualMachineSnapshots.kind,
    metadata: { name, namespace, uid },
    status: {
      observedGeneration,
      phase: said.phase,
      ...said.content,
      conditions: withTransitionTimes(drafts, snapshot.status?.conditions, now),
    },
  };
};

export type SnapshotStatusApply = ReturnType<typeof snapshotStatus>;

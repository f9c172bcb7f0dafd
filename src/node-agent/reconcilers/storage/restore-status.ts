import { findCondition, timestampOf, withTransitionTimes } from "../../../api/condition.ts";
import { apiVersionOf } from "../../../api/resource.ts";
import {
  type RestorePhase,
  type VirtualMachineRestore,
  virtualMachineRestores,
} from "../../../api/virtual-machine-restore.ts";
import type { OwnStatus } from "../../object-view.ts";
import { type Readiness, readyConditions } from "../../ready-conditions.ts";

/**
 * How far a restore is, as far as the records of the disks do not tell: once it
 * is finished or undone, they know nothing of it any more.
 */
export const restoreStages = ["Restoring", "Finishing", "Undoing"] as const;
export type RestoreStage = (typeof restoreStages)[number];

/** What a pass over a restore came to. */
export type RestoreResult =
  /** Something has to happen first. */
  | { readonly kind: "waiting"; readonly reason: string; readonly message: string }
  /** The machine is the restore's from now on; the stage is where a fresh agent goes on. */
  | { readonly kind: "working"; readonly stage: RestoreStage; readonly message: string }
  | { readonly kind: "succeeded" }
  /** The machine is as it was. */
  | { readonly kind: "failed"; readonly reason: string; readonly message: string };

/** What of a restore's status the agent writes. */
export const ownRestoreStatus: OwnStatus = {
  fields: ["observedGeneration", "phase", "startedAt", "completedAt"],
  conditions: ["Ready", "Reconciling", "Stalled"],
};

interface Verdict extends Readiness {
  readonly phase: RestorePhase;
}

/** Whether the restore is over, well or not: nothing more is ever done for it. */
export const isOver = ({ status }: VirtualMachineRestore): boolean =>
  status?.phase === "Succeeded" || status?.phase === "Failed";

/** The stage that the status names, with its message; undefined before the restore has begun. */
export const stageOf = ({
  status,
}: VirtualMachineRestore): { readonly stage: RestoreStage; readonly message: string } | undefined => {
  const ready = findCondition(status?.conditions, "Ready");
  const stage = restoreStages.find((one) => one === ready?.reason);
  return status?.phase !== "InProgress" || stage === undefined || ready === undefined
    ? undefined
    : { stage, message: ready.message };
};

const verdictOf = (result: RestoreResult): Verdict => {
  switch (result.kind) {
    case "waiting":
      return { phase: "Pending", ready: "False", reason: result.reason, message: result.message };
    case "working":
      return { phase: "InProgress", ready: "False", reason: result.stage, message: result.message };
    case "succeeded":
      return {
        phase: "Succeeded",
        ready: "True",
        reason: "Succeeded",
        message: "The machine is as the snapshot shows it.",
      };
    case "failed":
      return {
        phase: "Failed",
        ready: "False",
        reason: result.reason,
        message: result.message,
        stalled: true,
      };
  }
};

/** When the node began, and when it was over: both are said once. */
const times = ({ status }: VirtualMachineRestore, phase: RestorePhase, now: Date) => {
  const startedAt = status?.startedAt ?? (phase === "Pending" ? undefined : timestampOf(now));
  const completed = phase === "Succeeded" || phase === "Failed";
  const completedAt = completed ? (status?.completedAt ?? timestampOf(now)) : undefined;
  return {
    ...(startedAt === undefined ? {} : { startedAt }),
    ...(completedAt === undefined ? {} : { completedAt }),
  };
};

/** Everything that the node agent says of a restore, as one server-side apply of its status. */
export const restoreStatus = (restore: VirtualMachineRestore, result: RestoreResult, now: Date) => {
  const { phase, ...said } = verdictOf(result);
  const observedGeneration = restore.metadata.generation ?? 0;
  const drafts = readyConditions(said, { observedGeneration });
  const { name, namespace, uid } = restore.metadata;
  return {
    apiVersion: apiVersionOf(virtualMachineRestores),
    kind: virtualMachineRestores.kind,
    metadata: { name, namespace, uid },
    status: {
      observedGeneration,
      phase,
      ...times(restore, phase, now),
      conditions: withTransitionTimes(drafts, restore.status?.conditions, now),
    },
  };
};

export type RestoreStatusApply = ReturnType<typeof restoreStatus>;

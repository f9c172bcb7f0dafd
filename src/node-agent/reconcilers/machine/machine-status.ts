import { type ConditionDraft, findCondition, withTransitionTimes } from "../../../api/condition.ts";
import { apiVersionOf } from "../../../api/resource.ts";
import {
  type GuestStatus,
  type PrintableStatus,
  type VirtualMachine,
  type VirtualMachineCondition,
  virtualMachines,
} from "../../../api/virtual-machine.ts";
import type { PendingChange } from "../../domains/types.ts";
import { isOn } from "./guest-record.ts";
import type { Goal } from "./lifecycle.ts";
import type { Finding } from "../../probes/types.ts";
import { type Readiness, readyConditions } from "../../ready-conditions.ts";

/** A disk that a machine needs before it can be started, and that is not there. */
export type MissingStorage =
  /** It is on its way. */
  | { readonly kind: "waiting"; readonly reason: string; readonly message: string }
  | {
      readonly kind: "failed";
      readonly reason: string;
      readonly message: string;
      /** In milliseconds. */
      readonly retryAfterMs: number;
    }
  /** Only a person can help. */
  | { readonly kind: "refused"; readonly reason: string; readonly message: string };

/** What of its storage a running guest does not have as its spec says. */
export interface StorageDifference {
  readonly reason:
    | "VolumesNotReady"
    | "AttachFailed"
    | "Detaching"
    | "DetachPending"
    | "Growing"
    | "Migrating";
  readonly message: string;
}

/** A guest that runs, compared with what it is to have. */
export interface GuestComparison {
  readonly storage: readonly StorageDifference[];
  /** What it gets only by a restart. */
  readonly pendingChanges: readonly PendingChange[];
}

/** What carrying out a step came to. */
export type StepOutcome =
  | { readonly kind: "done" }
  | {
      readonly kind: "kept";
      readonly comparison: GuestComparison;
      /** How much was changed of the running guest. */
      readonly changes: number;
    }
  | { readonly kind: "no-disk"; readonly disk: MissingStorage }
  /** What the guest is to read at its first boot cannot be had at the moment. */
  | { readonly kind: "no-seed"; readonly message: string }
  | { readonly kind: "start-failed"; readonly message: string }
  | { readonly kind: "waiting-for-restart" }
  /** Nothing of the machine is left on this node. */
  | { readonly kind: "released" };

export interface MachineReport {
  /** As it is stored now: what it says already stays word for word. */
  readonly machine: VirtualMachine;
  /** The metadata.generation whose spec was looked at. */
  readonly generation: number;
  readonly goal: Goal;
  readonly guest: GuestStatus;
  readonly outcome: StepOutcome;
  /** What the readiness probe found; undefined without one. */
  readonly readiness?: Finding | undefined;
  readonly now: Date;
}

/** The state in one word, with the reason and the sentence that Ready carries. */
interface Verdict extends Readiness {
  readonly printableStatus: PrintableStatus;
}

const verdict = (
  printableStatus: PrintableStatus,
  ready: Verdict["ready"],
  reason: string,
  message: string,
): Verdict => ({ printableStatus, ready, reason, message });

const stalled = (reason: string, message: string): Verdict => ({
  ...verdict("Failed", "False", reason, message),
  stalled: true,
});

/** Condition types that the agent writes. */
export const ownConditions = [
  "Ready",
  "Reconciling",
  "Stalled",
  "StorageReady",
  "RestartRequired",
  "Released",
] as const satisfies readonly VirtualMachineCondition[];

const agentConditions: ReadonlySet<string> = new Set(ownConditions);

export const READINESS_PROBE_FAILED = "ReadinessProbeFailed";
const READINESS_SAW = "The guest runs, and its readiness probe fails: ";

/** What a status says of its running guest's readiness: the finding of an agent that is no more. */
export const readinessSaid = ({ status }: VirtualMachine): Finding => {
  const ready = findCondition(status?.conditions, "Ready");
  if (status?.guest?.powerState !== "Running") return { kind: "pending" };
  if (ready?.reason === "Running") return { kind: "healthy" };
  if (ready?.reason !== READINESS_PROBE_FAILED || !ready.message.startsWith(READINESS_SAW)) {
    return { kind: "pending" };
  }
  return { kind: "unhealthy", message: ready.message.slice(READINESS_SAW.length, -1) };
};

const withoutDisk = (disk: MissingStorage): Verdict =>
  disk.kind === "refused"
    ? stalled(disk.reason, disk.message)
    : verdict("Provisioning", "False", disk.reason, disk.message);

const lastExitSentence = (guest: GuestStatus): string =>
  guest.lastExit === undefined
    ? ""
    : ` Last end: ${guest.lastExit.reason}${guest.lastExit.message === undefined ? "" : ` (${guest.lastExit.message})`}.`;

const notReady = (message: string): Verdict => verdict("Running", "False", READINESS_PROBE_FAILED, message);

const runningVerdict = (
  { livenessFailure }: GuestStatus,
  [difference]: readonly StorageDifference[],
  readiness: Finding | undefined,
): Verdict => {
  if (livenessFailure !== undefined) {
    const message = `The guest's power is cut, since its liveness probe failed: ${livenessFailure}.`;
    return verdict("Stopping", "False", "LivenessProbeFailed", message);
  }
  if (difference !== undefined) return verdict("Running", "False", difference.reason, difference.message);
  switch (readiness?.kind) {
    case "pending":
      return notReady("The guest runs; its readiness probe has not succeeded yet.");
    case "unhealthy":
      return notReady(`${READINESS_SAW}${readiness.message}.`);
    default:
      return verdict("Running", "True", "Running", "The guest runs.");
  }
};

const pausedVerdict = ({ pauseRequested }: GuestStatus): Verdict =>
  verdict(
    "Paused",
    "False",
    "Paused",
    pauseRequested === true
      ? "The guest is paused, as somebody asked; unpause it to let it go on."
      : "The guest is paused; libvirt on the node did that, or a disk error. Unpause it to let it go on.",
  );

/** What of its storage a running guest is known not to have. */
const storageDifferences = ({ outcome }: MachineReport): readonly StorageDifference[] =>
  outcome.kind === "kept" ? outcome.comparison.storage : [];

const runVerdict = (report: MachineReport): Verdict => {
  const { guest, outcome, readiness } = report;
  if (guest.powerState === "Running") return runningVerdict(guest, storageDifferences(report), readiness);
  if (guest.powerState === "Paused") return pausedVerdict(guest);
  switch (outcome.kind) {
    case "no-disk":
      return withoutDisk(outcome.disk);
    case "no-seed":
      return verdict("Starting", "False", "SeedUnavailable", outcome.message);
    case "start-failed":
      return verdict(
        "Starting",
        "False",
        "StartFailed",
        `The guest could not be started: ${outcome.message}`,
      );
    case "waiting-for-restart":
      return verdict(
        "CrashLoopBackOff",
        "False",
        "CrashLoopBackOff",
        `The guest ended ${guest.restarts + 1} times in short order and is started again later.${lastExitSentence(guest)}`,
      );
    default:
      return verdict(
        "Starting",
        "False",
        "Starting",
        `The guest is being started.${lastExitSentence(guest)}`,
      );
  }
};

const verdictOf = (report: MachineReport): Verdict => {
  const { goal, guest, outcome } = report;
  const on = isOn(guest);
  switch (goal.kind) {
    case "run":
      return runVerdict(report);
    case "restart":
      return verdict(
        "Stopping",
        "False",
        "Restarting",
        "The guest was asked to shut down, and is then started again.",
      );
    case "restore":
      return verdict("Restoring", "False", "Restoring", "The machine is being put back to a snapshot.");
    case "migrate":
      return verdict(
        on ? "Running" : "Starting",
        "False",
        "Migrating",
        "The machine moves from one node to another; what else is asked of it is done afterwards.",
      );
    case "stop":
      return on
        ? verdict("Stopping", "False", "Stopping", "The guest was asked to shut down.")
        : verdict("Stopped", "True", "Stopped", "The guest is off, as its run strategy says.");
    case "completed":
      if (on) return verdict("Stopping", "False", "Stopping", "The guest was asked to shut down.");
      return goal.succeeded
        ? verdict(
            "Succeeded",
            "True",
            "Succeeded",
            "The guest shut itself down; its run strategy leaves it off.",
          )
        : stalled(
            "RunFailed",
            `The guest did not end by itself and is not run again.${lastExitSentence(guest)}`,
          );
    case "release":
      return outcome.kind === "released"
        ? verdict("Terminating", "False", "Released", "Nothing of the machine is left on the node.")
        : verdict("Terminating", "False", "Terminating", "The guest is being shut down and removed.");
  }
};

const storageDraft = (report: MachineReport): ConditionDraft | undefined => {
  const { machine, generation, outcome, guest } = report;
  const draft = (status: "True" | "False", reason: string, message: string): ConditionDraft => ({
    type: "StorageReady",
    status,
    observedGeneration: generation,
    reason,
    message,
  });
  if (outcome.kind === "released") return undefined;
  if (outcome.kind === "no-disk") return draft("False", outcome.disk.reason, outcome.disk.message);
  const [difference] = storageDifferences(report);
  if (difference !== undefined) return draft("False", difference.reason, difference.message);
  if (guest.powerState === "Running" || outcome.kind === "start-failed") {
    return draft("True", "DisksReady", "The disks are on the node.");
  }
  const before = findCondition(machine.status?.conditions, "StorageReady");
  return before === undefined
    ? undefined
    : draft(before.status === "True" ? "True" : "False", before.reason, before.message);
};

/** Known of a guest that was compared, and else as it was said of the same run. */
const pendingChangesOf = ({ machine, guest, outcome }: MachineReport): readonly PendingChange[] => {
  if (outcome.kind === "kept") return outcome.comparison.pendingChanges;
  const isSameRun = isOn(guest) && guest.startedAt === machine.status?.guest?.startedAt;
  return isSameRun ? (machine.status?.pendingChanges ?? []) : [];
};

const MAX_PENDING_CHANGES = 32;

const changeSentence = ({ path, current, desired }: PendingChange): string =>
  `${path} (now ${current}, then ${desired})`;

const restartDrafts = (changes: readonly PendingChange[], observedGeneration: number): ConditionDraft[] =>
  changes.length === 0
    ? []
    : [
        {
          type: "RestartRequired",
          status: "True",
          observedGeneration,
          reason: "PendingChanges",
          message: `The guest gets this by a restart: ${changes.map(changeSentence).join(", ")}.`,
        },
      ];

const drafts = (
  report: MachineReport,
  said: Verdict,
  changes: readonly PendingChange[],
): ConditionDraft[] => {
  const storage = storageDraft(report);
  const { generation: observedGeneration, outcome } = report;
  return [
    ...readyConditions(said, { observedGeneration, isReleased: outcome.kind === "released" }),
    ...(storage === undefined ? [] : [storage]),
    ...restartDrafts(changes, observedGeneration),
  ];
};

/** Everything that the node agent says of a machine, as one server-side apply of its status. */
export const machineStatus = (report: MachineReport) => {
  const { machine, generation, guest, now } = report;
  const said = verdictOf(report);
  const changes = pendingChangesOf(report).slice(0, MAX_PENDING_CHANGES);
  return {
    apiVersion: apiVersionOf(virtualMachines),
    kind: virtualMachines.kind,
    metadata: {
      name: machine.metadata.name,
      namespace: machine.metadata.namespace,
      // A machine that was deleted and made again under the same name is another one.
      uid: machine.metadata.uid,
    },
    status: {
      observedGeneration: generation,
      printableStatus: said.printableStatus,
      guest,
      ...(changes.length === 0 ? {} : { pendingChanges: [...changes] }),
      conditions: withTransitionTimes(drafts(report, said, changes), machine.status?.conditions, now),
    },
  };
};

export type MachineStatusApply = ReturnType<typeof machineStatus>;

/**
 * What was said of a machine before, word for word, and the Volumes that its
 * guest is about to have. It speaks of the spec before: that the guest has what
 * it is to have now is not known yet. Undefined before anything was said.
 */
export const withGuestVolumes = (
  { metadata, status }: VirtualMachine,
  volumes: GuestStatus["volumes"],
): MachineStatusApply | undefined => {
  const { observedGeneration, printableStatus, guest, pendingChanges, conditions } = status ?? {};
  if (observedGeneration === undefined || printableStatus === undefined || guest === undefined) {
    return undefined;
  }
  const { volumes: _, ...before } = guest;
  const own = (conditions ?? []).filter(({ type }) => agentConditions.has(type));
  return {
    apiVersion: apiVersionOf(virtualMachines),
    kind: virtualMachines.kind,
    metadata: { name: metadata.name, namespace: metadata.namespace, uid: metadata.uid },
    status: {
      observedGeneration,
      printableStatus,
      guest: volumes === undefined ? before : { ...before, volumes },
      ...(pendingChanges === undefined ? {} : { pendingChanges }),
      conditions: own,
    },
  };
};

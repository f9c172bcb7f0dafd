import { type Condition, findCondition } from "../../../api/condition.ts";
import type { ExitReason, GuestStatus, VirtualMachine } from "../../../api/virtual-machine.ts";
import type { EventRecorder } from "../../../kube/index.ts";
import { isOn } from "./guest-record.ts";
import { type MachineStatusApply, READINESS_PROBE_FAILED } from "./machine-status.ts";

export interface MachineEvent {
  readonly type: "Normal" | "Warning";
  readonly reason: string;
  readonly message: string;
}

const ends: Readonly<Record<ExitReason, Omit<MachineEvent, "message"> & { readonly says: string }>> = {
  GuestShutdown: { type: "Normal", reason: "GuestShutdown", says: "The guest shut itself down" },
  Stopped: { type: "Normal", reason: "GuestStopped", says: "The guest was stopped" },
  Crashed: { type: "Warning", reason: "GuestCrashed", says: "The guest crashed" },
  LivenessProbeFailed: {
    type: "Warning",
    reason: "LivenessProbeFailed",
    says: "The guest's power was cut, since its liveness probe failed",
  },
  StartFailed: { type: "Warning", reason: "StartFailed", says: "The guest could not be started" },
  Unknown: {
    type: "Warning",
    reason: "GuestEnded",
    says: "The guest ended; nobody saw why (was the node rebooted?)",
  },
};

const warnings: ReadonlySet<string> = new Set([
  "CrashLoopBackOff",
  "Paused",
  READINESS_PROBE_FAILED,
  "RunFailed",
  "FetchFailed",
  "NoSpace",
  "AttachFailed",
  "DetachPending",
  "DataMissing",
  "SeedUnavailable",
]);

/** A readiness probe that has not succeeded yet, and one that has failed, have the same reason. */
const isNews = (before: Condition | undefined, ready: Condition): boolean =>
  ready.reason !== before?.reason ||
  (ready.reason === READINESS_PROBE_FAILED && ready.message !== before.message);

/** Volumes that the guest has been given since, and those that it has let go of. A guest that ends lets go of none. */
export const volumeChanges = (
  before: GuestStatus | undefined,
  after: GuestStatus,
): { readonly attached: readonly string[]; readonly detached: readonly string[] } => {
  const [had, has] = [before?.volumes ?? [], after.volumes ?? []];
  const beyond = (list: typeof had, others: typeof had): readonly string[] =>
    list.filter(({ uid }) => !others.some((other) => other.uid === uid)).map(({ name }) => name);
  return { attached: beyond(has, had), detached: isOn(after) ? beyond(had, has) : [] };
};

const volumeEvents = (before: GuestStatus | undefined, after: GuestStatus): MachineEvent[] => {
  const { attached, detached } = volumeChanges(before, after);
  return [
    ...attached.map((name): MachineEvent => ({
      type: "Normal",
      reason: "VolumeAttached",
      message: `The guest is given volume ${name}`,
    })),
    ...detached.map((name): MachineEvent => ({
      type: "Normal",
      reason: "VolumeDetached",
      message: `The guest has let go of volume ${name}`,
    })),
  ];
};

/** The events that tell the difference between two states of a machine. Pure; no difference, no event. */
export const machineEvents = (before: VirtualMachine, apply: MachineStatusApply): MachineEvent[] => {
  const events: MachineEvent[] = [];
  const { guest } = apply.status;
  const exitBefore = before.status?.guest?.lastExit;
  if (guest.lastExit !== undefined && guest.lastExit.at !== exitBefore?.at) {
    const { type, reason, says } = ends[guest.lastExit.reason];
    const detail = guest.lastExit.message === undefined ? "" : `: ${guest.lastExit.message}`;
    events.push({ type, reason, message: `${says}${detail}` });
  }
  const hasStarted = guest.startedAt !== undefined && guest.startedAt !== before.status?.guest?.startedAt;
  if (hasStarted) {
    events.push({
      type: "Normal",
      reason: "GuestStarted",
      message: `The guest was started on node ${guest.nodeName}`,
    });
  }
  events.push(...volumeEvents(before.status?.guest, guest));
  const restart = findCondition(apply.status.conditions, "RestartRequired");
  if (restart !== undefined && findCondition(before.status?.conditions, "RestartRequired") === undefined) {
    events.push({ type: "Normal", reason: "RestartRequired", message: restart.message });
  }
  const readyBefore = findCondition(before.status?.conditions, "Ready");
  const ready = findCondition(apply.status.conditions, "Ready");
  // The guest's end and start are told above, and that one which has just started is not ready yet is no news.
  const told = new Set(["Running", "Stopped", "StartFailed", "Succeeded", "LivenessProbeFailed"]);
  if (hasStarted) told.add(READINESS_PROBE_FAILED);
  if (ready !== undefined && isNews(readyBefore, ready) && !told.has(ready.reason)) {
    const stalled = findCondition(apply.status.conditions, "Stalled") !== undefined;
    const type = stalled || warnings.has(ready.reason) ? "Warning" : "Normal";
    events.push({ type, reason: ready.reason, message: ready.message });
  }
  return events;
};

export const announce = (
  recorder: EventRecorder,
  before: VirtualMachine,
  apply: MachineStatusApply,
): void => {
  for (const { type, reason, message } of machineEvents(before, apply)) {
    recorder.event(before, type, reason, message);
  }
};

import { timestampOf } from "../api/condition.ts";
import type { ExitReason, GuestStatus, VirtualMachine } from "../api/virtual-machine.ts";
import type { ObservedDomain } from "./domains/types.ts";
import type { Finding } from "./probes/types.ts";

/**
 * The life of one machine on its node, as pure functions.
 *
 * What happened before is in two places that survive this process: the guest
 * part of the machine's status, and libvirt, which remembers why a domain is
 * off. `observeGuest` folds the second into the first; `decide` then looks at
 * the result and at spec, and names one step. A fresh agent, a second pass and
 * an event that came twice all reach the same step.
 */

/** A run at least this long makes the guest's record clean again: the next restart is immediate. */
const STABLE_RUN_MS = 10 * 60_000;
const FIRST_RESTART_DELAY_MS = 10_000;
const MAX_RESTART_DELAY_MS = 5 * 60_000;
/** A guest that is still booting misses the power button; it is pressed again after this time. */
const POWER_BUTTON_INTERVAL_MS = 10_000;

export interface MachineFacts {
  readonly machine: VirtualMachine;
  /** Undefined when libvirt has no domain for the machine. */
  readonly domain: ObservedDomain | undefined;
  /** What the liveness probe found; undefined without one. */
  readonly liveness?: Finding | undefined;
  readonly now: Date;
}

/** What the machine's owner wants of it now. */
export type Goal =
  | { readonly kind: "run" }
  | { readonly kind: "stop" }
  /** The run strategy says that a machine which ended stays ended. */
  | { readonly kind: "completed"; readonly succeeded: boolean }
  /** The machine is being deleted: shut down, then nothing of it stays on the node. */
  | { readonly kind: "release" };

export type Step =
  | { readonly kind: "start" }
  /** Running as wanted: its links and rules are checked. */
  | { readonly kind: "keep" }
  /** Off, and to be started when its back-off has passed. */
  | { readonly kind: "wait-for-restart" }
  | { readonly kind: "press-power-button" }
  | { readonly kind: "cut-power" }
  /** Off as wanted: its links are taken down, disk and address stay. */
  | { readonly kind: "rest" }
  | { readonly kind: "release" };

export interface Decision {
  readonly goal: Goal;
  readonly step: Step;
  readonly guest: GuestStatus;
  /** Look again after this many ms, if nothing happens before. */
  readonly requeueAfterMs: number | undefined;
}

/** What libvirt says of a guest. */
type DomainState = Omit<ObservedDomain, "vmUid">;

/** Whether a guest is switched on, as libvirt says it now or as its record says it was. */
export const isOn = (guest: Pick<DomainState, "powerState"> | undefined): boolean =>
  guest?.powerState === "Running" || guest?.powerState === "Paused";

/** Ended by itself: not because its owner wanted it to. */
const endedByItself = (guest: GuestStatus): boolean =>
  guest.lastExit !== undefined && guest.lastExit.reason !== "Stopped";

const ranStably = (guest: GuestStatus, end: Date): boolean =>
  guest.startedAt !== undefined && end.getTime() - Date.parse(guest.startedAt) >= STABLE_RUN_MS;

/**
 * The agent was killed between the start of a guest and the report of it, and
 * the guest ended meanwhile: libvirt alone knows. Without this, a machine that
 * is to run once would run twice.
 */
const endedUnseen = (previous: GuestStatus, domain: DomainState | undefined): boolean =>
  previous.lastExit === undefined && (domain?.exit === "GuestShutdown" || domain?.exit === "Crashed");

/** libvirt does not know why a guest was switched off; what was written down before tells. */
const endOf = (
  { shutdownRequestedAt, livenessFailure }: GuestStatus,
  domain: DomainState | undefined,
): { readonly reason: ExitReason; readonly message?: string } => {
  if (shutdownRequestedAt !== undefined) return { reason: "Stopped" };
  const exit = domain?.exit ?? "Unknown";
  // Otherwise the guest ended by itself before its power was cut.
  return livenessFailure !== undefined && (exit === "Stopped" || exit === "Unknown")
    ? { reason: "LivenessProbeFailed", message: livenessFailure }
    : { reason: exit };
};

/** Folds what libvirt says now into what was known before. */
export const observeGuest = (
  before: GuestStatus | undefined,
  domain: DomainState | undefined,
  context: { readonly nodeName: string; readonly now: Date },
): GuestStatus => {
  const { nodeName, now } = context;
  const previous: GuestStatus = before ?? { nodeName, powerState: "ShutOff", restarts: 0 };
  const powerState = domain?.powerState ?? "ShutOff";
  if (isOn(domain)) {
    if (isOn(previous)) return { ...previous, nodeName, powerState };
    const { shutdownRequestedAt: _, livenessFailure: __, ...rest } = previous;
    const restarts = endedByItself(previous) ? previous.restarts + 1 : 0;
    return { ...rest, nodeName, powerState, restarts, startedAt: timestampOf(now) };
  }
  if (!isOn(previous) && !endedUnseen(previous, domain)) return { ...previous, nodeName, powerState };
  const { shutdownRequestedAt: _, livenessFailure: __, ...rest } = previous;
  const restarts = ranStably(previous, now) ? 0 : previous.restarts;
  const lastExit = { ...endOf(previous, domain), at: timestampOf(now) };
  return { ...rest, nodeName, powerState, restarts, lastExit };
};

/** What a failed start leaves in the record; it counts as an end, so that the next one is backed off. */
export const recordStartFailure = (guest: GuestStatus, message: string, now: Date): GuestStatus => ({
  ...guest,
  restarts: guest.lastExit?.reason === "StartFailed" ? guest.restarts + 1 : guest.restarts,
  lastExit: { reason: "StartFailed", at: timestampOf(now), message: message.slice(0, 1024) },
});

/** The delay before restart number `restarts` + 1, in ms: none, 10 s, 20 s, … 5 min, as kubelet's. */
export const restartDelayMs = (restarts: number): number =>
  restarts === 0 ? 0 : Math.min(FIRST_RESTART_DELAY_MS * 2 ** (restarts - 1), MAX_RESTART_DELAY_MS);

const msUntilRestart = (guest: GuestStatus, now: Date): number => {
  if (guest.lastExit === undefined || guest.lastExit.reason === "Stopped") return 0;
  const failedStarts = guest.lastExit.reason === "StartFailed" ? 1 : 0;
  const delay = restartDelayMs(guest.restarts + failedStarts);
  return Math.max(0, Date.parse(guest.lastExit.at) + delay - now.getTime());
};

const goalOf = (machine: VirtualMachine, guest: GuestStatus, on: boolean): Goal => {
  if (machine.metadata.deletionTimestamp !== undefined) return { kind: "release" };
  const ended = on ? undefined : guest.lastExit?.reason;
  switch (machine.spec.runStrategy) {
    case "Halted":
      return { kind: "stop" };
    case "Always":
      return { kind: "run" };
    case "RerunOnFailure":
      return ended === "GuestShutdown" ? { kind: "completed", succeeded: true } : { kind: "run" };
    case "Once":
      return ended === undefined || ended === "Stopped" || ended === "StartFailed"
        ? { kind: "run" }
        : { kind: "completed", succeeded: ended === "GuestShutdown" };
  }
};

const decideRun = (guest: GuestStatus, on: boolean, now: Date): Pick<Decision, "step" | "requeueAfterMs"> => {
  if (on) return { step: { kind: "keep" }, requeueAfterMs: undefined };
  const delay = msUntilRestart(guest, now);
  if (delay > 0) return { step: { kind: "wait-for-restart" }, requeueAfterMs: delay };
  return { step: { kind: "start" }, requeueAfterMs: undefined };
};

const decideStop = (
  guest: GuestStatus,
  graceMs: number,
  now: Date,
): Pick<Decision, "step" | "requeueAfterMs"> => {
  const requestedAt =
    guest.shutdownRequestedAt === undefined ? now.getTime() : Date.parse(guest.shutdownRequestedAt);
  const left = requestedAt + graceMs - now.getTime();
  if (left <= 0) return { step: { kind: "cut-power" }, requeueAfterMs: undefined };
  return { step: { kind: "press-power-button" }, requeueAfterMs: Math.min(left, POWER_BUTTON_INTERVAL_MS) };
};

/** A guest that is paused answers nobody, and is not to blame. */
const livenessFailureOf = ({ domain, liveness }: MachineFacts): string | undefined =>
  domain?.powerState === "Running" && liveness?.kind === "unhealthy" ? liveness.message : undefined;

/** Names the one step that brings the machine nearer to what its owner wants. */
export const decide = (facts: MachineFacts, nodeName: string): Decision => {
  const { machine, domain, now } = facts;
  const on = isOn(domain);
  const observed = observeGuest(machine.status?.guest, domain, { nodeName, now });
  const goal = goalOf(machine, observed, on);
  if (goal.kind === "run") {
    const guest = forgetOldShutdown(observed, machine, now);
    const livenessFailure = observed.livenessFailure ?? livenessFailureOf(facts);
    if (on && livenessFailure !== undefined) {
      return {
        goal,
        guest: { ...guest, livenessFailure },
        step: { kind: "cut-power" },
        requeueAfterMs: undefined,
      };
    }
    return { goal, guest, ...decideRun(observed, on, now) };
  }
  if (on) {
    const guest = { ...observed, shutdownRequestedAt: observed.shutdownRequestedAt ?? timestampOf(now) };
    return { goal, guest, ...decideStop(guest, machine.spec.terminationGracePeriodSeconds * 1000, now) };
  }
  if (goal.kind === "release")
    return { goal, guest: observed, step: { kind: "release" }, requeueAfterMs: undefined };
  const guest = goal.kind === "stop" ? recordOwnersStop(observed, now) : observed;
  return { goal, guest, step: { kind: "rest" }, requeueAfterMs: undefined };
};

/** A machine that its owner halted counts as stopped by its owner, however it ended before: it may be run again. */
const recordOwnersStop = (guest: GuestStatus, now: Date): GuestStatus =>
  endedByItself(guest)
    ? { ...guest, restarts: 0, lastExit: { reason: "Stopped", at: timestampOf(now) } }
    : guest;

/** A guest that ignored the power button and is wanted again: a later end is its own, not its owner's. */
const forgetOldShutdown = (guest: GuestStatus, machine: VirtualMachine, now: Date): GuestStatus => {
  const { shutdownRequestedAt, ...rest } = guest;
  if (shutdownRequestedAt === undefined) return guest;
  const age = now.getTime() - Date.parse(shutdownRequestedAt);
  return age > machine.spec.terminationGracePeriodSeconds * 1000 ? rest : guest;
};

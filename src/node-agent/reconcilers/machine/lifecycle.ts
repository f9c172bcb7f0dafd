import { findCondition, timestampOf } from "../../../api/condition.ts";
import type { RestorePowerState } from "../../../api/virtual-machine-restore.ts";
import type { GuestStatus, VirtualMachine } from "../../../api/virtual-machine.ts";
import { type DomainPower, isOn, msUntilRestart, observeGuest, recordOwnersStop } from "./guest-record.ts";
import type { MigrationHold } from "../../migrations/index.ts";
import type { Finding } from "../../probes/types.ts";

/**
 * The life of one machine on its node, as pure functions.
 *
 * What happened before is in two places that survive this process: the guest
 * part of the machine's status, and libvirt, which remembers why a domain is
 * off. `observeGuest` folds the second into the first; `decide` then looks at
 * the result and at spec, and names one step. A fresh agent, a second pass and
 * an event that came twice all reach the same step.
 */

/** A guest that is still booting misses the power button; it is pressed again after this time. */
const POWER_BUTTON_INTERVAL_MS = 10_000;
/** A guest that was let go on in order to shut down is pressed the button so soon. */
const AFTER_UNPAUSE_MS = 1_000;

/** What somebody asks of a guest through the Kubernetes API, beside what spec says. */
export const guestRequests = ["pause", "unpause", "restart"] as const;
export type GuestRequest = (typeof guestRequests)[number];

export interface MachineFacts {
  readonly machine: VirtualMachine;
  /** Undefined when libvirt has no domain for the machine. */
  readonly domain: DomainPower | undefined;
  /** What the liveness probe found; undefined without one. */
  readonly liveness?: Finding | undefined;
  /** What was asked of the guest since the last pass. */
  readonly request?: GuestRequest | undefined;
  /** A restore works on the guest and its disks: it alone starts and stops it. What it is to leave behind. */
  readonly restoring?: RestorePowerState | undefined;
  /** What a migration of the machine forbids: power also what shape does. */
  readonly migrating?: MigrationHold | undefined;
  readonly now: Date;
}

/** What is wanted of the machine now. */
export type Goal =
  | { readonly kind: "run" }
  | { readonly kind: "stop" }
  /** Somebody asked for a restart, and the guest is not off yet. */
  | { readonly kind: "restart" }
  /** The run strategy says that a machine which ended stays ended. */
  | { readonly kind: "completed"; readonly succeeded: boolean }
  /** It is being put back to a snapshot. */
  | { readonly kind: "restore" }
  /** It moves to another node, or comes from one, and is not to be touched meanwhile. */
  | { readonly kind: "migrate" }
  /** The machine is being deleted: shut down, then nothing of it stays on the node. */
  | { readonly kind: "release" };

export type Step =
  | { readonly kind: "start" }
  /** Running as wanted: its links and rules are checked, and what may change of a running guest is. */
  | { readonly kind: "keep" }
  /** Off, and to be started when its back-off has passed. */
  | { readonly kind: "wait-for-restart" }
  | { readonly kind: "pause" }
  | { readonly kind: "unpause" }
  | { readonly kind: "press-power-button" }
  | { readonly kind: "cut-power" }
  /** Off as wanted: its links are taken down, disk and address stay. */
  | { readonly kind: "rest" }
  /** Not to be touched: somebody else is at work on it. */
  | { readonly kind: "hold" }
  | { readonly kind: "release" };

export interface Decision {
  readonly goal: Goal;
  readonly step: Step;
  readonly guest: GuestStatus;
  /** Look again after this many ms, if nothing happens before. */
  readonly requeueAfterMs: number | undefined;
}

type Next = Pick<Decision, "step" | "guest" | "requeueAfterMs">;

const next = (kind: Step["kind"], guest: GuestStatus, requeueAfterMs?: number): Next => ({
  step: { kind },
  guest,
  requeueAfterMs,
});

const without = (guest: GuestStatus, field: "pauseRequested" | "shutdownRequestedAt"): GuestStatus => {
  const { [field]: _, ...rest } = guest;
  return rest;
};

/** What spec and requests ask for, given how the guest's last run ended. */
const goalOf = (machine: VirtualMachine, guest: GuestStatus, on: boolean): Goal => {
  if (machine.metadata.deletionTimestamp !== undefined) return { kind: "release" };
  const { runStrategy } = machine.spec;
  if (runStrategy === "Halted") return { kind: "stop" };
  if (guest.restartRequestedAt !== undefined) return { kind: on ? "restart" : "run" };
  const ended = on ? undefined : guest.lastExit?.reason;
  switch (runStrategy) {
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

/** What of a request is for the record, where it outlives this process. */
const record = (request: GuestRequest | undefined, guest: GuestStatus, now: Date): GuestStatus => {
  if (request === "restart") {
    return { ...guest, restartRequestedAt: guest.restartRequestedAt ?? timestampOf(now) };
  }
  return request === "pause" && isOn(guest) ? { ...guest, pauseRequested: true } : guest;
};

/** A guest that is paused answers nobody, and is not to blame. */
const livenessFailureOf = ({ domain, liveness }: MachineFacts): string | undefined =>
  domain?.powerState === "Running" && liveness?.kind === "unhealthy" ? liveness.message : undefined;

/** A guest that ignored the power button and is wanted again: a later end is its own, not its owner's. */
const forgetOldShutdown = (guest: GuestStatus, { machine, now }: MachineFacts): GuestStatus => {
  if (guest.shutdownRequestedAt === undefined) return guest;
  const age = now.getTime() - Date.parse(guest.shutdownRequestedAt);
  return age > machine.spec.terminationGracePeriodSeconds * 1000
    ? without(guest, "shutdownRequestedAt")
    : guest;
};

const decideRunning = (facts: MachineFacts, observed: GuestStatus): Next => {
  const guest = forgetOldShutdown(observed, facts);
  const livenessFailure = guest.livenessFailure ?? livenessFailureOf(facts);
  if (livenessFailure !== undefined) return next("cut-power", { ...guest, livenessFailure });
  const isPaused = guest.powerState === "Paused";
  // Said after it was done: an agent that is killed in between has not answered who asked.
  if (facts.request === "unpause")
    return next(isPaused ? "unpause" : "keep", without(guest, "pauseRequested"));
  return next(guest.pauseRequested === true && !isPaused ? "pause" : "keep", guest);
};

const decideStarting = ({ now }: MachineFacts, guest: GuestStatus): Next => {
  const delay = msUntilRestart(guest, now);
  return delay > 0 ? next("wait-for-restart", guest, delay) : next("start", guest);
};

/** Button, patience, axe. A paused guest does not hear the button, so it goes on first. */
const decideShutdown = ({ machine, now }: MachineFacts, requestedAt: string, guest: GuestStatus): Next => {
  const graceMs = machine.spec.terminationGracePeriodSeconds * 1000;
  const left = Date.parse(requestedAt) + graceMs - now.getTime();
  if (left <= 0) return next("cut-power", guest);
  return guest.powerState === "Paused"
    ? next("unpause", guest, Math.min(left, AFTER_UNPAUSE_MS))
    : next("press-power-button", guest, Math.min(left, POWER_BUTTON_INTERVAL_MS));
};

/** What is on and is to be off. */
const decideStop = (facts: MachineFacts, goal: Goal, observed: GuestStatus): Next => {
  const guest = without(observed, "pauseRequested");
  const { restartRequestedAt, ...stopped } = guest;
  if (goal.kind === "restart") {
    return decideShutdown(facts, restartRequestedAt ?? timestampOf(facts.now), guest);
  }
  // Halted or deleted in the middle of a restart: the guest's time to shut down has begun already.
  const shutdownRequestedAt = guest.shutdownRequestedAt ?? restartRequestedAt ?? timestampOf(facts.now);
  return decideShutdown(facts, shutdownRequestedAt, { ...stopped, shutdownRequestedAt });
};

/** What is off and is to stay so. */
const decideRest = (goal: Goal, observed: GuestStatus, now: Date): Next => {
  const { restartRequestedAt: _, ...guest } = observed;
  if (goal.kind === "release") return next("release", guest);
  return next("rest", goal.kind === "stop" ? recordOwnersStop(guest, now) : guest);
};

/** A restore that leaves the guest paused waits until that is in the record: nobody lets the guest go on then. */
const duringRestore = (powerState: RestorePowerState, guest: GuestStatus): GuestStatus =>
  powerState === "Paused" && guest.powerState === "Paused" ? { ...guest, pauseRequested: true } : guest;

/** A guest that runs as wanted, or is off as wanted, is so while it moves too. */
const duringMigration = (goal: Goal, on: boolean): Goal => {
  const isReached = on ? goal.kind === "run" : goal.kind === "stop" || goal.kind === "completed";
  return isReached ? goal : { kind: "migrate" };
};

/** Names the one step that brings the machine nearer to what is wanted of it. */
export const decide = (facts: MachineFacts, nodeName: string): Decision => {
  const { machine, domain, now } = facts;
  const on = isOn(domain);
  const seen = observeGuest(machine.status?.guest, domain, { nodeName, now });
  if (facts.restoring !== undefined) {
    return { goal: { kind: "restore" }, ...next("hold", duringRestore(facts.restoring, seen)) };
  }
  if (facts.migrating === "power") {
    // On one of the two nodes the guest is always missing, or stands still: that is no end of it, and no pause.
    const guest = domain?.powerState === "Running" ? seen : (machine.status?.guest ?? seen);
    const isRunning = isOn(guest);
    return { goal: duringMigration(goalOf(machine, guest, isRunning), isRunning), ...next("hold", guest) };
  }
  const guest = record(facts.request, seen, now);
  const goal = goalOf(machine, guest, on);
  if (goal.kind === "run") {
    return { goal, ...(on ? decideRunning(facts, guest) : decideStarting(facts, guest)) };
  }
  return { goal, ...(on ? decideStop(facts, goal, guest) : decideRest(goal, guest, now)) };
};

/**
 * What must be written down before the step is taken: a grace period that has
 * begun, the verdict of a liveness probe and the wish for a pause, because they
 * must outlive this process. And the end of a guest that is started again: who
 * relies on the machine, such as a floating address, goes elsewhere meanwhile.
 */
export const mustBeSaidFirst = ({ status }: VirtualMachine, { goal, step, guest }: Decision): boolean => {
  const said = status?.guest;
  switch (step.kind) {
    case "unpause":
      return goal.kind !== "run" && !isShutdownSaid(said, guest);
    case "press-power-button":
      return !isShutdownSaid(said, guest);
    case "cut-power":
      return (
        (guest.livenessFailure !== undefined && said?.livenessFailure === undefined) ||
        said?.restartRequestedAt !== guest.restartRequestedAt
      );
    case "pause":
      return said?.pauseRequested !== true;
    case "start":
      // A machine that is said to be lost may be started elsewhere, until that is taken back.
      return isOn(said) || findCondition(status?.conditions, "Ready")?.status === "Unknown";
    default:
      return false;
  }
};

const isShutdownSaid = (said: GuestStatus | undefined, guest: GuestStatus): boolean =>
  said?.shutdownRequestedAt === guest.shutdownRequestedAt &&
  said?.restartRequestedAt === guest.restartRequestedAt;

import { timestampOf } from "../../../api/condition.ts";
import type { ExitReason, GuestStatus } from "../../../api/virtual-machine.ts";
import type { ObservedDomain } from "../../domains/types.ts";

/**
 * The record of a guest's life, status.guest, as pure functions: what libvirt
 * says now is folded into what was known before.
 */

/** A run at least this long makes the guest's record clean again: the next restart is immediate. */
const STABLE_RUN_MS = 10 * 60_000;
const FIRST_RESTART_DELAY_MS = 10_000;
const MAX_RESTART_DELAY_MS = 5 * 60_000;

/** What libvirt says of a guest's power. */
export type DomainPower = Pick<ObservedDomain, "powerState" | "exit">;

/** Whether a guest is switched on, as libvirt says it now or as its record says it was. */
export const isOn = (guest: Pick<DomainPower, "powerState"> | undefined): boolean =>
  guest?.powerState === "Running" || guest?.powerState === "Paused";

/** Ended by itself: not because somebody wanted it to. */
export const endedByItself = (guest: GuestStatus): boolean =>
  guest.lastExit !== undefined && guest.lastExit.reason !== "Stopped";

const ranStably = (guest: GuestStatus, end: Date): boolean =>
  guest.startedAt !== undefined && end.getTime() - Date.parse(guest.startedAt) >= STABLE_RUN_MS;

/**
 * The agent was killed between the start of a guest and the report of it, and
 * the guest ended meanwhile: libvirt alone knows. Without this, a machine that
 * is to run once would run twice.
 */
const endedUnseen = (previous: GuestStatus, domain: DomainPower | undefined): boolean =>
  previous.lastExit === undefined && (domain?.exit === "GuestShutdown" || domain?.exit === "Crashed");

/** libvirt does not know why a guest was switched off; what was written down before tells. */
const endOf = (
  { shutdownRequestedAt, restartRequestedAt, livenessFailure }: GuestStatus,
  domain: DomainPower | undefined,
): { readonly reason: ExitReason; readonly message?: string } => {
  if (shutdownRequestedAt !== undefined || restartRequestedAt !== undefined) return { reason: "Stopped" };
  const exit = domain?.exit ?? "Unknown";
  // Otherwise the guest ended by itself before its power was cut.
  return livenessFailure !== undefined && (exit === "Stopped" || exit === "Unknown")
    ? { reason: "LivenessProbeFailed", message: livenessFailure }
    : { reason: exit };
};

/** What holds for one run of the guest only, and is over when it has ended. */
const afterRun = (guest: GuestStatus): GuestStatus => {
  const {
    shutdownRequestedAt: _shutdown,
    livenessFailure: _liveness,
    pauseRequested: _pause,
    vcpus: _vcpus,
    memoryMiB: _memory,
    ...rest
  } = guest;
  return rest;
};

/** A restart that was asked for is over when the guest is on again. */
const afterRestart = (guest: GuestStatus): GuestStatus => {
  const { restartRequestedAt: _, ...rest } = afterRun(guest);
  return rest;
};

/** Folds what libvirt says now into what was known before. */
export const observeGuest = (
  before: GuestStatus | undefined,
  domain: DomainPower | undefined,
  context: { readonly nodeName: string; readonly now: Date },
): GuestStatus => {
  const { nodeName, now } = context;
  const previous: GuestStatus = before ?? { nodeName, powerState: "ShutOff", restarts: 0 };
  const powerState = domain?.powerState ?? "ShutOff";
  if (isOn(domain)) {
    if (isOn(previous)) return { ...previous, nodeName, powerState };
    const restarts = endedByItself(previous) ? previous.restarts + 1 : 0;
    return { ...afterRestart(previous), nodeName, powerState, restarts, startedAt: timestampOf(now) };
  }
  if (!isOn(previous) && !endedUnseen(previous, domain)) return { ...previous, nodeName, powerState };
  const restarts = ranStably(previous, now) ? 0 : previous.restarts;
  const lastExit = { ...endOf(previous, domain), at: timestampOf(now) };
  return { ...afterRun(previous), nodeName, powerState, restarts, lastExit };
};

/** What a failed start leaves in the record; it counts as an end, so that the next one is backed off. */
export const recordStartFailure = (guest: GuestStatus, message: string, now: Date): GuestStatus => ({
  ...guest,
  restarts: guest.lastExit?.reason === "StartFailed" ? guest.restarts + 1 : guest.restarts,
  lastExit: { reason: "StartFailed", at: timestampOf(now), message: message.slice(0, 1024) },
});

/** A machine that its owner halted counts as stopped by its owner, however it ended before: it may be run again. */
export const recordOwnersStop = (guest: GuestStatus, now: Date): GuestStatus =>
  endedByItself(guest)
    ? { ...guest, restarts: 0, lastExit: { reason: "Stopped", at: timestampOf(now) } }
    : guest;

/** The delay before restart number `restarts` + 1, in ms: none, 10 s, 20 s, … 5 min, as kubelet's. */
export const restartDelayMs = (restarts: number): number =>
  restarts === 0 ? 0 : Math.min(FIRST_RESTART_DELAY_MS * 2 ** (restarts - 1), MAX_RESTART_DELAY_MS);

/** How long a guest that is off is left off before it is started again. */
export const msUntilRestart = (guest: GuestStatus, now: Date): number => {
  const { lastExit, restartRequestedAt } = guest;
  if (lastExit === undefined || lastExit.reason === "Stopped") return 0;
  const endedAt = Date.parse(lastExit.at);
  const requestedAt = restartRequestedAt === undefined ? -Infinity : Date.parse(restartRequestedAt);
  // Who asks for a restart wants it now; when that start fails, the next one waits again. Both may fall in one second.
  if (requestedAt > endedAt || (requestedAt === endedAt && lastExit.reason !== "StartFailed")) return 0;
  const failedStarts = lastExit.reason === "StartFailed" ? 1 : 0;
  const delay = restartDelayMs(guest.restarts + failedStarts);
  return Math.max(0, endedAt + delay - now.getTime());
};

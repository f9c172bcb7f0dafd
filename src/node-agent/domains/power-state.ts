import type { ExitReason, PowerState } from "../../api/virtual-machine.ts";
import { DomainShutoffReason, DomainState, type DomainStateAndReason } from "../../libvirt/index.ts";

/** The part of ObservedDomain that libvirt's state and reason tell. */
export interface Power {
  readonly powerState: PowerState;
  /** Present when, and only when, the guest is off. */
  readonly exit?: ExitReason;
}

/** https://libvirt.org/html/libvirt-libvirt-domain.html#virDomainState */
const powerStates: Readonly<Record<number, PowerState>> = {
  [DomainState.RUNNING]: "Running",
  [DomainState.BLOCKED]: "Running",
  [DomainState.PAUSED]: "Paused",
  // On its way to being off, with its process still there.
  [DomainState.SHUTDOWN]: "Running",
  // Asleep by its own wish (ACPI S3); its memory is kept.
  [DomainState.PMSUSPENDED]: "Paused",
  [DomainState.CRASHED]: "Crashed",
};

/** https://libvirt.org/html/libvirt-libvirt-domain.html#virDomainShutoffReason */
const exitReasons: Readonly<Record<number, ExitReason>> = {
  // Also what every guest that is off has after a restart of libvirtd.
  [DomainShutoffReason.UNKNOWN]: "Unknown",
  [DomainShutoffReason.SHUTDOWN]: "GuestShutdown",
  [DomainShutoffReason.DESTROYED]: "Stopped",
  [DomainShutoffReason.CRASHED]: "Crashed",
  [DomainShutoffReason.MIGRATED]: "Stopped",
  [DomainShutoffReason.SAVED]: "Stopped",
  [DomainShutoffReason.FAILED]: "StartFailed",
  [DomainShutoffReason.FROM_SNAPSHOT]: "Stopped",
  // libvirtd could not take the guest over after its own restart, and ended it.
  [DomainShutoffReason.DAEMON]: "Crashed",
};

/** States and reasons that a newer libvirt may add count as off, for an unknown reason. */
export const powerOf = ({ state, reason }: DomainStateAndReason): Power => {
  const powerState = powerStates[state] ?? "ShutOff";
  if (powerState === "Crashed") return { powerState, exit: "Crashed" };
  if (powerState === "ShutOff") {
    const exit = state === DomainState.SHUTOFF ? exitReasons[reason] : undefined;
    return { powerState, exit: exit ?? "Unknown" };
  }
  return { powerState };
};

/** Whether the guest has a process that can be shut down or destroyed. */
export const isOn = ({ exit }: Power): boolean => exit === undefined;

/** libvirt refuses to press the power button of a guest that is paused, asleep, or shutting down already. */
export const hearsPowerButton = ({ state }: DomainStateAndReason): boolean =>
  state === DomainState.RUNNING || state === DomainState.BLOCKED;

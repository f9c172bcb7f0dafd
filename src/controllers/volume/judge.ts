import { findCondition, isTrue } from "../../api/condition.ts";
import type { VirtualMachine } from "../../api/virtual-machine.ts";
import type { Volume } from "../../api/volume.ts";
import { isGivenUp } from "../voice.ts";

/** Pure: what is to be said of a Volume and the machines that have to do with it. */

/** The machine that a Volume is reserved for. */
export type Reservation = NonNullable<NonNullable<Volume["status"]>["attachedTo"]>;

/** Has the Volume been made? From then on it has a size. */
export const isMade = ({ status }: Volume): boolean => status?.sizeMiB !== undefined;

/** Does the machine's spec ask for the Volume? */
export const names = ({ metadata, spec }: VirtualMachine, volume: Volume): boolean =>
  metadata.namespace === volume.metadata.namespace &&
  spec.volumes.some(({ name }) => name === volume.metadata.name);

/** Was the machine given the Volume, by its allocation? */
export const isGiven = ({ status }: VirtualMachine, { metadata }: Volume): boolean =>
  (status?.allocation?.volumes ?? []).some(({ uid }) => uid === metadata.uid);

/** May something of the machine use the Volume: its allocation, or its guest? */
export const has = (machine: VirtualMachine, volume: Volume): boolean =>
  isGiven(machine, volume) ||
  (machine.status?.guest?.volumes ?? []).some(({ uid }) => uid === volume.metadata.uid);

/**
 * Has the machine let go of a Volume for good? Not before its node has seen that
 * the spec does not name the Volume any more: what a guest has that is being
 * started at this moment is not in its status yet.
 */
export const hasLetGo = (machine: VirtualMachine, volume: Volume): boolean => {
  if (isTrue(machine.status?.conditions, "Released")) return true;
  if (names(machine, volume) || has(machine, volume)) return false;
  return machine.status?.nodeName === undefined || isUpToDate(machine);
};

/** Does the node's agent speak of the spec as it is now? */
const isUpToDate = ({ metadata, status }: VirtualMachine): boolean =>
  (status?.observedGeneration ?? 0) >= (metadata.generation ?? 0) &&
  findCondition(status?.conditions, "Ready")?.status !== "Unknown";

export interface ReservationFacts {
  readonly volume: Volume;
  /** Machines that name the Volume, were given it, or that it is reserved for; the oldest first. */
  readonly machines: readonly VirtualMachine[];
  /** Whether the machine that it is reserved for exists and cannot be understood. */
  readonly isHolderUnreadable: boolean;
}

/**
 * The machine that the Volume is for: the one that it is for already, until that
 * has let go of it; then the oldest that names it.
 */
export const reservationOf = ({
  volume,
  machines,
  isHolderUnreadable,
}: ReservationFacts): Reservation | undefined => {
  const current = volume.status?.attachedTo;
  if (isGivenUp(volume.status?.conditions)) return undefined;
  if (current !== undefined && isHolderUnreadable) return current;
  const holder = machines.find(({ metadata }) => metadata.uid === current?.uid);
  if (current !== undefined && holder !== undefined && !hasLetGo(holder, volume)) return current;
  // Whoever has it without a reservation, which somebody has taken out of the status, comes first.
  const next =
    machines.find((machine) => has(machine, volume) && !hasLetGo(machine, volume)) ??
    machines.find((machine) => mayHave(machine, volume));
  return next && { name: next.metadata.name, uid: next.metadata.uid };
};

/** A Volume or a machine that is about to go is for nobody new. */
const mayHave = (machine: VirtualMachine, volume: Volume): boolean =>
  volume.metadata.deletionTimestamp === undefined &&
  machine.metadata.deletionTimestamp === undefined &&
  names(machine, volume);

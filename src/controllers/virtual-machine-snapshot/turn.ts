import { findCondition } from "../../api/condition.ts";
import type { VirtualMachineMigration } from "../../api/virtual-machine-migration.ts";
import type { VirtualMachineRestore } from "../../api/virtual-machine-restore.ts";
import type { VirtualMachineSnapshot } from "../../api/virtual-machine-snapshot.ts";
import { byAge } from "../by-age.ts";
import { isUnsettled, isWaiting } from "../virtual-machine-migration/phase.ts";
import { passing, type Violation } from "../virtual-machine/violation.ts";

/**
 * Pure: one thing is done with a machine at a time, the oldest first: a snapshot,
 * a restore or a migration.
 */

export type MachineRequest = VirtualMachineSnapshot | VirtualMachineRestore;

/** Reason of Ready=False while another request of the machine comes first. */
export const WAITING_FOR_TURN = "WaitingForTurn";

/** Is nothing being done about it any more, and nothing going to be? */
export const isOver = ({ metadata, status }: MachineRequest): boolean => {
  if (status?.nodeName === undefined && metadata.deletionTimestamp !== undefined) return true;
  switch (status?.phase) {
    case "Ready":
    case "Failed":
    case "Succeeded":
    // Its layers are merged beside whatever else is done.
    case "Deleting":
      return true;
    case "Unknown":
      return "takenAt" in status && status.takenAt !== undefined;
    case "Pending":
    case "InProgress":
    case undefined:
      return false;
  }
};

/** Was it given to a node, which has not done with it? */
export const isUnderWay = (request: MachineRequest): boolean =>
  request.status?.nodeName !== undefined && !isOver(request);

const isPending = (request: MachineRequest): boolean =>
  request.status?.nodeName === undefined && !isOver(request);

/** Could it be next? One that waits for something else does not hold the others up. */
const waitsForNothingElse = ({ status }: MachineRequest | VirtualMachineMigration): boolean => {
  const ready = findCondition(status?.conditions, "Ready");
  return ready === undefined || ready.reason === WAITING_FOR_TURN;
};

/** What else is done, or to be done, with the same machine. */
export interface Others {
  /** Snapshots and restores. */
  readonly requests: readonly MachineRequest[];
  readonly migrations: readonly VirtualMachineMigration[];
}

/**
 * Why it is not this one's turn. A machine on its way to another node takes its
 * disks with it, so that nothing else is begun with them.
 */
export const findAhead = (
  request: MachineRequest | VirtualMachineMigration,
  { requests, migrations }: Others,
): Violation | undefined => {
  const isOther = ({ metadata }: MachineRequest | VirtualMachineMigration): boolean =>
    metadata.uid !== request.metadata.uid;
  const inLine = [...requests.filter(isPending), ...migrations.filter(isWaiting)]
    .filter(waitsForNothingElse)
    .toSorted(byAge);
  const ahead =
    migrations.filter(isOther).find(isUnsettled) ??
    requests.filter(isOther).toSorted(byAge).find(isUnderWay) ??
    inLine.find((other) => isOther(other) && byAge(other, request) < 0);
  if (ahead === undefined) return undefined;
  return passing(
    WAITING_FOR_TURN,
    `It begins when ${ahead.kind} ${ahead.metadata.name} of the same machine is over.`,
  );
};

import { MAX_SNAPSHOTS } from "../../api/virtual-machine-snapshot.ts";
import type { VirtualMachine } from "../../api/virtual-machine.ts";
import type { Hypervisor } from "../../api/hypervisor.ts";
import { isLost } from "../hypervisor/status.ts";
import { lasting, missing, passing, type Violation } from "../virtual-machine/violation.ts";
import type { SnapshotFacts } from "./observe.ts";
import { findAhead, type MachineRequest } from "./turn.ts";

/** Pure: why a snapshot is not given to a node yet, or never. */
export const findViolation = (facts: SnapshotFacts): Violation | undefined =>
  machineIsThere(facts.snapshot, facts.machine) ??
  thereIsRoom(facts) ??
  nodeAnswers(facts) ??
  findAhead(facts.snapshot, facts);

/** Is the machine there to stay, and on a node? */
export const machineIsThere = (
  { metadata, spec }: MachineRequest,
  machine: VirtualMachine | undefined,
): Violation | undefined => {
  const name = spec.virtualMachine;
  if (machine === undefined)
    return missing(
      "MachineNotFound",
      `VirtualMachine ${name} does not exist in namespace ${metadata.namespace}.`,
    );
  if (machine.metadata.deletionTimestamp !== undefined)
    return lasting("MachineTerminating", `VirtualMachine ${name} is being deleted.`);
  if (machine.status?.nodeName !== undefined) return undefined;
  return passing("MachineNotPlaced", `VirtualMachine ${name} has no node yet; its status says why.`);
};

/** A node that does not answer is not given work. */
export const nodeAnswers = ({
  machine,
  hypervisor,
}: {
  readonly machine: VirtualMachine | undefined;
  readonly hypervisor: Hypervisor | undefined;
}): Violation | undefined => {
  if (hypervisor !== undefined && !isLost(hypervisor)) return undefined;
  return passing(
    "NodeLost",
    `Node ${machine?.status?.nodeName}, which has the machine, gives no sign of life. It begins when the node is back.`,
  );
};

const thereIsRoom = ({ snapshot, siblings }: SnapshotFacts): Violation | undefined =>
  siblings < MAX_SNAPSHOTS
    ? undefined
    : lasting(
        "TooManySnapshots",
        `VirtualMachine ${snapshot.spec.virtualMachine} has ${siblings} snapshots, and ${MAX_SNAPSHOTS} are the most. Delete some, and make another one.`,
      );

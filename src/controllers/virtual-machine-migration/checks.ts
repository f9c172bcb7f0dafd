import type { Hypervisor } from "../../api/hypervisor.ts";
import type { VirtualMachine } from "../../api/virtual-machine.ts";
import { isFenced } from "../hypervisor/fencing.ts";
import { isLost } from "../hypervisor/status.ts";
import { lasting, missing, passing, type Violation } from "../virtual-machine/violation.ts";
import { isMade } from "../volume/judge.ts";
import { NODE_LOST } from "../voice.ts";
import { findAhead } from "../virtual-machine-snapshot/turn.ts";
import type { MigrationFacts } from "./observe.ts";

/** Pure: why a migration is not accepted yet, or never; a place and room are looked for when all of this is right. */
export const findViolation = (facts: MigrationFacts): Violation | undefined =>
  machineIsThere(facts) ??
  machineIsNotThereAlready(facts) ??
  nodeAnswers(facts) ??
  targetExists(facts) ??
  machineIsSettled(facts) ??
  stateGoesAlong(facts) ??
  cloneIsMade(facts) ??
  volumesAreMade(facts) ??
  findAhead(facts.migration, facts) ??
  allIsUnderstood(facts);

const machineIsThere = ({ migration, machine }: MigrationFacts): Violation | undefined => {
  const name = migration.spec.virtualMachine;
  if (machine === undefined)
    return missing(
      "MachineNotFound",
      `VirtualMachine ${name} does not exist in namespace ${migration.metadata.namespace}.`,
    );
  if (machine.metadata.deletionTimestamp !== undefined)
    return lasting("MachineTerminating", `VirtualMachine ${name} is being deleted.`);
  if (machine.status?.nodeName !== undefined) return undefined;
  return passing("MachineNotPlaced", `VirtualMachine ${name} has no node yet; its status says why.`);
};

const machineIsNotThereAlready = ({ migration, machine }: MigrationFacts): Violation | undefined => {
  const { targetNode, virtualMachine } = migration.spec;
  if (targetNode === undefined || targetNode !== machine?.status?.nodeName) return undefined;
  return lasting("AlreadyThere", `VirtualMachine ${virtualMachine} is on node ${targetNode} already.`);
};

/** Nobody can tell what the guest does, and nobody could send it. */
const nodeAnswers = ({ machine, source }: MigrationFacts): Violation | undefined => {
  if (source !== undefined && !isLost(source)) return undefined;
  return lasting(
    NODE_LOST,
    `Node ${machine?.status?.nodeName}, which has the machine, gives no sign of life, so that the machine cannot be moved. Make another migration when the node is back.`,
  );
};

const targetExists = ({ migration, target }: MigrationFacts): Violation | undefined => {
  const { targetNode } = migration.spec;
  if (targetNode === undefined || target !== undefined) return undefined;
  return missing("NodeNotFound", `There is no Hypervisor ${targetNode}. Name another node, or none.`);
};

/** Is its guest on? Undefined while it is neither on nor off for long. */
export const powerOf = (machine: VirtualMachine): "on" | "off" | undefined => {
  const { guest, nodeName, printableStatus } = machine.status ?? {};
  if (guest === undefined || guest.nodeName !== nodeName) return undefined;
  switch (printableStatus) {
    case "Running":
    case "Paused":
      return guest.powerState === "Running" || guest.powerState === "Paused" ? "on" : undefined;
    case "Stopped":
    case "Succeeded":
    case "Failed":
    case "CrashLoopBackOff":
      return guest.powerState === "ShutOff" || guest.powerState === "Crashed" ? "off" : undefined;
    default:
      return undefined;
  }
};

/** A guest that is being started or stopped is moved when that is done. */
const machineIsSettled = ({ migration, machine }: MigrationFacts): Violation | undefined => {
  if (machine === undefined || powerOf(machine) !== undefined) return undefined;
  return passing(
    "MachineNotSettled",
    `VirtualMachine ${migration.spec.virtualMachine} is ${machine.status?.printableStatus ?? "Pending"}; it is moved when its guest is either on or off.`,
  );
};

/** What libvirt itself keeps for a guest goes along with one that runs, and with no other. */
const stateGoesAlong = ({ machine }: MigrationFacts): Violation | undefined => {
  if (machine === undefined || powerOf(machine) === "on") return undefined;
  const { firmware, tpm } = machine.spec;
  if (!tpm && firmware !== "UEFI") return undefined;
  const state = tpm ? "the content of its TPM is" : "the variables of its UEFI firmware are";
  return passing(
    "StateStaysBehind",
    `VirtualMachine ${machine.metadata.name} is off, and ${state} its node's own; it can be moved while it runs.`,
  );
};

/** The disk of a clone is made from another one, on the node that has that, when the machine is started first. */
const cloneIsMade = ({ machine }: MigrationFacts): Violation | undefined => {
  const { allocation, guest } = machine?.status ?? {};
  if (allocation?.source === undefined || guest?.startedAt !== undefined) return undefined;
  return passing(
    "DiskNotMade",
    `VirtualMachine ${machine?.metadata.name} has never been started, and its disk is made from another one on its node when it is; it can be moved after that.`,
  );
};

/** The disk of a Volume that is being made belongs to the node that makes it. */
const volumesAreMade = ({ machine, givenVolumes }: MigrationFacts): Violation | undefined => {
  const given = machine?.status?.allocation?.volumes ?? [];
  const unknown = given.find(({ uid }) => !givenVolumes.some(({ metadata }) => metadata.uid === uid));
  if (unknown !== undefined)
    return passing(
      "VolumeNotReady",
      `Volume ${unknown.name} of the machine cannot be understood, or is gone; the controller's log says more.`,
    );
  const unmade = givenVolumes.find((volume) => !isMade(volume));
  return (
    unmade && passing("VolumeNotReady", `Volume ${unmade.metadata.name} of the machine is still being made.`)
  );
};

const allIsUnderstood = ({ unreadableMachines: count }: MigrationFacts): Violation | undefined =>
  count === 0
    ? undefined
    : passing(
        "UnreadableMachines",
        `Nothing is moved, because the controller cannot understand ${count === 1 ? "a VirtualMachine" : `${count} VirtualMachines`} and so does not know how much room there is on nodes; its log says more. Is it older than the CustomResourceDefinitions?`,
      );

/** Is it known that nothing of the node runs any more? Either it is gone for good, or it is fenced. */
export const isGone = (hypervisor: Hypervisor | undefined): boolean =>
  hypervisor === undefined || isFenced(hypervisor);

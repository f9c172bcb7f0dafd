import { isTrue } from "../../api/condition.ts";
import type { VirtualMachineSnapshot } from "../../api/virtual-machine-snapshot.ts";
import type { VirtualMachine } from "../../api/virtual-machine.ts";
import { lasting, missing, passing, type Violation } from "../virtual-machine/violation.ts";
import { machineIsThere, nodeAnswers } from "../virtual-machine-snapshot/checks.ts";
import { findAhead } from "../virtual-machine-snapshot/turn.ts";
import type { RestoreFacts } from "./observe.ts";

/** Pure: why a restore is not given to a node yet, or never. */
export const findViolation = (facts: RestoreFacts): Violation | undefined =>
  machineIsThere(facts.restore, facts.machine) ??
  snapshotIsUsable(facts) ??
  snapshotIsOfThisMachine(facts) ??
  powerStateFits(facts) ??
  volumesAreStillThere(facts) ??
  snapshotIsBesideTheMachine(facts) ??
  nodeAnswers(facts) ??
  findAhead(facts.restore, facts);

const snapshotIsUsable = ({ restore, snapshot }: RestoreFacts): Violation | undefined => {
  const { namespace } = restore.metadata;
  const name = restore.spec.snapshot;
  if (snapshot === undefined)
    return missing(
      "SnapshotNotFound",
      `VirtualMachineSnapshot ${name} does not exist in namespace ${namespace}.`,
    );
  if (snapshot.metadata.deletionTimestamp !== undefined)
    return lasting("SnapshotTerminating", `VirtualMachineSnapshot ${name} is being deleted.`);
  if (snapshot.status?.phase === "Failed")
    return lasting("SnapshotFailed", `VirtualMachineSnapshot ${name} has failed; its status says why.`);
  if (isTrue(snapshot.status?.conditions, "Ready")) return undefined;
  return missing("SnapshotNotReady", `VirtualMachineSnapshot ${name} is not ready yet; its status says why.`);
};

/** A machine that was made anew under the name has disks of its own. */
const snapshotIsOfThisMachine = ({ restore, machine, snapshot }: RestoreFacts): Violation | undefined =>
  machine?.metadata.uid === snapshot?.status?.machineUid
    ? undefined
    : lasting(
        "OtherMachine",
        `VirtualMachineSnapshot ${restore.spec.snapshot} is not of this VirtualMachine ${restore.spec.virtualMachine}, but of ${snapshot?.spec.virtualMachine === restore.spec.virtualMachine ? "an earlier one of the name" : `VirtualMachine ${snapshot?.spec.virtualMachine}`}. Make a new machine of it (spec.source.snapshot).`,
      );

/** The machine would not stay as the restore leaves it. */
const powerStateFits = ({ restore, machine }: RestoreFacts): Violation | undefined => {
  const { powerState, virtualMachine } = restore.spec;
  const runStrategy = machine?.spec.runStrategy;
  if ((powerState === "Halted") === (runStrategy === "Halted")) return undefined;
  const remedy =
    powerState === "Halted"
      ? "Set the machine's runStrategy to Halted, or ask for Running or Paused."
      : "Set the machine's runStrategy to what it is to be, or ask for Halted.";
  return lasting(
    "RunStrategyMismatch",
    `powerState is ${powerState}, and VirtualMachine ${virtualMachine} has runStrategy ${runStrategy}. ${remedy} Then make another restore.`,
  );
};

/**
 * All disks of the snapshot go back together or none: a machine with its data of
 * today and its system of then is in no state that it ever was in. Volumes that
 * it has got since are not in the snapshot, and stay as they are.
 */
const volumesAreStillThere = ({ restore, machine, snapshot }: RestoreFacts): Violation | undefined => {
  const gone = machine === undefined || snapshot === undefined ? [] : volumesGone(machine, snapshot);
  if (gone.length === 0) return undefined;
  const [volumes, them] = gone.length === 1 ? ["Volume", "it"] : ["Volumes", "them"];
  return lasting(
    "VolumesChanged",
    `VirtualMachineSnapshot ${restore.spec.snapshot} has the disks of ${volumes} ${gone.join(", ")}, which VirtualMachine ${restore.spec.virtualMachine} no longer has. Put ${them} back into spec.volumes and make another restore, or make new machines and Volumes of the snapshot (spec.source.snapshot).`,
  );
};

/** Names of the Volumes in the snapshot that the machine does not have any more; others of the name are others. */
const volumesGone = (machine: VirtualMachine, snapshot: VirtualMachineSnapshot): readonly string[] => {
  const present = new Set((machine.status?.allocation?.volumes ?? []).map(({ uid }) => uid));
  return (snapshot.status?.disks ?? [])
    .filter(({ volumeUid }) => volumeUid !== undefined && !present.has(volumeUid))
    .map(({ name }) => name)
    .toSorted();
};

/** A snapshot follows its machine to another node; a moment later it is there. */
const snapshotIsBesideTheMachine = ({ restore, machine, snapshot }: RestoreFacts): Violation | undefined =>
  machine?.status?.nodeName === snapshot?.status?.nodeName
    ? undefined
    : passing(
        "SnapshotElsewhere",
        `VirtualMachineSnapshot ${restore.spec.snapshot} is on node ${snapshot?.status?.nodeName}, and the machine on ${machine?.status?.nodeName}.`,
      );

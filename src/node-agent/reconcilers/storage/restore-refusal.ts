import { isTrue } from "../../../api/condition.ts";
import type { VirtualMachineRestore } from "../../../api/virtual-machine-restore.ts";
import type { VirtualMachineSnapshot } from "../../../api/virtual-machine-snapshot.ts";
import type { PlacedMachine } from "../../desired.ts";

interface Refusal {
  readonly reason: string;
  readonly message: string;
}

/** Names of the volumes that the machine has, by UID. */
const volumesOf = ({ machine, allocation }: PlacedMachine): ReadonlyMap<string, string> =>
  new Map(
    (machine.status?.guest?.volumes ?? allocation.volumes ?? []).map(({ uid, name }) => [uid, name] as const),
  );

/** A memory knows the disks of its moment: with others the guest could not go on. */
const diskRefusal = (snapshot: VirtualMachineSnapshot, target: PlacedMachine): Refusal | undefined => {
  const { disks = [], memory } = snapshot.status ?? {};
  const has = volumesOf(target);
  const gone = disks.find(({ volumeUid }) => volumeUid !== undefined && !has.has(volumeUid));
  if (gone !== undefined) {
    const message = `The snapshot has volume ${gone.name}, which the machine does not have now: attach it again, or make a new machine of the snapshot.`;
    return { reason: "DisksDiffer", message };
  }
  const [, added] = [...has].find(([uid]) => !disks.some(({ volumeUid }) => volumeUid === uid)) ?? [];
  if (memory !== true || added === undefined) return undefined;
  const message = `The snapshot has the guest's memory, and the machine did not have volume ${added} then: detach it first.`;
  return { reason: "DisksDiffer", message };
};

/** Why a machine cannot be put back to the snapshot, and what to do; undefined when it can. Pure. */
export const refusalOf = (
  { metadata, spec }: VirtualMachineRestore,
  snapshot: VirtualMachineSnapshot,
  target: PlacedMachine,
): Refusal | undefined => {
  const { machine } = target;
  if (metadata.deletionTimestamp !== undefined) {
    return { reason: "Deleted", message: "The restore was deleted before it had begun." };
  }
  if (machine.metadata.deletionTimestamp !== undefined) {
    return { reason: "MachineDeleted", message: "The machine is being deleted." };
  }
  if (!isTrue(snapshot.status?.conditions, "Ready")) {
    return { reason: "SnapshotNotReady", message: "The snapshot is not ready." };
  }
  const isHalted = machine.spec.runStrategy === "Halted";
  if (isHalted !== (spec.powerState === "Halted")) {
    const message = isHalted
      ? `The machine's runStrategy is Halted, so the restore's powerState must be Halted too, and not ${spec.powerState}.`
      : `The machine's runStrategy is ${machine.spec.runStrategy}: set it to Halted for a restore with powerState Halted.`;
    return { reason: "PowerStateConflict", message };
  }
  return diskRefusal(snapshot, target);
};

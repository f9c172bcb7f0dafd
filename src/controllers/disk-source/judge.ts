import { isTrue } from "../../api/condition.ts";
import type { DiskReference } from "../../api/fields.ts";
import type { Hypervisor } from "../../api/hypervisor.ts";
import { parseQuantity } from "../../api/quantity.ts";
import { LOCAL_POOL } from "../../api/storage-pool.ts";
import type { VirtualMachineSnapshot } from "../../api/virtual-machine-snapshot.ts";
import type { VirtualMachine } from "../../api/virtual-machine.ts";
import type { Volume } from "../../api/volume.ts";
import { isLost } from "../hypervisor/status.ts";

/** The name of a machine's root disk in a snapshot. */
export const ROOT_DISK = "root";

/** What is named as the source of a disk, as the stores show it. */
export type SourceFacts =
  | {
      readonly kind: "machine";
      readonly name: string;
      readonly machine: VirtualMachine | undefined;
      /** The node that has the machine. */
      readonly node: Hypervisor | undefined;
    }
  | {
      readonly kind: "snapshot";
      readonly name: string;
      readonly snapshot: VirtualMachineSnapshot | undefined;
      /** Which disk of the snapshot: ROOT_DISK, or the name of the Volume. */
      readonly disk: string;
      /** Storage pool of that disk; undefined when what it was a disk of is gone. */
      readonly pool: string | undefined;
      readonly node: Hypervisor | undefined;
    }
  | {
      readonly kind: "volume";
      readonly name: string;
      readonly volume: Volume | undefined;
      readonly node: Hypervisor | undefined;
    };

/** A disk that can be copied. */
export interface FoundDisk {
  readonly disk: DiskReference;
  /** The node that has it, and copies it. */
  readonly nodeName: string;
  /**
   * Storage pool that other nodes can read it from. Only of a snapshot, whose
   * files nobody writes: a disk in use is copied by the node that uses it.
   */
  readonly sharedPool?: string;
  readonly sizeMiB: number;
}

export type SourceVerdict =
  | { readonly kind: "found"; readonly found: FoundDisk }
  | {
      readonly kind: "unusable";
      readonly reason: "SourceNotFound" | "SourceNotReady" | "SourceOnLostNode";
      /** Which object, what is wrong with it, and what to do. */
      readonly message: string;
    };

/** Can the disk be copied, and where is it? */
export const judgeSource = (facts: SourceFacts): SourceVerdict => {
  const object = objectOf(facts);
  if (object === undefined)
    return unusable("SourceNotFound", `${titleOf(facts)} does not exist in this namespace. Make it there.`);
  if (object.metadata.deletionTimestamp !== undefined)
    return unusable("SourceNotFound", `${titleOf(facts)} is being deleted. Name another source.`);
  const found = findDisk(facts);
  if (typeof found === "string") return unusable("SourceNotReady", `${titleOf(facts)} ${found}`);
  const isWithinReach = found.sharedPool !== undefined || (facts.node !== undefined && !isLost(facts.node));
  if (isWithinReach) return { kind: "found", found };
  const fate = facts.node === undefined ? "does not exist any more" : "gives no sign of life";
  return unusable(
    "SourceOnLostNode",
    `${titleOf(facts)} is on node ${found.nodeName}, which ${fate}. Wait for the node, or name another source.`,
  );
};

const unusable = (
  reason: Extract<SourceVerdict, { kind: "unusable" }>["reason"],
  message: string,
): SourceVerdict => ({ kind: "unusable", reason, message });

const titles = { machine: "VirtualMachine", snapshot: "VirtualMachineSnapshot", volume: "Volume" } as const;

const titleOf = ({ kind, name }: SourceFacts): string => `${titles[kind]} ${name}`;

const objectOf = (facts: SourceFacts) => {
  switch (facts.kind) {
    case "machine":
      return facts.machine;
    case "snapshot":
      return facts.snapshot;
    case "volume":
      return facts.volume;
  }
};

/** The disk, or what it lacks as the rest of a sentence. */
const findDisk = (facts: SourceFacts): FoundDisk | string => {
  switch (facts.kind) {
    case "machine":
      return diskOfMachine(facts);
    case "snapshot":
      return diskOfSnapshot(facts);
    case "volume":
      return diskOfVolume(facts);
  }
};

const diskOfMachine = ({ machine }: Extract<SourceFacts, { kind: "machine" }>): FoundDisk | string => {
  const { nodeName, allocation, guest, conditions } = machine?.status ?? {};
  const hasDisk = guest?.nodeName === nodeName && isTrue(conditions, "StorageReady");
  if (machine === undefined || nodeName === undefined || allocation === undefined || !hasDisk)
    return "has no root disk yet; its status says why.";
  return {
    disk: { machineUid: machine.metadata.uid },
    nodeName,
    sizeMiB: allocation.flavor.diskMiB,
  };
};

const diskOfSnapshot = (facts: Extract<SourceFacts, { kind: "snapshot" }>): FoundDisk | string => {
  const { snapshot, disk, pool, node } = facts;
  const { nodeName, machineUid, disks = [], conditions } = snapshot?.status ?? {};
  if (snapshot === undefined || nodeName === undefined || !isTrue(conditions, "Ready"))
    return "is not ready yet; its status says why.";
  const entry = disks.find(({ name }) => name === disk);
  const owner = entry?.volumeUid === undefined ? { machineUid } : { volumeUid: entry.volumeUid };
  if (entry === undefined || (owner.volumeUid ?? machineUid) === undefined)
    return `has no disk ${disk}; it has ${disks.map(({ name }) => name).join(", ")}.`;
  return {
    disk: { ...owner, snapshotUid: snapshot.metadata.uid },
    nodeName,
    sizeMiB: entry.sizeMiB,
    ...(isShared(node, pool) && { sharedPool: pool }),
  };
};

const MIB = 2 ** 20;

const diskOfVolume = ({ volume }: Extract<SourceFacts, { kind: "volume" }>): FoundDisk | string => {
  const { nodeName, conditions, sizeMiB } = volume?.status ?? {};
  if (volume === undefined || nodeName === undefined || !isTrue(conditions, "Ready"))
    return "is not ready yet; its status says why.";
  return {
    disk: { volumeUid: volume.metadata.uid },
    nodeName,
    sizeMiB: sizeMiB ?? Math.ceil(parseQuantity(volume.spec.size) / MIB),
  };
};

/** Do all nodes that have this pool see the same files in it? */
export const isShared = (node: Hypervisor | undefined, pool: string | undefined): pool is string =>
  pool !== undefined &&
  pool !== LOCAL_POOL &&
  (node?.status?.storagePools ?? []).some(({ name, shared }) => name === pool && shared);

import { LOCAL_POOL } from "../../api/storage-pool.ts";
import type { Stores } from "../context.ts";
import { BY_UID } from "../stores.ts";
import { ROOT_DISK, type SourceFacts } from "./judge.ts";

/** How a spec names the disk that something is to start as. */
export interface SourceReference {
  readonly virtualMachine?: string | undefined;
  readonly snapshot?: string | undefined;
  readonly volume?: string | undefined;
  /** Which disk of the snapshot. Default: the machine's root disk. */
  readonly disk?: string | undefined;
}

/** What the reference names, in this namespace; undefined when it names no disk. Reads memory only. */
export const observeSource = (
  stores: Stores,
  namespace: string | undefined,
  { virtualMachine, snapshot, volume, disk = ROOT_DISK }: SourceReference,
): SourceFacts | undefined => {
  if (virtualMachine !== undefined) return observeMachine(stores, { namespace, name: virtualMachine });
  if (snapshot !== undefined) return observeSnapshot(stores, { namespace, name: snapshot }, disk);
  if (volume !== undefined) return observeVolume(stores, { namespace, name: volume });
  return undefined;
};

interface Key {
  readonly namespace: string | undefined;
  readonly name: string;
}

const nodeOf = (stores: Stores, name: string | undefined) =>
  name === undefined ? undefined : stores.hypervisors.get({ name });

const observeMachine = (stores: Stores, key: Key): SourceFacts => {
  const machine = stores.virtualMachines.get(key);
  return { kind: "machine", name: key.name, machine, node: nodeOf(stores, machine?.status?.nodeName) };
};

const observeSnapshot = (stores: Stores, key: Key, disk: string): SourceFacts => {
  const snapshot = stores.virtualMachineSnapshots.get(key);
  const { machineUid, nodeName, disks = [] } = snapshot?.status ?? {};
  const volumeUid = disks.find(({ name }) => name === disk)?.volumeUid;
  const pool =
    volumeUid === undefined
      ? poolOfMachine(stores, machineUid)
      : poolOfVolume(stores, { ...key, name: disk }, volumeUid);
  return { kind: "snapshot", name: key.name, snapshot, disk, pool, node: nodeOf(stores, nodeName) };
};

const poolOfMachine = (stores: Stores, uid: string | undefined): string | undefined => {
  const [machine] = uid === undefined ? [] : stores.virtualMachines.byIndex(BY_UID, uid);
  return machine === undefined ? undefined : (machine.status?.allocation?.pool ?? LOCAL_POOL);
};

/** Not of a Volume that was made anew under the name. */
const poolOfVolume = (stores: Stores, key: Key, uid: string): string | undefined => {
  const volume = stores.volumes.get(key);
  return volume?.metadata.uid === uid ? volume.spec.pool : undefined;
};

const observeVolume = (stores: Stores, key: Key): SourceFacts => {
  const volume = stores.volumes.get(key);
  return { kind: "volume", name: key.name, volume, node: nodeOf(stores, volume?.status?.nodeName) };
};

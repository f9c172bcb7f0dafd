import type { Hypervisor } from "../../api/hypervisor.ts";
import type { VirtualMachineSnapshot } from "../../api/virtual-machine-snapshot.ts";
import type { VirtualMachine } from "../../api/virtual-machine.ts";
import type { ObjectKey } from "../../kube/index.ts";
import type { Stores } from "../context.ts";
import { BY_MACHINE, BY_MACHINE_UID, BY_SNAPSHOT } from "../stores.ts";
import { findCopies } from "../volume/copies.ts";
import { isUnderWay, type MachineRequest, type Others } from "./turn.ts";

export interface SnapshotFacts extends Others {
  readonly snapshot: VirtualMachineSnapshot;
  /** The machine that it is of; before it is accepted the one that it names. */
  readonly machine: VirtualMachine | undefined;
  /** The node that has the snapshot; before it is accepted that of the machine. */
  readonly hypervisor: Hypervisor | undefined;
  /** How many snapshots of this very machine there are, this one left out. */
  readonly siblings: number;
  /** Restores and copies that need it, as "Volume data"; looked at when it is to go. */
  readonly users: readonly string[];
  /** Time since this process first saw it, in ms. */
  readonly seenForMs: number;
}

/** Everything that decide() looks at, at one moment. Reads memory only. */
export const observeSnapshot = (
  stores: Stores,
  key: ObjectKey,
  seenForMs: (uid: string) => number,
): SnapshotFacts | undefined => {
  const snapshot = stores.virtualMachineSnapshots.get(key);
  if (snapshot === undefined) return undefined;
  const machine = machineOf(stores, snapshot);
  const nodeName = machine?.status?.nodeName ?? snapshot.status?.nodeName;
  return {
    snapshot,
    machine,
    hypervisor: nodeName === undefined ? undefined : stores.hypervisors.get({ name: nodeName }),
    ...othersOf(stores, snapshot),
    siblings: countSiblings(stores, snapshot, machine),
    users: snapshot.metadata.deletionTimestamp === undefined ? [] : usersOf(stores, snapshot),
    seenForMs: seenForMs(snapshot.metadata.uid),
  };
};

/** The machine of that uid if it was given one, else the one of that name. Throws when it cannot be understood. */
export const machineOf = (
  { virtualMachines }: Stores,
  { metadata, spec, status }: MachineRequest,
): VirtualMachine | undefined => {
  const machine = virtualMachines.get({ namespace: metadata.namespace, name: spec.virtualMachine });
  const isMeant = status?.machineUid === undefined || status.machineUid === machine?.metadata.uid;
  return isMeant ? machine : undefined;
};

/** What names the same machine as this one, which is among it. */
export const othersOf = (stores: Stores, { metadata, spec }: MachineRequest): Others => {
  const machine = `${metadata.namespace}/${spec.virtualMachine}`;
  return {
    requests: [
      ...stores.virtualMachineSnapshots.byIndex(BY_MACHINE, machine),
      ...stores.virtualMachineRestores.byIndex(BY_MACHINE, machine),
    ],
    migrations: stores.virtualMachineMigrations.byIndex(BY_MACHINE, machine),
  };
};

const countSiblings = (
  { virtualMachineSnapshots }: Stores,
  { metadata }: VirtualMachineSnapshot,
  machine: VirtualMachine | undefined,
): number =>
  machine === undefined
    ? 0
    : virtualMachineSnapshots
        .byIndex(BY_MACHINE_UID, machine.metadata.uid)
        .filter((other) => other.metadata.uid !== metadata.uid && other.status?.phase !== "Failed").length;

const usersOf = (stores: Stores, { metadata }: VirtualMachineSnapshot): readonly string[] => [
  ...stores.virtualMachineRestores
    .byIndex(BY_SNAPSHOT, `${metadata.namespace}/${metadata.name}`)
    .filter((restore) => restore.status?.snapshotUid === metadata.uid && isUnderWay(restore))
    .map((restore) => `VirtualMachineRestore ${restore.metadata.name}`),
  ...findCopies(stores, { snapshotUid: metadata.uid }),
];

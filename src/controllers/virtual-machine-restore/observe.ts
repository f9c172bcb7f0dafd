import type { Hypervisor } from "../../api/hypervisor.ts";
import type { VirtualMachineRestore } from "../../api/virtual-machine-restore.ts";
import type { VirtualMachineSnapshot } from "../../api/virtual-machine-snapshot.ts";
import type { VirtualMachine } from "../../api/virtual-machine.ts";
import type { ObjectKey } from "../../kube/index.ts";
import type { Stores } from "../context.ts";
import { machineOf, othersOf } from "../virtual-machine-snapshot/observe.ts";
import type { Others } from "../virtual-machine-snapshot/turn.ts";

export interface RestoreFacts extends Others {
  readonly restore: VirtualMachineRestore;
  /** The machine that it is of; before it is accepted the one that it names. */
  readonly machine: VirtualMachine | undefined;
  /** The snapshot that it names. */
  readonly snapshot: VirtualMachineSnapshot | undefined;
  /** The node that works on it; before it is accepted that of the machine. */
  readonly hypervisor: Hypervisor | undefined;
  /** Time since this process first saw it, in ms. */
  readonly seenForMs: number;
}

/** Everything that decide() looks at, at one moment. Reads memory only. */
export const observeRestore = (
  stores: Stores,
  key: ObjectKey,
  seenForMs: (uid: string) => number,
): RestoreFacts | undefined => {
  const restore = stores.virtualMachineRestores.get(key);
  if (restore === undefined) return undefined;
  const { metadata, spec, status } = restore;
  const machine = machineOf(stores, restore);
  const nodeName = machine?.status?.nodeName ?? status?.nodeName;
  return {
    restore,
    machine,
    snapshot: stores.virtualMachineSnapshots.get({ namespace: metadata.namespace, name: spec.snapshot }),
    hypervisor: nodeName === undefined ? undefined : stores.hypervisors.get({ name: nodeName }),
    ...othersOf(stores, restore),
    seenForMs: seenForMs(metadata.uid),
  };
};

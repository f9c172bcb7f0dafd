import { isDeepStrictEqual } from "node:util";
import { findCondition } from "../api/condition.ts";
import {
  type VirtualMachine,
  type VirtualMachineCondition,
  virtualMachines,
} from "../api/virtual-machine.ts";
import type { KubeClient, Store } from "../kube/index.ts";
import type { MachineStatusApply } from "./machine-status.ts";

/** One name for the agents of all nodes, so that the next node's agent takes over its predecessor's fields. */
export const FIELD_MANAGER = "vireo-node-agent";

/** Condition types that the agent writes; those it leaves out must be gone. */
const OWN_CONDITIONS = [
  "Ready",
  "Reconciling",
  "Stalled",
  "StorageReady",
  "Released",
] as const satisfies readonly VirtualMachineCondition[];

/** Whether the stored status already says all that the apply says, and none of our conditions beyond. */
export const alreadySaid = (machine: VirtualMachine, apply: MachineStatusApply): boolean => {
  const stored = machine.status;
  const wanted = apply.status;
  return (
    stored !== undefined &&
    stored.observedGeneration === wanted.observedGeneration &&
    stored.printableStatus === wanted.printableStatus &&
    isDeepStrictEqual(stored.guest, wanted.guest) &&
    OWN_CONDITIONS.every((type) =>
      isDeepStrictEqual(findCondition(stored.conditions, type), findCondition(wanted.conditions, type)),
    )
  );
};

/**
 * The machines of this node as this process knows them: what the watch brought,
 * or what a write of ours returned, if that is newer. Without it a pass right
 * after a write would decide on the state before, and write again.
 */
export interface MachineView {
  get(uid: string): VirtualMachine | undefined;
  list(): readonly VirtualMachine[];
  /** Whether the watch only brought back what this process wrote itself. */
  isOwnWrite(machine: VirtualMachine): boolean;
  /** Asks the API server whether any VirtualMachine of the cluster has this UID, wherever it was placed. */
  existsInCluster(uid: string, options: { signal: AbortSignal }): Promise<boolean>;
  /**
   * Writes the status unless it is said already. Bound to the newest version
   * that is known: a machine that was made anew under the same name must not
   * get the old one's status, and the API server checks no UID there.
   */
  say(machine: VirtualMachine, apply: MachineStatusApply, options: { signal: AbortSignal }): Promise<void>;
}

export const createMachineView = (store: Store<VirtualMachine>, client: KubeClient): MachineView => {
  const written = new Map<string, VirtualMachine>();

  const isOwnWrite = ({ metadata }: VirtualMachine): boolean =>
    written.get(metadata.uid)?.metadata.resourceVersion === metadata.resourceVersion;

  const newest = (stored: VirtualMachine): VirtualMachine => {
    const own = written.get(stored.metadata.uid);
    if (own === undefined) return stored;
    if (BigInt(stored.metadata.resourceVersion) < BigInt(own.metadata.resourceVersion)) return own;
    written.delete(stored.metadata.uid);
    return stored;
  };

  store.onChange(({ after, before }) => {
    if (after === undefined && before !== undefined) written.delete(before.metadata.uid);
  });

  const get = (uid: string): VirtualMachine | undefined => {
    const [stored] = store.byIndex("uid", uid);
    return stored === undefined ? undefined : newest(stored);
  };

  return {
    get,
    list: () => store.list().map(newest),
    isOwnWrite,
    existsInCluster: async (uid, { signal }) => {
      const { items } = await client.listRaw(virtualMachines, { signal });
      return items.some(({ metadata }) => metadata.uid === uid);
    },
    say: async (machine, apply, { signal }) => {
      if (alreadySaid(machine, apply)) return;
      const options = { fieldManager: FIELD_MANAGER, force: true, signal };
      const { resourceVersion } = (get(machine.metadata.uid) ?? machine).metadata;
      const body = { ...apply, metadata: { ...apply.metadata, resourceVersion } };
      const answer = await client.applyStatus(virtualMachines, body, options);
      written.set(answer.metadata.uid, answer);
    },
  };
};

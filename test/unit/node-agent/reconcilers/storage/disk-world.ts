import type { VirtualMachineRestore } from "../../../../../src/api/virtual-machine-restore.ts";
import { virtualMachineRestores } from "../../../../../src/api/virtual-machine-restore.ts";
import {
  type VirtualMachineSnapshot,
  virtualMachineSnapshots,
} from "../../../../../src/api/virtual-machine-snapshot.ts";
import type { VirtualMachine } from "../../../../../src/api/virtual-machine.ts";
import { type Volume, volumes } from "../../../../../src/api/volume.ts";
import { reconcileMachine } from "../../../../../src/node-agent/reconcilers/machine/reconcile-machine.ts";
import { reconcileRestore } from "../../../../../src/node-agent/reconcilers/storage/reconcile-restore.ts";
import { reconcileSnapshot } from "../../../../../src/node-agent/reconcilers/storage/reconcile-snapshot.ts";
import { reconcileVolume } from "../../../../../src/node-agent/reconcilers/storage/reconcile-volume.ts";
import type { ReconcileResult } from "../../../../../src/kube/index.ts";
import { FakeNode, KilledError } from "../../../../fakes/node-host.ts";
import { machineWith } from "../../machines.ts";

export const vmUid = machineWith().metadata.uid;
export const dataUid = "5a1d7d0e-8f0c-4c52-9f7c-3f0a4f6b8d01";
export const snapshotUid = "5a1d7d0e-8f0c-4c52-9f7c-3f0a4f6b8d02";
export const restoreUid = "5a1d7d0e-8f0c-4c52-9f7c-3f0a4f6b8d03";

const metadata = (name: string, uid: string) => ({
  name,
  namespace: "default",
  uid,
  resourceVersion: "1",
  generation: 1,
  creationTimestamp: "2026-01-01T00:00:00Z",
});
const apiVersion = "vireo.dev/v1alpha1";

/** Says what the controller says of a deleted object that nobody will need any more. */
const givenUp = {
  type: "InUse",
  status: "False",
  reason: "NotUsed",
  message: "",
  lastTransitionTime: "2026-01-01T00:00:00Z",
} as const;

/** A node with one machine, and what a controller and users do with its disks. */
export class DiskWorld {
  readonly node = new FakeNode();
  now = new Date("2026-01-01T12:00:00Z");
  kills = 0;
  #agent = this.#newAgent();

  constructor() {
    this.node.machine = machineWith();
  }

  #newAgent() {
    const life = new AbortController();
    this.node.onKill = () => life.abort(new KilledError());
    return { ...this.node.newAgent(() => this.now), signal: life.signal };
  }

  get requests() {
    return this.#agent.requests;
  }

  /** One pass over each object; the shortest time after which one of them is to be looked at again. */
  async #round(): Promise<number | undefined> {
    const { machine, steps, volume, snapshot, restore, signal } = this.#agent;
    const { objects } = this.node;
    const results: ReconcileResult[] = [];
    results.push(await reconcileMachine(vmUid, machine, steps, signal));
    for (const uid of objects.volumes.objects.keys())
      results.push(await reconcileVolume(uid, volume, { signal }));
    for (const uid of objects.snapshots.objects.keys())
      results.push(await reconcileSnapshot(uid, snapshot, { signal }));
    for (const uid of objects.restores.objects.keys())
      results.push(await reconcileRestore(uid, restore, { signal }));
    const delays = results.flatMap((result) => (result.kind === "requeue-after" ? [result.ms] : []));
    return delays.length === 0 ? undefined : Math.min(...delays);
  }

  /** All that is known, to see whether a round has changed anything. */
  #state(): string {
    const { objects } = this.node;
    return JSON.stringify([
      this.node.machine,
      [...objects.volumes.objects, ...objects.snapshots.objects, ...objects.restores.objects],
      this.node.leftovers,
    ]);
  }

  /** Rounds until nothing changes any more; a killed agent is followed by a fresh one. */
  async settle(): Promise<void> {
    for (let rounds = 0, quiet = 0; rounds < 200; rounds += 1) {
      const before = this.#state();
      try {
        const again = await this.#round();
        this.now = new Date(this.now.getTime() + (again ?? 0));
      } catch (error) {
        if (!(error instanceof KilledError)) throw error;
        this.kills += 1;
        this.#agent = this.#newAgent();
      }
      quiet = this.#state() === before ? quiet + 1 : 0;
      if (quiet === 2) return;
    }
    throw new Error(`did not settle: ${this.#state()}`);
  }

  /** One round, and the time until the next one is due. */
  async settleOnce(): Promise<void> {
    const again = await this.#round();
    this.now = new Date(this.now.getTime() + (again ?? 1_000));
  }

  #change(change: (machine: VirtualMachine) => VirtualMachine): void {
    const { machine } = this.node;
    if (machine === undefined) throw new Error("there is no machine");
    this.node.machine = change(machine);
  }

  /** The controller gives the machine another size. */
  resize(flavor: Partial<NonNullable<NonNullable<VirtualMachine["status"]>["allocation"]>["flavor"]>): void {
    this.#change((machine) => {
      const allocation = machine.status?.allocation;
      if (allocation === undefined) throw new Error("the machine has no place");
      const given = { ...allocation, flavor: { ...allocation.flavor, ...flavor } };
      return { ...machine, status: { ...machine.status, allocation: given } };
    });
  }

  setStrategy(runStrategy: VirtualMachine["spec"]["runStrategy"]): void {
    this.#change((machine) => ({
      ...machine,
      spec: { ...machine.spec, runStrategy },
      metadata: { ...machine.metadata, generation: (machine.metadata.generation ?? 0) + 1 },
    }));
  }

  deleteMachine(): void {
    const deletionTimestamp = this.now.toISOString();
    this.#change((machine) => ({ ...machine, metadata: { ...machine.metadata, deletionTimestamp } }));
  }

  addVolume(size = "1Gi"): void {
    const object = { apiVersion, kind: "Volume", metadata: metadata("data", dataUid), spec: { size } };
    this.node.objects.volumes.put(volumes.parse({ ...object, status: { nodeName: "node-1" } }));
  }

  changeVolume(change: (volume: Volume) => Volume): void {
    const { volumes: fake } = this.node.objects;
    const volume = fake.objects.get(dataUid);
    if (volume === undefined) throw new Error("there is no volume");
    fake.put(change(volume));
  }

  get volume(): Volume | undefined {
    return this.node.objects.volumes.objects.get(dataUid);
  }

  /** What a user asks for in spec, and the controller grants. */
  setVolumes(attached: boolean): void {
    const named = attached ? [{ name: "data", uid: dataUid }] : [];
    this.#change((machine) => {
      const allocation = machine.status?.allocation;
      if (allocation === undefined) throw new Error("the machine has no place");
      return {
        ...machine,
        metadata: { ...machine.metadata, generation: (machine.metadata.generation ?? 0) + 1 },
        spec: { ...machine.spec, volumes: named.map(({ name }) => ({ name, bus: "VirtIO" as const })) },
        status: { ...machine.status, allocation: { ...allocation, volumes: named } },
      };
    });
    this.changeVolume((volume) => {
      const { attachedTo: _, ...status } = volume.status ?? {};
      const attachedTo = { name: "hello", uid: vmUid };
      return { ...volume, status: attached ? { ...status, attachedTo } : status };
    });
  }

  deleteVolume(): void {
    this.changeVolume((volume) => ({
      ...volume,
      metadata: { ...volume.metadata, deletionTimestamp: this.now.toISOString() },
      status: { ...volume.status, conditions: [...(volume.status?.conditions ?? []), givenUp] },
    }));
  }

  takeSnapshot(includeMemory = false, uid = snapshotUid): void {
    const object = {
      apiVersion,
      kind: "VirtualMachineSnapshot",
      metadata: metadata("before", uid),
      spec: { virtualMachine: "hello", includeMemory },
      status: { nodeName: "node-1", machineUid: vmUid },
    };
    this.node.objects.snapshots.put(virtualMachineSnapshots.parse(object));
  }

  deleteSnapshot(uid = snapshotUid): void {
    const { snapshots } = this.node.objects;
    const snapshot = snapshots.objects.get(uid);
    if (snapshot === undefined) throw new Error("there is no snapshot");
    snapshots.put({
      ...snapshot,
      metadata: { ...snapshot.metadata, deletionTimestamp: this.now.toISOString() },
      status: { ...snapshot.status, conditions: [...(snapshot.status?.conditions ?? []), givenUp] },
    });
  }

  get snapshot(): VirtualMachineSnapshot | undefined {
    return this.node.objects.snapshots.objects.get(snapshotUid);
  }

  restore(powerState: "Running" | "Paused" | "Halted", uid = restoreUid): void {
    const object = {
      apiVersion,
      kind: "VirtualMachineRestore",
      metadata: metadata("back", uid),
      spec: { virtualMachine: "hello", snapshot: "before", powerState },
      status: { nodeName: "node-1", machineUid: vmUid, snapshotUid },
    };
    this.node.objects.restores.put(virtualMachineRestores.parse(object));
  }

  get restored(): VirtualMachineRestore | undefined {
    return this.node.objects.restores.objects.get(restoreUid);
  }
}

import { describe, expect, test } from "@jest/globals";
import type { VirtualMachine } from "../../../src/api/virtual-machine.ts";
import { judgeSource, type SourceFacts } from "../../../src/controllers/disk-source/judge.ts";
import {
  allocationWith,
  guestOn,
  hypervisorWith,
  lostHypervisor,
  machineWith,
  placedMachine,
  readyCondition,
  snapshotWith,
  uidOf,
  volumeWith,
} from "./objects.ts";

const node = hypervisorWith();
const sharing = hypervisorWith({
  storagePools: [{ name: "nfs", shared: true, wipe: "None", capacityMiB: 1000, availableMiB: 500 }],
});
const ready = [readyCondition("True", "Ready")];
const stored = [{ ...readyCondition("True", "RootDiskReady"), type: "StorageReady" }];

const machine: VirtualMachine = placedMachine({ guest: guestOn(), conditions: stored });

const ofMachine = (changes: Partial<Extract<SourceFacts, { kind: "machine" }>> = {}): SourceFacts => ({
  kind: "machine",
  name: "hello",
  machine,
  node,
  ...changes,
});

const snapshot = snapshotWith({
  nodeName: "node-1",
  machineUid: machine.metadata.uid,
  conditions: ready,
  disks: [
    { name: "root", sizeMiB: 1024 },
    { name: "data", volumeUid: uidOf("data"), sizeMiB: 2048 },
  ],
});

const ofSnapshot = (changes: Partial<Extract<SourceFacts, { kind: "snapshot" }>> = {}): SourceFacts => ({
  kind: "snapshot",
  name: "before",
  snapshot,
  disk: "root",
  pool: "local",
  node,
  ...changes,
});

const volume = volumeWith({ size: "3Gi" }, {}, { nodeName: "node-1", conditions: ready, sizeMiB: 2048 });

const ofVolume = (changes: Partial<Extract<SourceFacts, { kind: "volume" }>> = {}): SourceFacts => ({
  kind: "volume",
  name: "data",
  volume,
  node,
  ...changes,
});

describe("A disk to be copied is found", () => {
  test.each<[string, SourceFacts, object]>([
    [
      "on the node of the machine whose root disk it is",
      ofMachine(),
      { disk: { machineUid: machine.metadata.uid }, nodeName: "node-1", sizeMiB: 1024 },
    ],
    [
      "in a snapshot, where the machine may be gone",
      ofSnapshot({ pool: undefined }),
      {
        disk: { machineUid: machine.metadata.uid, snapshotUid: snapshot.metadata.uid },
        nodeName: "node-1",
        sizeMiB: 1024,
      },
    ],
    [
      "in a snapshot by the name of the Volume",
      ofSnapshot({ disk: "data" }),
      {
        disk: { volumeUid: uidOf("data"), snapshotUid: snapshot.metadata.uid },
        nodeName: "node-1",
        sizeMiB: 2048,
      },
    ],
    [
      "in a snapshot that other nodes can read",
      ofSnapshot({ pool: "nfs", node: sharing }),
      { nodeName: "node-1", sharedPool: "nfs" },
    ],
    [
      "in a Volume, as large as it is by now",
      ofVolume(),
      { disk: { volumeUid: uidOf("data") }, nodeName: "node-1", sizeMiB: 2048 },
    ],
  ])("%s", (_, facts, expected) => {
    expect(judgeSource(facts)).toMatchObject({ kind: "found", found: expected });
  });

  test("in a shared pool, but by the node that uses it as long as somebody may write to it", () => {
    const shared = volumeWith({ pool: "nfs" }, {}, { nodeName: "node-1", conditions: ready });
    const verdict = judgeSource(ofVolume({ volume: shared, node: sharing }));
    expect(verdict).toMatchObject({ kind: "found" });
    expect(verdict).not.toHaveProperty("found.sharedPool");
  });

  test("as large as its machine's disk has grown to be", () => {
    const grown = {
      ...machine,
      status: { ...machine.status, allocation: allocationWith("10.0.0.2", { diskMiB: 4096 }) },
    };
    expect(judgeSource(ofMachine({ machine: grown }))).toMatchObject({ found: { sizeMiB: 4096 } });
  });
});

describe("A disk to be copied is not usable", () => {
  const lost = lostHypervisor();
  test.each<[string, SourceFacts, string]>([
    [
      "when the machine does not exist",
      ofMachine({ machine: undefined }),
      "SourceNotFound: VirtualMachine hello does not exist in this namespace. Make it there.",
    ],
    [
      "when the machine has no node yet",
      ofMachine({ machine: machineWith() }),
      "SourceNotReady: VirtualMachine hello has no root disk yet; its status says why.",
    ],
    [
      "when the node has not made the machine's disk yet",
      ofMachine({ machine: placedMachine({ guest: guestOn(), conditions: [] }) }),
      "SourceNotReady: VirtualMachine hello has no root disk yet; its status says why.",
    ],
    [
      "when the machine is being deleted",
      ofMachine({
        machine: { ...machine, metadata: { ...machine.metadata, deletionTimestamp: "2026-02-03T04:00:00Z" } },
      }),
      "SourceNotFound: VirtualMachine hello is being deleted. Name another source.",
    ],
    [
      "when the machine's node is lost",
      ofMachine({ node: lost }),
      "SourceOnLostNode: VirtualMachine hello is on node node-1, which gives no sign of life. Wait for the node, or name another source.",
    ],
    [
      "when the machine's node was removed",
      ofMachine({ node: undefined }),
      "SourceOnLostNode: VirtualMachine hello is on node node-1, which does not exist any more. Wait for the node, or name another source.",
    ],
    [
      "when the snapshot is not ready",
      ofSnapshot({ snapshot: snapshotWith({ nodeName: "node-1" }) }),
      "SourceNotReady: VirtualMachineSnapshot before is not ready yet; its status says why.",
    ],
    [
      "when the snapshot has no such disk",
      ofSnapshot({ disk: "logs" }),
      "SourceNotReady: VirtualMachineSnapshot before has no disk logs; it has root, data.",
    ],
    [
      "when the Volume is on no node yet",
      ofVolume({ volume: volumeWith() }),
      "SourceNotReady: Volume data is not ready yet; its status says why.",
    ],
    [
      "when the Volume does not exist",
      ofVolume({ volume: undefined }),
      "SourceNotFound: Volume data does not exist in this namespace. Make it there.",
    ],
  ])("%s", (_, facts, expected) => {
    const verdict = judgeSource(facts);
    if (verdict.kind !== "unusable") throw new Error("it is usable");
    expect(`${verdict.reason}: ${verdict.message}`).toBe(expected);
  });

  test("but a snapshot in a shared pool is, although its node is lost", () => {
    const node = { ...lost, status: { ...lost.status, storagePools: sharing.status?.storagePools } };
    expect(judgeSource(ofSnapshot({ pool: "nfs", node })).kind).toBe("found");
  });
});

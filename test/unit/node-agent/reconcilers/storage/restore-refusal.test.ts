import { describe, expect, test } from "@jest/globals";
import {
  type VirtualMachineRestore,
  virtualMachineRestores,
} from "../../../../../src/api/virtual-machine-restore.ts";
import {
  type VirtualMachineSnapshot,
  virtualMachineSnapshots,
} from "../../../../../src/api/virtual-machine-snapshot.ts";
import type { VirtualMachine } from "../../../../../src/api/virtual-machine.ts";
import { placed } from "../../../../../src/node-agent/desired.ts";
import { refusalOf } from "../../../../../src/node-agent/reconcilers/storage/restore-refusal.ts";
import { restoreStatus, stageOf } from "../../../../../src/node-agent/reconcilers/storage/restore-status.ts";
import { machineWith } from "../../machines.ts";

const apiVersion = "vireo.dev/v1alpha1";
const now = new Date("2026-01-01T12:00:00Z");
const dataUid = "5a1d7d0e-8f0c-4c52-9f7c-3f0a4f6b8d01";
const data = { name: "data", uid: dataUid };

const metadata = { name: "x", uid: dataUid, resourceVersion: "1", creationTimestamp: "2026-01-01T00:00:00Z" };

const restoreWith = (
  powerState: "Running" | "Paused" | "Halted",
  deletionTimestamp?: string,
): VirtualMachineRestore =>
  virtualMachineRestores.parse({
    apiVersion,
    kind: "VirtualMachineRestore",
    metadata: { ...metadata, ...(deletionTimestamp === undefined ? {} : { deletionTimestamp }) },
    spec: { virtualMachine: "hello", snapshot: "before", powerState },
  });

const snapshotWith = (memory: boolean, hasData: boolean, isReady = true): VirtualMachineSnapshot =>
  virtualMachineSnapshots.parse({
    apiVersion,
    kind: "VirtualMachineSnapshot",
    metadata,
    spec: { virtualMachine: "hello" },
    status: {
      memory,
      disks: [
        { name: "root", sizeMiB: 1 },
        ...(hasData ? [{ name: "data", volumeUid: dataUid, sizeMiB: 1 }] : []),
      ],
      conditions: [
        {
          type: "Ready",
          status: isReady ? "True" : "False",
          reason: "Online",
          message: "",
          lastTransitionTime: "2026-01-01T00:00:00Z",
        },
      ],
    },
  });

const machine = (runStrategy: "Always" | "Halted", volumes: readonly (typeof data)[] = []): VirtualMachine =>
  machineWith({
    spec: { runStrategy },
    status: {
      guest: {
        nodeName: "node-1",
        powerState: "Running",
        restarts: 0,
        volumes: volumes.map(({ name, uid }) => ({ name, uid, state: "Attached" })),
      },
    },
  });

describe("a restore", () => {
  test.each<[string, VirtualMachineRestore, VirtualMachineSnapshot, VirtualMachine, string | undefined]>([
    [
      "of the disks that the machine has may begin",
      restoreWith("Running"),
      snapshotWith(true, true),
      machine("Always", [data]),
      undefined,
    ],
    [
      "of a machine that has got a volume since may begin, without memory",
      restoreWith("Running"),
      snapshotWith(false, false),
      machine("Always", [data]),
      undefined,
    ],
    [
      "with memory may not",
      restoreWith("Running"),
      snapshotWith(true, false),
      machine("Always", [data]),
      "DisksDiffer",
    ],
    [
      "of a volume that the machine has lost may not",
      restoreWith("Running"),
      snapshotWith(false, true),
      machine("Always"),
      "DisksDiffer",
    ],
    [
      "that leaves a machine running which is to be halted may not",
      restoreWith("Paused"),
      snapshotWith(false, false),
      machine("Halted"),
      "PowerStateConflict",
    ],
    [
      "that leaves a machine halted which is to run may not",
      restoreWith("Halted"),
      snapshotWith(false, false),
      machine("Always"),
      "PowerStateConflict",
    ],
    [
      "of a halted machine may begin",
      restoreWith("Halted"),
      snapshotWith(true, false),
      machine("Halted"),
      undefined,
    ],
    [
      "of a snapshot that has failed may not",
      restoreWith("Running"),
      snapshotWith(false, false, false),
      machine("Always"),
      "SnapshotNotReady",
    ],
    [
      "that was deleted may not",
      restoreWith("Running", "2026-01-01T11:00:00Z"),
      snapshotWith(false, false),
      machine("Always"),
      "Deleted",
    ],
  ])("%s", (_, restore, snapshot, vm, reason) => {
    const target = placed(vm);
    if (target === undefined) throw new Error("the machine has no place");
    expect(refusalOf(restore, snapshot, target)?.reason).toBe(reason);
  });

  test.each(["Restoring", "Finishing", "Undoing"] as const)(
    "tells a fresh agent how far it was: %s",
    (stage) => {
      const restore = restoreWith("Running");
      expect(stageOf(restore)).toBeUndefined();
      const { status } = restoreStatus(restore, { kind: "working", stage, message: "so far" }, now);
      expect(stageOf({ ...restore, status })).toEqual({ stage, message: "so far" });
    },
  );

  test("says when it began and when it was over, once", () => {
    const restore = restoreWith("Running");
    const begun = restoreStatus(restore, { kind: "working", stage: "Restoring", message: "" }, now).status;
    const later = new Date(now.getTime() + 60_000);
    const over = restoreStatus({ ...restore, status: begun }, { kind: "succeeded" }, later).status;
    expect(over).toMatchObject({ startedAt: "2026-01-01T12:00:00Z", completedAt: "2026-01-01T12:01:00Z" });
    const again = restoreStatus({ ...restore, status: over }, { kind: "succeeded" }, new Date(0)).status;
    expect(again).toEqual(over);
  });
});

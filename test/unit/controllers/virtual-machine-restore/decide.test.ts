import { describe, expect, test } from "@jest/globals";

import { RESTORE_FINALIZER } from "../../../../src/api/virtual-machine-restore.ts";
import { PATIENCE_MS } from "../../../../src/controllers/acquaintance.ts";
import {
  decideRestore,
  type RestoreDecision,
} from "../../../../src/controllers/virtual-machine-restore/decide.ts";
import { observeRestore } from "../../../../src/controllers/virtual-machine-restore/observe.ts";
import { keyOf } from "../../../../src/kube/index.ts";
import {
  conditionsOf,
  DELETED,
  type Held,
  machineOf,
  madeVolume,
  readySnapshot,
  restoreWith,
  snapshotWith,
  statusOf,
  stepsOf,
  storesWith,
  WEB_UID,
} from "../disk-objects.ts";
import { hypervisorWith, lostHypervisor, NOW, readyCondition, uidOf } from "../objects.ts";

const SNAPSHOT_UID = readySnapshot().metadata.uid;

/** What is done about the first of the restores. */
const decide = (
  held: Held & { readonly restores: readonly ReturnType<typeof restoreWith>[] },
  seenForMs = 60_000,
): RestoreDecision => {
  const [restore] = held.restores;
  if (restore === undefined) throw new Error("no restore");
  const stores = storesWith({
    hypervisors: [hypervisorWith()],
    machines: [machineOf("web")],
    snapshots: [readySnapshot()],
    ...held,
  });
  const facts = observeRestore(stores, keyOf(restore), () => seenForMs);
  if (facts === undefined) throw new Error("no facts");
  return decideRestore(facts, NOW);
};

const fresh = restoreWith(undefined, { finalizers: [] });
const accepted = { nodeName: "node-1", machineUid: WEB_UID, snapshotUid: SNAPSHOT_UID };
const underWay = {
  ...accepted,
  phase: "InProgress" as const,
  conditions: [readyCondition("False", "Restoring")],
};

describe("A restore", () => {
  test("is held, and given to the node of its machine with what it is about", () => {
    const { steps } = decide({ restores: [fresh] });
    expect(stepsOf(steps)).toEqual([`finalizers ${RESTORE_FINALIZER}`, "apply-status"]);
    expect(statusOf(steps)).toMatchObject({ ...accepted, phase: "Pending" });
    expect(conditionsOf(steps)).toEqual(["Ready=False Accepted: Node node-1 begins with it."]);
  });

  test.each([
    ["its machine", { machines: [] }],
    ["its snapshot", { snapshots: [] }],
  ])("that is new waits a moment for %s before it complains", (_, held) => {
    expect(decide({ restores: [fresh], ...held }, 100)).toEqual({
      steps: [],
      requeueAfterMs: PATIENCE_MS - 100,
    });
  });

  test.each<[string, Held, string]>([
    ["there is no machine", { machines: [] }, "MachineNotFound"],
    ["there is no snapshot", { snapshots: [] }, "SnapshotNotFound"],
    [
      "the snapshot is not ready",
      { snapshots: [snapshotWith({ ...accepted, phase: "InProgress" })] },
      "SnapshotNotReady",
    ],
    [
      "the snapshot has not followed the machine yet",
      { snapshots: [readySnapshot({ nodeName: "node-2" })] },
      "SnapshotElsewhere",
    ],
    ["the node does not answer", { hypervisors: [lostHypervisor()] }, "NodeLost"],
    [
      "a snapshot of the machine is being taken",
      { snapshots: [readySnapshot(), snapshotWith({ ...accepted, phase: "InProgress" }, { name: "next" })] },
      "WaitingForTurn",
    ],
  ])("waits while %s", (_, held, reason) => {
    const { steps } = decide({ restores: [fresh], ...held });
    expect(statusOf(steps).phase).toBe("Pending");
    expect(conditionsOf(steps)[0]).toMatch(new RegExp(`^Ready=False ${reason}: `));
  });

  test.each<[string, Held, RegExp]>([
    [
      "its machine is being deleted",
      { machines: [machineOf("web", {}, { meta: DELETED })] },
      /^Stalled=True MachineTerminating: VirtualMachine web is being deleted/,
    ],
    [
      "its snapshot is being deleted",
      { snapshots: [readySnapshot({}, DELETED)] },
      /^Stalled=True SnapshotTerminating: VirtualMachineSnapshot before is being deleted/,
    ],
    [
      "its snapshot has failed",
      { snapshots: [snapshotWith({ phase: "Failed" })] },
      /^Stalled=True SnapshotFailed: /,
    ],
    [
      "its snapshot is of an earlier machine of the name",
      { snapshots: [readySnapshot({ machineUid: uidOf("earlier") })] },
      /^Stalled=True OtherMachine: .* but of an earlier one of the name\. Make a new machine of it/,
    ],
    [
      "the machine is to be off, and the restore starts it",
      { machines: [machineOf("web", {}, { spec: { runStrategy: "Halted" } })] },
      /^Stalled=True RunStrategyMismatch: powerState is Running, and VirtualMachine web has runStrategy Halted/,
    ],
  ])("is refused when %s", (_, held, words) => {
    const { steps } = decide({ restores: [fresh], ...held });
    expect(statusOf(steps).phase).toBe("Failed");
    expect(statusOf(steps).nodeName).toBeUndefined();
    expect(conditionsOf(steps)[1]).toMatch(words);
  });

  test.each([
    ["Running", "Always", true],
    ["Paused", "Once", true],
    ["Halted", "Halted", true],
    ["Halted", "RerunOnFailure", false],
    ["Paused", "Halted", false],
  ] as const)("to %s of a machine with runStrategy %s: %s", (powerState, runStrategy, isTaken) => {
    const restores = [restoreWith(undefined, {}, { powerState })];
    const machines = [machineOf("web", {}, { spec: { runStrategy } })];
    expect(statusOf(decide({ restores, machines }).steps).phase).toBe(isTaken ? "Pending" : "Failed");
  });

  test.each([
    ["Failed", { phase: "Failed" as const }],
    ["Succeeded", { ...accepted, phase: "Succeeded" as const }],
  ])("that is %s is never begun again, and no longer held", (_, status) => {
    expect(stepsOf(decide({ restores: [restoreWith(status)] }).steps)).toEqual(["finalizers none"]);
    expect(decide({ restores: [restoreWith(status, { finalizers: [] })] }).steps).toEqual([]);
  });
});

describe("The Volumes of a snapshot", () => {
  const data = madeVolume();
  const logs = madeVolume({}, { name: "logs" });
  const snapshots = [
    readySnapshot({
      disks: [
        { name: "root", sizeMiB: 1024 },
        { name: "data", volumeUid: data.metadata.uid, sizeMiB: 1024 },
      ],
    }),
  ];
  const restored = (...given: readonly ReturnType<typeof madeVolume>[]) =>
    decide({ restores: [fresh], snapshots, machines: [machineOf("web", { given })] });

  test.each([
    ["has them", [data]],
    ["has others beside them", [data, logs]],
  ])("go back with the machine that %s", (_, given) => {
    expect(statusOf(restored(...given).steps).nodeName).toBe("node-1");
  });

  test.each([
    ["does not have them any more", [logs]],
    ["has another one of the name", [madeVolume({}, { uid: uidOf("other data") })]],
  ])("keep it from a machine that %s", (_, given) => {
    const { steps } = restored(...given);
    expect(statusOf(steps).phase).toBe("Failed");
    expect(conditionsOf(steps)[1]).toMatch(
      /^Stalled=True VolumesChanged: VirtualMachineSnapshot before has the disks of Volume data, which VirtualMachine web no longer has\. Put it back/,
    );
  });
});

describe("A restore that a node works on", () => {
  const restores = [restoreWith(underWay)];

  test("is its agent's, whatever changes in the meantime", () => {
    expect(decide({ restores }).steps).toEqual([]);
    const changed = [machineOf("web", {}, { meta: DELETED, spec: { runStrategy: "Halted" } })];
    expect(decide({ restores, machines: changed, snapshots: [] }).steps).toEqual([]);
  });

  test("is held until it is over, also when it was deleted", () => {
    expect(decide({ restores: [restoreWith(underWay, DELETED)] }).steps).toEqual([]);
    const over = restoreWith({ ...underWay, phase: "Succeeded" }, DELETED);
    expect(stepsOf(decide({ restores: [over] }).steps)).toEqual(["finalizers none"]);
  });

  test("that does not answer keeps what its agent goes on from", () => {
    expect(decide({ restores, hypervisors: [lostHypervisor()] }).steps).toEqual([]);
  });

  test("that does not answer has not begun", () => {
    const waiting = restoreWith({
      ...accepted,
      phase: "Pending",
      conditions: [readyCondition("False", "Accepted")],
    });
    const { steps } = decide({ restores: [waiting], hypervisors: [lostHypervisor()] });
    expect(statusOf(steps)).toMatchObject({ ...accepted, phase: "Pending" });
    expect(conditionsOf(steps)).toEqual([
      "Ready=Unknown NodeLost: Node node-1 gives no sign of life. It begins when the node is back.",
    ]);
  });

  test("that is gone for good lets it go when it is deleted", () => {
    const deleted = [restoreWith(underWay, DELETED)];
    expect(stepsOf(decide({ restores: deleted, hypervisors: [] }).steps)).toEqual([
      "announce NodeRemoved",
      "finalizers none",
    ]);
  });
});

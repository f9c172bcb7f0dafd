import { describe, expect, test } from "@jest/globals";

import { MAX_SNAPSHOTS, SNAPSHOT_FINALIZER } from "../../../../src/api/virtual-machine-snapshot.ts";
import { PATIENCE_MS } from "../../../../src/controllers/acquaintance.ts";
import {
  decideSnapshot,
  type SnapshotDecision,
} from "../../../../src/controllers/virtual-machine-snapshot/decide.ts";
import { observeSnapshot } from "../../../../src/controllers/virtual-machine-snapshot/observe.ts";
import { keyOf } from "../../../../src/kube/index.ts";
import {
  conditionsOf,
  DELETED,
  type Held,
  machineOf,
  migrationWith,
  readySnapshot,
  restoreWith,
  snapshotWith,
  statusOf,
  stepsOf,
  storesWith,
  unplacedMachine,
  volumeWith,
  WEB_UID,
} from "../disk-objects.ts";
import { hypervisorWith, lostHypervisor, NOW, readyCondition, uidOf } from "../objects.ts";

const NODES = [hypervisorWith(), hypervisorWith({}, { name: "node-2", uid: uidOf("node-2") })];

/** What is done about the first of the snapshots. */
const decide = (
  held: Held & { readonly snapshots: readonly ReturnType<typeof snapshotWith>[] },
  seenForMs = 60_000,
): SnapshotDecision => {
  const [snapshot] = held.snapshots;
  if (snapshot === undefined) throw new Error("no snapshot");
  const facts = observeSnapshot(
    storesWith({ hypervisors: NODES, machines: [machineOf("web")], ...held }),
    keyOf(snapshot),
    () => seenForMs,
  );
  if (facts === undefined) throw new Error("no facts");
  return decideSnapshot(facts, NOW);
};

const fresh = snapshotWith(undefined, { finalizers: [] });
const accepted = { nodeName: "node-1", machineUid: WEB_UID };
const older = { name: "older", creationTimestamp: "2025-12-31T00:00:00Z" };
const younger = { name: "younger", creationTimestamp: "2026-01-31T00:00:00Z" };
const waitingForTurn = { phase: "Pending" as const, conditions: [readyCondition("False", "WaitingForTurn")] };

describe("A snapshot", () => {
  test("is held, and given to the node of its machine", () => {
    const { steps } = decide({ snapshots: [fresh] });
    expect(stepsOf(steps)).toEqual([`finalizers ${SNAPSHOT_FINALIZER}`, "apply-status"]);
    expect(statusOf(steps)).toMatchObject({ nodeName: "node-1", machineUid: WEB_UID, phase: "Pending" });
    expect(conditionsOf(steps)).toEqual(["Ready=False Accepted: Node node-1 begins with it."]);
  });

  test("that is new waits a moment for its machine before it complains", () => {
    expect(decide({ snapshots: [fresh], machines: [] }, 100)).toEqual({
      steps: [],
      requeueAfterMs: PATIENCE_MS - 100,
    });
  });

  test.each([
    [
      "does not exist",
      { machines: [] },
      "MachineNotFound: VirtualMachine web does not exist in namespace default.",
    ],
    [
      "has no node",
      { machines: [unplacedMachine("web", [])] },
      "MachineNotPlaced: VirtualMachine web has no node yet; its status says why.",
    ],
    [
      "is on a node that does not answer",
      { hypervisors: [lostHypervisor()] },
      "NodeLost: Node node-1, which has the machine, gives no sign of life. It begins when the node is back.",
    ],
  ])("waits while its machine %s", (_, held, words) => {
    const { steps } = decide({ snapshots: [fresh], ...held });
    expect(statusOf(steps)).toMatchObject({ phase: "Pending" });
    expect(conditionsOf(steps)).toEqual([`Ready=False ${words}`]);
  });

  test("of a machine that is being deleted is refused", () => {
    const machines = [machineOf("web", {}, { meta: DELETED })];
    const { steps } = decide({ snapshots: [fresh], machines });
    expect(statusOf(steps)).toMatchObject({ phase: "Failed" });
    expect(conditionsOf(steps)[1]).toBe(
      "Stalled=True MachineTerminating: VirtualMachine web is being deleted.",
    );
  });

  test.each([
    [MAX_SNAPSHOTS - 1, "Pending"],
    [MAX_SNAPSHOTS, "Failed"],
  ])("beside %s others of the machine is %s", (count, phase) => {
    const others = Array.from({ length: count }, (_, i) => readySnapshot({}, { name: `s${i}` }));
    const failed = readySnapshot({ phase: "Failed" }, { name: "failed" });
    const earlier = readySnapshot({ machineUid: uidOf("earlier web") }, { name: "earlier" });
    const { steps } = decide({ snapshots: [fresh, ...others, failed, earlier] });
    expect(statusOf(steps).phase).toBe(phase);
  });

  test("that was refused is never taken, whatever changes", () => {
    const refused = snapshotWith({
      phase: "Failed",
      conditions: [readyCondition("False", "TooManySnapshots")],
    });
    expect(decide({ snapshots: [refused] }).steps).toEqual([]);
  });
});

describe("A snapshot waits for its turn", () => {
  test.each([
    ["a younger snapshot that a node works on", { snapshots: [fresh, snapshotWith(accepted, younger)] }],
    [
      "a restore that a node works on",
      { snapshots: [fresh], restores: [restoreWith({ ...accepted, phase: "InProgress" })] },
    ],
    [
      "a deleted restore that a node works on",
      { snapshots: [fresh], restores: [restoreWith({ ...accepted, phase: "InProgress" }, DELETED)] },
    ],
    ["an older snapshot that is new too", { snapshots: [fresh, snapshotWith(undefined, older)] }],
    [
      "an older restore that waits for its turn",
      { snapshots: [fresh], restores: [restoreWith(waitingForTurn, older)] },
    ],
    [
      "a migration that has begun",
      { snapshots: [fresh], migrations: [migrationWith({ sourceNode: "node-1", phase: "Copying" })] },
    ],
  ])("while there is %s", (_, held) => {
    const { steps } = decide(held);
    expect(statusOf(steps).phase).toBe("Pending");
    expect(conditionsOf(steps)[0]).toMatch(/^Ready=False WaitingForTurn: It begins when VirtualMachine/);
    expect(stepsOf(steps)).toEqual(["apply-status"]);
  });

  test.each([
    ["a younger one that is new too", { snapshots: [fresh, snapshotWith(undefined, younger)] }],
    ["one that is ready", { snapshots: [fresh, readySnapshot({}, older)] }],
    [
      "one that was ready, on a node that was lost",
      { snapshots: [fresh, readySnapshot({ phase: "Unknown" }, older)] },
    ],
    [
      "one that is being merged",
      { snapshots: [fresh, readySnapshot({ phase: "Deleting" }, { ...older, ...DELETED })] },
    ],
    ["one that has failed", { snapshots: [fresh, snapshotWith({ ...accepted, phase: "Failed" }, older)] }],
    [
      "an older one that waits for something else",
      {
        snapshots: [
          fresh,
          snapshotWith(
            { phase: "Pending", conditions: [readyCondition("False", "SnapshotNotReady")] },
            older,
          ),
        ],
      },
    ],
    [
      "an older one of another machine",
      { snapshots: [fresh, snapshotWith(undefined, older, { virtualMachine: "api" })] },
    ],
    [
      "an older one of another namespace",
      { snapshots: [fresh, snapshotWith(undefined, { ...older, namespace: "other" })] },
    ],
    [
      "a restore that is over",
      { snapshots: [fresh], restores: [restoreWith({ ...accepted, phase: "Succeeded" }, older)] },
    ],
    [
      "a younger migration that waits",
      { snapshots: [fresh], migrations: [migrationWith({ phase: "Pending" }, { ...younger, name: "away" })] },
    ],
    [
      "a migration that is over",
      { snapshots: [fresh], migrations: [migrationWith({ sourceNode: "node-2", phase: "Succeeded" })] },
    ],
    [
      "an older one that nobody wants any more",
      { snapshots: [fresh, snapshotWith(undefined, { ...older, ...DELETED })] },
    ],
  ] satisfies readonly (readonly [string, Parameters<typeof decide>[0]])[])("but not for %s", (_, held) => {
    expect(statusOf(decide(held).steps).nodeName).toBe("node-1");
  });
});

describe("A snapshot on a node", () => {
  test("is its agent's", () => {
    expect(decide({ snapshots: [readySnapshot()] }).steps).toEqual([]);
  });

  test("goes with its machine to another node", () => {
    const machines = [machineOf("web", {}, { nodeName: "node-2" })];
    const { steps } = decide({ snapshots: [readySnapshot()], machines });
    expect(statusOf(steps)).toMatchObject({ nodeName: "node-2", machineUid: WEB_UID, phase: "Ready" });
    expect(conditionsOf(steps)).toEqual(["Ready=True Taken: Because."]);
  });

  test.each([
    ["is gone", []],
    [
      "was made anew under the name",
      [machineOf("web", {}, { meta: { uid: uidOf("new web") }, nodeName: "node-2" })],
    ],
  ])("stays where it is when its machine %s", (_, machines) => {
    expect(decide({ snapshots: [readySnapshot()], machines }).steps).toEqual([]);
  });

  test("that does not answer is not known to be well", () => {
    const { steps } = decide({ snapshots: [readySnapshot()], hypervisors: [lostHypervisor()] });
    expect(statusOf(steps)).toMatchObject({ phase: "Unknown", nodeName: "node-1" });
    expect(conditionsOf(steps)[0]).toMatch(/^Ready=Unknown NodeLost: Node node-1 gives no sign of life/);
  });

  test.each([
    [
      "has failed",
      snapshotWith({ ...accepted, phase: "Failed", conditions: [readyCondition("False", "NoSpace")] }),
    ],
    [
      "is being taken",
      snapshotWith({ ...accepted, phase: "InProgress", conditions: [readyCondition("False", "InProgress")] }),
    ],
  ])("that does not answer keeps what its agent goes on from when it %s", (_, snapshot) => {
    expect(decide({ snapshots: [snapshot], hypervisors: [] }).steps).toEqual([]);
  });

  test("that is back has what was taken there", () => {
    const lost = readySnapshot({ phase: "Unknown", conditions: [readyCondition("Unknown", "NodeLost")] });
    const { steps } = decide({ snapshots: [lost] });
    expect(statusOf(steps)).toMatchObject({ phase: "Ready", nodeName: "node-1" });
    expect(conditionsOf(steps)).toEqual(["Ready=True Online: The snapshot is there; its node is back."]);
  });

  test("that is back has still to begin with what was not taken", () => {
    const lost = snapshotWith({
      ...accepted,
      phase: "Pending",
      conditions: [readyCondition("Unknown", "NodeLost")],
    });
    expect(decide({ snapshots: [lost] }).steps).toEqual([]);
  });
});

describe("A deleted snapshot", () => {
  const deleted = readySnapshot({}, DELETED);
  const uid = deleted.metadata.uid;

  test("is left to its node, which is told that nobody needs it", () => {
    const { steps } = decide({ snapshots: [deleted] });
    expect(conditionsOf(steps)).toEqual([
      "Ready=True Taken: Because.",
      "InUse=False Unused: Nobody needs it any more.",
    ]);
  });

  test.each([
    [
      "VirtualMachineRestore back",
      { restores: [restoreWith({ ...accepted, snapshotUid: uid, phase: "InProgress" })] },
    ],
    [
      "Volume copy",
      {
        volumes: [
          volumeWith(
            {},
            { name: "copy" },
            { nodeName: "node-1", allocation: { source: { snapshotUid: uid } } },
          ),
        ],
      },
    ],
  ])("stays while %s reads from it", (who, held) => {
    const { steps } = decide({ snapshots: [deleted], ...held });
    expect(conditionsOf(steps)[1]).toBe(`InUse=True BeingRead: It goes when these are done with it: ${who}.`);
    expect(stepsOf(steps)).toEqual(["apply-status", "announce InUse"]);
  });

  test("that its node was told to give up is not kept for anybody", () => {
    const inUse = { ...readyCondition("False", "Unused", "Nobody needs it any more."), type: "InUse" };
    const given = readySnapshot({ conditions: [readyCondition("True", "Taken"), inUse] }, DELETED);
    const restores = [restoreWith({ ...accepted, snapshotUid: uid, phase: "InProgress" })];
    expect(decide({ snapshots: [given], restores }).steps).toEqual([]);
  });

  test("goes when its node has released it", () => {
    const conditions = [{ ...readyCondition("True", "Released"), type: "Released" }];
    const { steps } = decide({ snapshots: [readySnapshot({ conditions }, DELETED)] });
    expect(stepsOf(steps)).toEqual(["finalizers none"]);
  });

  test("that no node has goes at once", () => {
    expect(stepsOf(decide({ snapshots: [snapshotWith(undefined, DELETED)] }).steps)).toEqual([
      "finalizers none",
    ]);
  });

  test("on a node that is gone for good goes, and it is said that nothing was cleaned up", () => {
    expect(stepsOf(decide({ snapshots: [deleted], hypervisors: [] }).steps)).toEqual([
      "announce NodeRemoved",
      "finalizers none",
    ]);
  });

  test("on a node that does not answer says which Hypervisor to delete", () => {
    const { steps } = decide({ snapshots: [deleted], hypervisors: [lostHypervisor()] });
    expect(conditionsOf(steps)[0]).toContain("delete Hypervisor node-1");
  });
});

import { describe, expect, test } from "@jest/globals";

import { LEFTOVERS_FINALIZER, MIGRATION_FINALIZER } from "../../../../src/api/virtual-machine-migration.ts";
import { PATIENCE_MS } from "../../../../src/controllers/acquaintance.ts";
import {
  conditionsOf,
  DELETED,
  type Held,
  machineOf,
  madeVolume,
  migrationWith,
  readySnapshot,
  snapshotWith,
  statusOf,
  stepsOf,
  unplacedMachine,
  volumeWith,
} from "../disk-objects.ts";
import { allocationWith, guestOn, readyCondition } from "../objects.ts";
import { acceptedWith, decide, fenced, NODES, nodeWith, running, silent } from "./migrating.ts";

const fresh = migrationWith(undefined, { finalizers: [] });
const wordsOf = (held: Held) => conditionsOf(decide(held).steps);

describe("A migration", () => {
  test("is held, and given its nodes and the room on the target", () => {
    const { steps, promise } = decide({ migrations: [fresh] });
    expect(promise).toEqual({ machineUid: running.metadata.uid, sourceNode: "node-1", targetNode: "node-2" });
    expect(stepsOf(steps)).toEqual([
      `finalizers ${MIGRATION_FINALIZER},${LEFTOVERS_FINALIZER}`,
      "apply-status",
    ]);
    expect(statusOf(steps)).toMatchObject({
      phase: "Preparing",
      machineUid: running.metadata.uid,
      sourceNode: "node-1",
      targetNode: "node-2",
      live: true,
    });
    expect(conditionsOf(steps)).toEqual([
      "Ready=False Accepted: Node node-2 prepares for the machine.",
      "Accepted=True Accepted: The machine moves from node node-1 to node node-2.",
    ]);
  });

  test("of a machine that is off moves its disks only", () => {
    const off = machineOf(
      "web",
      {},
      { status: { printableStatus: "Stopped", guest: { ...guestOn(), powerState: "ShutOff" } } },
    );
    expect(statusOf(decide({ migrations: [fresh], machines: [off] }).steps)).toMatchObject({ live: false });
  });

  test("that is new waits a moment for its machine before it complains", () => {
    const { steps, requeueAfterMs } = decide({ migrations: [fresh], machines: [] }, { seenForMs: 100 });
    expect({ steps, requeueAfterMs }).toEqual({ steps: [], requeueAfterMs: PATIENCE_MS - 100 });
  });

  const to = (targetNode: string) => migrationWith(undefined, {}, { targetNode });
  const starting = machineOf("web", {}, { status: { printableStatus: "Starting" } });
  const data = volumeWith({}, { name: "data" });
  test.each<[string, Held, string]>([
    [
      "there is no machine",
      { machines: [] },
      "MachineNotFound: VirtualMachine web does not exist in namespace default.",
    ],
    [
      "the machine has no node",
      { machines: [unplacedMachine("web", [])] },
      "MachineNotPlaced: VirtualMachine web has no node yet; its status says why.",
    ],
    [
      "the guest is being started",
      { machines: [starting] },
      "MachineNotSettled: VirtualMachine web is Starting; it is moved when its guest is either on or off.",
    ],
    [
      "a Volume of it is being made",
      {
        machines: [machineOf("web", { given: [data] }, { status: { printableStatus: "Running" } })],
        volumes: [data],
      },
      "VolumeNotReady: Volume data of the machine is still being made.",
    ],
    [
      "a guest is off whose firmware keeps variables",
      {
        machines: [
          machineOf(
            "web",
            {},
            {
              spec: { firmware: "UEFI" },
              status: { printableStatus: "Stopped", guest: { ...guestOn(), powerState: "ShutOff" } },
            },
          ),
        ],
      },
      "StateStaysBehind: VirtualMachine web is off, and the variables of its UEFI firmware are its node's own; it can be moved while it runs.",
    ],
    [
      "a clone has never been started",
      {
        machines: [
          machineOf(
            "web",
            {},
            {
              status: {
                printableStatus: "Stopped",
                guest: { nodeName: "node-1", powerState: "ShutOff", restarts: 0 },
                allocation: {
                  ...allocationWith(),
                  source: { machineUid: "5a1d7d0e-8f0c-4c52-9f7c-3f0a4f6b8c01" },
                },
              },
            },
          ),
        ],
      },
      "DiskNotMade: VirtualMachine web has never been started, and its disk is made from another one on its node when it is; it can be moved after that.",
    ],
    [
      "there is no node of that name",
      { migrations: [to("node-9")] },
      "NodeNotFound: There is no Hypervisor node-9. Name another node, or none.",
    ],
    [
      "there is no other node",
      { hypervisors: [nodeWith("node-1")] },
      "Unschedulable: There is no other node that the machine could move to.",
    ],
    [
      "the other node is cordoned",
      { hypervisors: [nodeWith("node-1"), nodeWith("node-2", {}, { unschedulable: true })] },
      "Unschedulable: The only node cannot take the machine: node-2 is cordoned (spec.unschedulable).",
    ],
    [
      "the other node is silent",
      { hypervisors: [nodeWith("node-1"), nodeWith("node-2", silent)] },
      "Unschedulable: The only node cannot take the machine: node-2 is not ready (HeartbeatLost).",
    ],
    [
      "the other node can only emulate",
      { hypervisors: [nodeWith("node-1"), nodeWith("node-2", { acceleration: "tcg" })] },
      "Unschedulable: The only node cannot take the machine: node-2 runs guests by tcg, and this one runs by kvm; it can go there when it is off.",
    ],
    [
      "the other node has too little room",
      {
        hypervisors: [
          nodeWith("node-1"),
          nodeWith("node-2", { capacity: { cpus: 8, memoryMiB: 100, diskMiB: 9 } }),
        ],
      },
      "Unschedulable: The only node cannot take the machine: node-2 has too little memory free for 512 MiB (it gives out 100 MiB in all).",
    ],
  ])("waits while %s", (_, held, words) => {
    const { steps } = decide({ migrations: [fresh], ...held });
    expect(statusOf(steps)).toMatchObject({ phase: "Pending" });
    expect(conditionsOf(steps)).toEqual([`Ready=False ${words}`]);
  });

  test.each<[string, Held, string]>([
    [
      "is there already",
      { migrations: [to("node-1")] },
      "AlreadyThere: VirtualMachine web is on node node-1 already.",
    ],
    [
      "is being deleted",
      { machines: [machineOf("web", {}, { meta: DELETED })] },
      "MachineTerminating: VirtualMachine web is being deleted.",
    ],
    [
      "is on a node that is silent",
      { hypervisors: [nodeWith("node-1", silent), nodeWith("node-2")] },
      "NodeLost: Node node-1, which has the machine, gives no sign of life, so that the machine cannot be moved. Make another migration when the node is back.",
    ],
  ])("is refused for good when the machine %s", (_, held, words) => {
    const decision = decide({ migrations: [fresh], ...held });
    expect(decision.outcome).toBe("Failed");
    expect(statusOf(decision.steps).phase).toBe("Failed");
    expect(conditionsOf(decision.steps)[1]).toBe(`Stalled=True ${words}`);
  });

  test("waits for a snapshot of the machine that is under way, and not for one that is taken", () => {
    const underWay = snapshotWith({ nodeName: "node-1", phase: "InProgress" });
    expect(wordsOf({ migrations: [fresh], snapshots: [underWay] })).toEqual([
      "Ready=False WaitingForTurn: It begins when VirtualMachineSnapshot before of the same machine is over.",
    ]);
    expect(decide({ migrations: [fresh], snapshots: [readySnapshot()] }).promise).toBeDefined();
  });

  describe("after another one of the machine, whose node has not let go of it yet", () => {
    const leftover = (status: Parameters<typeof acceptedWith>[0]) =>
      acceptedWith(status, {
        name: "former",
        uid: "00000000-0000-4000-8000-0000000000ff",
        finalizers: [LEFTOVERS_FINALIZER],
      });

    test.each([
      ["succeeded", leftover({ phase: "Succeeded", sourceNode: "node-2", targetNode: "node-1" })],
      ["failed", leftover({ phase: "Failed" })],
      ["was cancelled", leftover({ phase: "Cancelled" })],
    ])("that %s, does not go there", (_, former) => {
      expect(wordsOf({ migrations: [fresh, former] })).toEqual([
        "Ready=False WaitingForTurn: It begins when node node-2 has nothing left of the machine from VirtualMachineMigration former.",
      ]);
      const hypervisors = [...NODES, nodeWith("node-3")];
      expect(decide({ migrations: [fresh, former], hypervisors }).promise).toMatchObject({
        targetNode: "node-3",
      });
    });

    test("goes there when that is done", () => {
      const former = acceptedWith(
        { phase: "Failed" },
        { name: "former", uid: "00000000-0000-4000-8000-0000000000ff", finalizers: [] },
      );
      expect(decide({ migrations: [fresh, former] }).promise).toBeDefined();
    });
  });
});

describe("Only so many machines move at a time", () => {
  const others = (count: number, sourceNode = "node-1") =>
    Array.from({ length: count }, (_, i) =>
      acceptedWith(
        { machineUid: `other-${i}`, sourceNode },
        { name: `other-${i}` },
        { virtualMachine: "other" },
      ),
    );
  const elsewhere = (count: number) => others(count, "node-8");

  test("from or to a node", () => {
    expect(wordsOf({ migrations: [fresh, ...others(2)] })).toEqual([
      "Ready=False TooManyMigrations: It waits for its turn. Node node-1 moves 2 machines at a time (spec.maxParallelMigrations). It is the next.",
    ]);
  });

  test("to a node that the scheduler would choose", () => {
    expect(wordsOf({ migrations: [fresh, ...elsewhere(2)] })).toEqual([
      "Ready=False TooManyMigrations: It waits for its turn. Node node-2 moves 2 machines at a time (spec.maxParallelMigrations). It is the next.",
    ]);
  });

  test("in the cluster", () => {
    const words = conditionsOf(decide({ migrations: [fresh, ...elsewhere(1)] }, { maxParallel: 1 }).steps);
    expect(words).toEqual([
      "Ready=False TooManyMigrations: It waits for its turn. One machine moves at a time in the cluster (--max-parallel-migrations). It is the next.",
    ]);
  });

  test("and the older ones first", () => {
    const older = migrationWith(
      { phase: "Pending", conditions: [readyCondition("False", "TooManyMigrations")] },
      { name: "older", creationTimestamp: "2025-01-01T00:00:00Z" },
      { virtualMachine: "shop" },
    );
    const shop = machineOf("shop", {}, { status: { printableStatus: "Running" } });
    const held = { migrations: [fresh, older], machines: [running, shop] };
    expect(conditionsOf(decide(held, { maxParallel: 1 }).steps)[0]).toMatch(
      /1 that waits longer is ahead of it\.$/,
    );
    expect(decide(held, { maxParallel: 2 }).promise).toBeDefined();
  });
});

describe("A migration that is being prepared", () => {
  const after = (seconds: number) => new Date(Date.parse("2026-02-03T04:05:00Z") + seconds * 1000);

  test("is left to the target until its time is up", () => {
    expect(decide({ migrations: [acceptedWith()] }, { now: after(3000) })).toEqual({
      steps: [],
      requeueAfterMs: 600_000,
    });
    const { steps } = decide({ migrations: [acceptedWith()] }, { now: after(3600) });
    expect(statusOf(steps).phase).toBe("Failed");
  });

  test.each<[string, Held, string, string]>([
    ["is deleted", { migrations: [acceptedWith({}, DELETED)] }, "Cancelled", "Deleted"],
    ["has lost its machine", { machines: [] }, "Cancelled", "MachineTerminating"],
    [
      "has lost its source",
      { hypervisors: [nodeWith("node-1", silent), nodeWith("node-2")] },
      "Failed",
      "NodeLost",
    ],
    [
      "has lost its target",
      { hypervisors: [nodeWith("node-1"), nodeWith("node-2", silent)] },
      "Failed",
      "TargetLost",
    ],
  ])("that %s is over", (_, held, phase, reason) => {
    const { steps } = decide({ migrations: [acceptedWith()], ...held });
    expect(statusOf(steps).phase).toBe(phase);
    expect(conditionsOf(steps)[0]).toMatch(new RegExp(`^Ready=False ${reason}: `));
  });
});

describe("A migration under way is the agents' to end", () => {
  const out = { outOfService: true };
  const nfs = {
    storagePools: [{ name: "nfs", shared: true, wipe: "None" as const, capacityMiB: 9, availableMiB: 9 }],
  };
  const onShared = machineOf(
    "web",
    {},
    { status: { printableStatus: "Running", allocation: { ...allocationWith(), pool: "nfs" } } },
  );
  const data = madeVolume();
  const onBoth = machineOf(
    "web",
    { given: [data] },
    {
      status: {
        allocation: { ...allocationWith(), pool: "nfs", volumes: [{ name: "data", uid: data.metadata.uid }] },
      },
    },
  );

  test.each<[string, "Copying" | "Switching", Held, string]>([
    [
      "the source is silent",
      "Copying",
      { hypervisors: [nodeWith("node-1", silent), nodeWith("node-2")] },
      "Copying Unknown NodeLost",
    ],
    [
      "the target is silent",
      "Copying",
      { hypervisors: [nodeWith("node-1"), nodeWith("node-2", silent)] },
      "Copying False Copying",
    ],
    ["the target is gone", "Copying", { hypervisors: [nodeWith("node-1")] }, "Copying False Copying"],
    ["the source is gone", "Copying", { hypervisors: [nodeWith("node-2")] }, "Failed False SourceGone"],
    [
      "the source is out of service and silent",
      "Copying",
      { hypervisors: [nodeWith("node-1", fenced, out), nodeWith("node-2")] },
      "Failed False SourceGone",
    ],
    [
      "the source is out of service and speaks",
      "Copying",
      { hypervisors: [nodeWith("node-1", {}, out), nodeWith("node-2")] },
      "Copying False Copying",
    ],
    [
      "the target is silent",
      "Switching",
      { hypervisors: [nodeWith("node-1"), nodeWith("node-2", silent)] },
      "Switching Unknown NodeLost",
    ],
    [
      "the target is out of service and speaks",
      "Switching",
      { hypervisors: [nodeWith("node-1"), nodeWith("node-2", {}, out)] },
      "Switching False Switching",
    ],
    [
      "the target is gone, and the disks are the source's own",
      "Switching",
      { hypervisors: [nodeWith("node-1")] },
      "Failed False TargetGone",
    ],
    [
      "the target is out of service, and the disks are the source's own",
      "Switching",
      { hypervisors: [nodeWith("node-1"), nodeWith("node-2", fenced, out)] },
      "Failed False TargetGone",
    ],
    [
      "the target is out of service, and may have written to shared disks",
      "Switching",
      {
        machines: [onShared],
        hypervisors: [nodeWith("node-1", nfs), nodeWith("node-2", { ...nfs, ...fenced }, out)],
      },
      "Succeeded True TargetGone",
    ],
    [
      "the target has no Hypervisor, and may have written to shared disks",
      "Switching",
      { machines: [onShared], hypervisors: [nodeWith("node-1", nfs)] },
      "Switching Unknown NodeLost",
    ],
    [
      "the target is out of service, and may have written to some of the disks",
      "Switching",
      {
        machines: [onBoth],
        volumes: [data],
        hypervisors: [nodeWith("node-1", nfs), nodeWith("node-2", { ...nfs, ...fenced }, out)],
      },
      "Switching Unknown NodeLost",
    ],
  ])("while %s, in %s", (_, phase, held, outcome) => {
    const { steps } = decide({ migrations: [acceptedWith({ phase })], ...held });
    const status = statusOf(steps);
    const ready = status.conditions.find(({ type }) => type === "Ready");
    expect(`${status.phase} ${ready?.status} ${ready?.reason}`).toBe(outcome);
  });

  test("and what they say of it stays", () => {
    const conditions = [
      readyCondition("False", "SendingMemory", "Half of it."),
      ...(acceptedWith().status?.conditions ?? []).filter(({ type }) => type === "Accepted"),
    ];
    expect(decide({ migrations: [acceptedWith({ phase: "Copying", conditions })] }).steps).toEqual([]);
  });
});

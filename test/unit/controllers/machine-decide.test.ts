import { describe, expect, test } from "@jest/globals";
import fc from "fast-check";
import { GUEST_FINALIZER, type VirtualMachine } from "../../../src/api/virtual-machine.ts";
import { candidateOf, noResources } from "../../../src/controllers/scheduler/types.ts";
import {
  decideMachine,
  type MachineDecision,
  PATIENCE_MS,
} from "../../../src/controllers/virtual-machine/decide.ts";
import type {
  MachineFacts,
  NetworkUse,
  UnplacedFacts,
} from "../../../src/controllers/virtual-machine/observe.ts";
import { conditionsOf, placedFacts, placement, statusOf, stepsOf, unplacedFacts } from "./machine-facts.ts";
import {
  flavorWith,
  guestOn,
  hypervisorWith,
  imageWith,
  keyPairWith,
  lostHypervisor,
  machineWith,
  NOW,
  placedMachine,
  PUBLIC_KEY,
  readyCondition,
  uidOf,
  volumeOf,
} from "./objects.ts";

const LATER = new Date(NOW.getTime() + 3_600_000);
const LEAVING = { deletionTimestamp: "2026-02-03T04:00:00Z" };

const decide = (facts: MachineFacts): MachineDecision => decideMachine(facts, NOW);

/** The machine after the decision was carried out. */
const carriedOut = (machine: VirtualMachine, decision: MachineDecision): VirtualMachine => {
  let { metadata, status } = machine;
  for (const step of decision.steps) {
    if (step.kind === "add-finalizer")
      metadata = { ...metadata, finalizers: [...(metadata.finalizers ?? []), GUEST_FINALIZER] };
    if (step.kind === "remove-finalizer") metadata = { ...metadata, finalizers: [] };
    if (step.kind === "apply-status") {
      const said = new Set(step.status.conditions.map(({ type }) => type));
      const kept = (status?.conditions ?? []).filter(
        ({ type }) => !said.has(type) && status?.guest !== undefined,
      );
      status = { ...status, ...step.status, conditions: [...step.status.conditions, ...kept] };
    }
  }
  return { ...machine, metadata, ...(status !== undefined && { status }) };
};

describe("A machine that can be placed", () => {
  test("gets its finalizer, then everything else in one write, then an event", () => {
    const decision = decide(unplacedFacts());
    expect(stepsOf(decision)).toEqual(["add-finalizer", "apply-status", "Normal Scheduled"]);
    expect(decision.result).toBe("placed");
    expect(statusOf(decision)).toMatchObject({
      nodeName: "node-1",
      printableStatus: "Provisioning",
      observedGeneration: 1,
      allocation: {
        flavor: { name: "small", vcpus: 1, memoryMiB: 512, diskMiB: 1024 },
        image: { name: "tiny", uid: uidOf("tiny"), format: "qcow2", compression: "None" },
        interfaces: [
          {
            network: "lan",
            address: "10.0.0.2",
            prefixLength: 24,
            gateway: "10.0.0.1",
            mtu: 1450,
            dnsServers: [],
          },
        ],
        sshPublicKeys: [PUBLIC_KEY],
      },
    });
    expect(conditionsOf(decision)).toEqual([
      "Ready=False Provisioning",
      "ImageReady=True Valid",
      "FlavorReady=True Valid",
      "KeyPairsReady=True Valid",
      "NetworkReady=True Valid",
      "SecurityGroupsReady=True Valid",
      "VolumesReady=True Valid",
      "Scheduled=True Placed",
    ]);
  });

  test("keeps the finalizers of others, and is not given its own twice", () => {
    const machine = machineWith({}, { finalizers: ["example.com/other", GUEST_FINALIZER] });
    expect(stepsOf(decide(unplacedFacts({ machine })))).toEqual(["apply-status", "Normal Scheduled"]);
  });

  test("gets each key once", () => {
    const keyPairs = ["a", "b"].map((name) => ({ name, keyPair: keyPairWith() }));
    expect(statusOf(decide(unplacedFacts({ keyPairs }))).allocation?.sshPublicKeys).toEqual([PUBLIC_KEY]);
  });

  test("and was reserved for gets just that again, whatever has changed since", () => {
    const reserved = placement("10.0.0.77", "node-9");
    const facts = unplacedFacts({ reserved, image: undefined, flavor: undefined, nodes: [] });
    expect(statusOf(decide(facts))).toMatchObject({ nodeName: "node-9", allocation: reserved.allocation });
  });

  test("loses a Stalled of before with the same write", () => {
    const machine = machineWith(
      {},
      {},
      { conditions: [readyCondition("False", "X"), { ...readyCondition("True", "X"), type: "Stalled" }] },
    );
    expect(conditionsOf(decide(unplacedFacts({ machine }))).some((text) => text.startsWith("Stalled"))).toBe(
      false,
    );
  });
});

describe("A machine that cannot be placed", () => {
  const cordoned = hypervisorWith({}, {}, { unschedulable: true });
  const noNode: Partial<UnplacedFacts> = { nodes: [candidateOf(cordoned, noResources)] };

  test("for want of a node says so, with a reason for each", () => {
    const decision = decide(unplacedFacts(noNode));
    expect(stepsOf(decision)).toEqual(["apply-status", "Warning FailedScheduling"]);
    expect(statusOf(decision).printableStatus).toBe("Pending");
    expect(conditionsOf(decision)).toEqual([
      "Ready=False Unschedulable",
      "ImageReady=True Valid",
      "FlavorReady=True Valid",
      "KeyPairsReady=True Valid",
      "NetworkReady=True Valid",
      "SecurityGroupsReady=True Valid",
      "VolumesReady=True Valid",
      "Scheduled=False Unschedulable",
    ]);
    expect(statusOf(decision).conditions[7]?.message).toBe(
      "The only node cannot take the machine: node-1 is cordoned (spec.unschedulable).",
    );
    expect(decision.requeueAfterMs).toBeUndefined();
  });

  test("for want of an object is in progress, not failed: it may come", () => {
    const decision = decide(unplacedFacts({ image: undefined }));
    expect(conditionsOf(decision)).toEqual([
      "Ready=False ImageNotFound",
      "ImageReady=False ImageNotFound",
      "FlavorReady=True Valid",
      "KeyPairsReady=True Valid",
      "NetworkReady=True Valid",
      "SecurityGroupsReady=True Valid",
      "VolumesReady=True Valid",
      "Scheduled=False PrerequisitesMissing",
    ]);
    expect(statusOf(decision).printableStatus).toBe("Pending");
    expect(stepsOf(decision)).toEqual(["apply-status", "Warning ImageNotFound"]);
  });

  test("for something that lasts is failed, and Ready tells of that first", () => {
    const decision = decide(
      unplacedFacts({
        image: imageWith({ minimumDisk: "9Gi" }),
        keyPairs: [{ name: "me", keyPair: undefined }],
      }),
    );
    expect(conditionsOf(decision).slice(0, 2)).toEqual([
      "Ready=False DiskTooSmall",
      "Stalled=True DiskTooSmall",
    ]);
    expect(statusOf(decision).printableStatus).toBe("Failed");
    expect(statusOf(decision).conditions.at(-1)?.message).toBe(
      "A node is chosen when FlavorReady, KeyPairsReady are True.",
    );
  });

  test("and has just been made waits a moment before it complains", () => {
    const facts = unplacedFacts({ image: undefined, seenForMs: 100 });
    expect(decide(facts)).toEqual({ steps: [], requeueAfterMs: PATIENCE_MS - 100 });
    expect(decide({ ...facts, seenForMs: PATIENCE_MS }).steps).not.toEqual([]);
  });

  test("does not wait for what will not come by itself", () => {
    const facts = unplacedFacts({ image: imageWith({ minimumDisk: "9Gi" }), seenForMs: 0 });
    expect(stepsOf(decide(facts))).toContain("apply-status");
  });

  test("because the controller cannot read all machines says so, and is looked at again", () => {
    const decision = decide(unplacedFacts({ unreadableMachines: 2 }));
    expect(conditionsOf(decision)).toContain("Scheduled=False UnreadableMachines");
    expect(decision.requeueAfterMs).toBe(30_000);
    expect(decision.reserve).toBeUndefined();
  });

  test("and is deleted goes without a word", () => {
    expect(decide(unplacedFacts({ machine: machineWith({}, LEAVING) }))).toEqual({ steps: [] });
  });

  test("and is deleted after its finalizer was written is let go", () => {
    const machine = machineWith({}, { ...LEAVING, finalizers: [GUEST_FINALIZER] });
    expect(stepsOf(decide(unplacedFacts({ machine })))).toEqual(["remove-finalizer"]);
  });

  test("is told again only when something else is the matter", () => {
    const first = decide(unplacedFacts({ image: undefined }));
    const machine = carriedOut(machineWith(), first);
    expect(decide(unplacedFacts({ machine, image: undefined })).steps).toEqual([]);
    expect(stepsOf(decide(unplacedFacts({ machine, flavor: undefined })))).toEqual([
      "apply-status",
      "Warning FlavorNotFound",
    ]);
  });
});

const agentsWords = (ready = readyCondition("True", "Running")) => ({
  guest: guestOn(),
  printableStatus: "Running" as const,
  observedGeneration: 1,
  conditions: [ready],
});

describe("A machine on a node", () => {
  test("whose agent has spoken is left to it", () => {
    expect(decide(placedFacts(placedMachine(agentsWords()), hypervisorWith()))).toEqual({ steps: [] });
  });

  test("stays the agent's also when its spec has changed", () => {
    const machine = placedMachine(agentsWords(), { generation: 7 });
    expect(decide(placedFacts(machine, hypervisorWith()))).toEqual({ steps: [] });
  });

  test("is the controller's to speak for until the agent's first word", () => {
    const machine = placedMachine({}, { generation: 2 });
    expect(conditionsOf(decide(placedFacts(machine, hypervisorWith())))).toEqual([
      "Ready=False Provisioning",
    ]);
  });

  test("gets its finalizer back when somebody took it away", () => {
    const machine = placedMachine(agentsWords(), { finalizers: [] });
    expect(stepsOf(decide(placedFacts(machine, hypervisorWith())))).toEqual(["add-finalizer"]);
  });

  test("that is lost becomes Unknown, and keeps all that it was given", () => {
    const decision = decide(placedFacts(placedMachine(agentsWords()), lostHypervisor()));
    expect(stepsOf(decision)).toEqual(["apply-status", "Warning NodeLost"]);
    expect(statusOf(decision)).toMatchObject({
      nodeName: "node-1",
      allocation: placedMachine().status?.allocation,
      printableStatus: "Unknown",
    });
    expect(conditionsOf(decision)).toEqual(["Ready=Unknown NodeLost"]);
  });

  test("keeps the conditions of its placement while its node is lost", () => {
    const placed = carriedOut(machineWith(), decide(unplacedFacts()));
    const decision = decide(placedFacts(placed, lostHypervisor()));
    expect(conditionsOf(decision)).toEqual([
      "Ready=Unknown NodeLost",
      "ImageReady=True Valid",
      "FlavorReady=True Valid",
      "KeyPairsReady=True Valid",
      "NetworkReady=True Valid",
      "SecurityGroupsReady=True Valid",
      "VolumesReady=True Valid",
      "Scheduled=True Placed",
    ]);
  });

  test("that is back is left to its agent, which takes Ready back", () => {
    const lost = placedMachine({
      ...agentsWords(readyCondition("Unknown", "NodeLost")),
      printableStatus: "Unknown",
    });
    expect(decide(placedFacts(lost, hypervisorWith()))).toEqual({ steps: [] });
  });

  test("that was removed says what to do", () => {
    const decision = decide(placedFacts(placedMachine(agentsWords()), undefined));
    expect(statusOf(decision).conditions[0]).toMatchObject({
      status: "Unknown",
      reason: "NodeLost",
      message:
        "There is no Hypervisor node-1 any more; the machine's disk was on that node. Delete the machine.",
    });
  });
});

describe("A machine that is deleted", () => {
  const leaving = (status: Partial<NonNullable<VirtualMachine["status"]>>): VirtualMachine =>
    placedMachine(status, LEAVING);
  const released = { ...readyCondition("True", "Released"), type: "Released" };

  test.each<[string, MachineFacts, readonly string[]]>([
    ["waits for its node's agent", placedFacts(leaving(agentsWords()), hypervisorWith()), []],
    [
      "is let go when the agent says that nothing is left",
      placedFacts(leaving({ ...agentsWords(), conditions: [released] }), hypervisorWith()),
      ["remove-finalizer"],
    ],
    [
      "is let go by the last word of an agent that is lost since",
      placedFacts(leaving({ ...agentsWords(), conditions: [released] }), lostHypervisor()),
      ["remove-finalizer"],
    ],
    [
      "is not let go by the word of another node's agent",
      placedFacts(
        leaving({ ...agentsWords(), guest: guestOn("node-2"), conditions: [released] }),
        hypervisorWith(),
      ),
      [],
    ],
    [
      "on a lost node says that it waits, and for what",
      placedFacts(leaving(agentsWords()), lostHypervisor()),
      ["apply-status", "Warning NodeLost"],
    ],
    [
      "on a node that was removed is let go, with a warning",
      placedFacts(leaving(agentsWords()), undefined),
      ["Warning NodeRemoved", "remove-finalizer"],
    ],
    [
      "and was let go already waits for the finalizers of others in peace",
      placedFacts(placedMachine(agentsWords(), { ...LEAVING, finalizers: ["example.com/other"] }), undefined),
      [],
    ],
  ])("%s", (_, facts, expected) => {
    expect(stepsOf(decide(facts))).toEqual(expected);
  });

  test("on a lost node is Terminating, and tells how to let it go", () => {
    const decision = decide(placedFacts(leaving(agentsWords()), lostHypervisor()));
    expect(statusOf(decision)).toMatchObject({
      printableStatus: "Terminating",
      conditions: [
        {
          status: "Unknown",
          message:
            "Node node-1 gives no sign of life, so that the guest cannot be removed. It is removed when the node is back. If the node is gone for good, delete Hypervisor node-1.",
        },
      ],
    });
  });
});

const [use] = unplacedFacts().networks as [NetworkUse];

/** Facts of all sorts: things missing, wrong, full, reserved, lost. */
const anyUnplaced: fc.Arbitrary<UnplacedFacts> = fc
  .record({
    image: fc.constantFrom(imageWith(), undefined, imageWith({ minimumDisk: "9Gi" })),
    flavor: fc.constantFrom(unplacedFacts().flavor, undefined),
    keyPairs: fc.constantFrom(unplacedFacts().keyPairs, [{ name: "me", keyPair: undefined }]),
    networks: fc.constantFrom(unplacedFacts().networks, [
      { ...use, network: undefined, freeAddress: undefined },
    ]),
    nodes: fc.subarray(
      [
        candidateOf(hypervisorWith({}, { name: "a" }), noResources),
        candidateOf(hypervisorWith({}, { name: "b" }), noResources),
        candidateOf(hypervisorWith({}, { name: "c" }, { unschedulable: true }), noResources),
        candidateOf(lostHypervisor("d"), noResources),
      ],
      { minLength: 0 },
    ),
    reserved: fc.constantFrom(undefined, undefined, placement()),
    unreadableMachines: fc.constantFrom(0, 0, 1),
  })
  .map((changes) => unplacedFacts(changes));

const anyPlaced: fc.Arbitrary<MachineFacts> = fc
  .record({
    status: fc.constantFrom({}, agentsWords(), agentsWords(readyCondition("Unknown", "NodeLost"))),
    leaving: fc.boolean(),
    finalizers: fc.constantFrom([GUEST_FINALIZER], []),
    hypervisor: fc.constantFrom(hypervisorWith(), lostHypervisor(), undefined),
    // As it is, larger, smaller in disk, too large, none.
    flavor: fc.constantFrom(
      flavorWith(),
      flavorWith({ vcpus: 2, memory: "1Gi" }),
      flavorWith({ disk: "512Mi" }),
      flavorWith({ vcpus: 9 }),
      undefined,
    ),
    volumes: fc.subarray([
      { name: "mine", volume: volumeOf("mine", placedMachine()), isShared: false },
      { name: "theirs", volume: volumeOf("theirs", machineWith({}, { name: "other" })), isShared: false },
      { name: "none", volume: undefined, isShared: false },
    ]),
  })
  .map(({ status, leaving, finalizers, hypervisor, flavor, volumes }) =>
    placedFacts(placedMachine(status, { finalizers, ...(leaving ? LEAVING : {}) }), hypervisor, {
      flavor,
      volumes,
    }),
  );

/** The facts once the decision was carried out and the store shows it. */
const afterwards = (facts: MachineFacts, { reserve, steps }: MachineDecision): MachineFacts => {
  const machine = carriedOut(facts.machine, { steps });
  if (facts.kind === "placed") return placedFacts(machine, facts.hypervisor, { ...facts, machine });
  return reserve === undefined
    ? { ...facts, machine }
    : placedFacts(machine, hypervisorWith({}, { name: reserve.nodeName }), { nodeName: reserve.nodeName });
};

describe("A decision", () => {
  test("once carried out leaves nothing to do", () => {
    fc.assert(
      fc.property(fc.oneof(anyUnplaced, anyPlaced), (facts) => {
        const next = afterwards(facts, decideMachine(facts, NOW));
        expect(stepsOf(decideMachine(next, LATER))).toEqual([]);
      }),
    );
  });

  test("does not depend on the order of the facts", () => {
    fc.assert(
      fc.property(
        anyUnplaced.chain((facts) =>
          fc.tuple(
            fc.constant(facts),
            fc.shuffledSubarray([...facts.nodes], { minLength: facts.nodes.length }),
          ),
        ),
        ([facts, nodes]) => {
          expect(decideMachine({ ...facts, nodes }, NOW)).toEqual(decideMachine(facts, NOW));
        },
      ),
    );
  });

  test("always sets Ready with the first status", () => {
    fc.assert(
      fc.property(anyUnplaced, (facts) => {
        const types = statusOf(decideMachine(facts, NOW)).conditions.map(({ type }) => type);
        expect(types).toContain("Ready");
        expect(types).not.toContain("Reconciling");
      }),
    );
  });
});

import { describe, expect, test } from "@jest/globals";
import { GUEST_FINALIZER, type VirtualMachine } from "../../../src/api/virtual-machine.ts";
import { candidateOf, noResources } from "../../../src/controllers/scheduler/types.ts";
import { PATIENCE_MS } from "../../../src/controllers/acquaintance.ts";
import { decideMachine, type MachineDecision } from "../../../src/controllers/virtual-machine/decide.ts";
import type { MachineFacts, UnplacedFacts } from "../../../src/controllers/virtual-machine/observe.ts";
import {
  agentsWords,
  carriedOut,
  conditionsOf,
  LEAVING,
  placedFacts,
  placement,
  statusOf,
  stepsOf,
  unplacedFacts,
} from "./machine-facts.ts";
import {
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
} from "./objects.ts";

const decide = (facts: MachineFacts): MachineDecision => decideMachine(facts, NOW);

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

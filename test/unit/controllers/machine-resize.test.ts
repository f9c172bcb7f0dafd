import { describe, expect, test } from "@jest/globals";
import fc from "fast-check";
import { findCondition } from "../../../src/api/condition.ts";
import type { Hypervisor } from "../../../src/api/hypervisor.ts";
import type { VirtualMachine } from "../../../src/api/virtual-machine.ts";
import type { Volume } from "../../../src/api/volume.ts";
import { machineIndexes } from "../../../src/controllers/stores.ts";
import {
  addResources,
  candidateOf,
  noResources,
  type Resources,
} from "../../../src/controllers/scheduler/types.ts";
import { decideMachine } from "../../../src/controllers/virtual-machine/decide.ts";
import { createLedger } from "../../../src/controllers/virtual-machine/ledger.ts";
import type { PlacedFacts } from "../../../src/controllers/virtual-machine/observe.ts";
import { createReservations } from "../../../src/controllers/virtual-machine/reservations.ts";
import { resourcesOf } from "../../../src/controllers/virtual-machine/size.ts";
import { agentsWords, carriedOut, placedFacts, stepsOf, unplacedFacts } from "./machine-facts.ts";
import {
  allocationWith,
  flavorWith,
  guestOn,
  hypervisorWith,
  imageWith,
  lostHypervisor,
  machineWith,
  NOW,
  placedMachine,
  readyCondition,
  uidOf,
} from "./objects.ts";
import { storeOf } from "./still-store.ts";

/** It has 1 virtual CPU, 512 MiB and 1 GiB of 8, 8192 MiB and 100000 MiB. */
const running = placedMachine(agentsWords());

const asking = (spec: Partial<VirtualMachine["spec"]>, machine = running): VirtualMachine => ({
  ...machine,
  spec: { ...machine.spec, ...spec },
});

/** What others have of the node beside a machine of 1 virtual CPU, 512 MiB and 1 GiB. */
const nodeWith = (others: Partial<Resources>, hypervisor: Hypervisor = hypervisorWith()) =>
  candidateOf(hypervisor, addResources({ ...noResources, ...others }, resourcesOf(allocationWith().flavor)));

const outcomeOf = (facts: PlacedFacts) => {
  const decision = decideMachine(facts, NOW);
  const { status } = carriedOut(facts.machine, decision);
  const pending = findCondition(status?.conditions, "ResizePending");
  return {
    steps: stepsOf(decision),
    size: status?.allocation?.flavor,
    pending: pending && `${pending.status} ${pending.reason}: ${pending.message}`,
    isReserved: decision.reserve !== undefined,
  };
};

const factsOf = (
  machine: VirtualMachine,
  changes: Partial<PlacedFacts> = {},
  hypervisor: Hypervisor = hypervisorWith(),
): PlacedFacts => placedFacts(machine, hypervisor, changes);

const RESIZED = ["apply-status", "Normal Resized"];

describe("A machine on a node that asks for another size", () => {
  test.each<[string, PlacedFacts, object]>([
    [
      "inline is given it in one write, and may not be given the same room twice",
      factsOf(asking({ vcpus: 2, memory: "1Gi" })),
      {
        steps: RESIZED,
        size: { name: "small", vcpus: 2, maxVcpus: 8, memoryMiB: 1024, maxMemoryMiB: 1024, diskMiB: 1024 },
        pending: undefined,
        isReserved: true,
      },
    ],
    [
      "by another flavor is given that",
      factsOf(asking({ flavor: "large" }), {
        flavor: flavorWith({ vcpus: 4, disk: "2Gi" }, { name: "large" }),
      }),
      { steps: RESIZED, size: { name: "large", vcpus: 4, memoryMiB: 512, diskMiB: 2048 } },
    ],
    [
      "of the same numbers under another name is given the name",
      factsOf(asking({ flavor: "tiny" })),
      { steps: RESIZED, size: { name: "tiny", vcpus: 1, memoryMiB: 512, diskMiB: 1024 } },
    ],
    [
      "with a smaller disk keeps the disk",
      factsOf(asking({ flavor: "flat" }), { flavor: flavorWith({ vcpus: 2, disk: "512Mi" }) }),
      { steps: RESIZED, size: { name: "flat", vcpus: 2, diskMiB: 1024 } },
    ],
    [
      "that its node has just room for is given it",
      factsOf(asking({ vcpus: 4 }), { node: nodeWith({ vcpus: 4 }) }),
      { steps: RESIZED, size: { vcpus: 4 } },
    ],
    [
      "that its node has no room for keeps what it has, and is told what there is and what to do",
      factsOf(asking({ vcpus: 5, memory: "8Gi" }), { node: nodeWith({ vcpus: 4, memoryMiB: 1024 }) }),
      {
        steps: ["apply-status", "Warning InsufficientCapacity"],
        size: allocationWith().flavor,
        pending:
          "True InsufficientCapacity: Node node-1 has too few virtual CPUs free for 5 (it gives out 8 in all) and has too little memory free for 8192 MiB (it gives out 8192 MiB in all). The machine keeps 1 virtual CPU, 512 MiB of memory and a root disk of 1024 MiB. Ask for less, or make room on the node: other machines of it can be deleted or made smaller.",
        isReserved: false,
      },
    ],
    [
      "with a larger disk than its storage pool has room for keeps what it has",
      factsOf(asking({ disk: "8Gi" }), { node: nodeWith({ disks: { local: 93_000 } }) }),
      {
        pending: expect.stringContaining(
          "has too little disk free for 8192 MiB (it gives out 100000 MiB in all)",
        ),
      },
    ],
    [
      "that is smaller is given it also on a node that has given out too much",
      factsOf(asking({ memory: "256Mi" }), { node: nodeWith({ vcpus: 100, memoryMiB: 100_000 }) }),
      { steps: RESIZED, size: { memoryMiB: 256 } },
    ],
    [
      "that its running guest has not let go of is given it back also on a full node",
      factsOf(
        asking(
          { memory: "4Gi" },
          placedMachine({ ...agentsWords(), guest: { ...guestOn(), vcpus: 1, memoryMiB: 4096 } }),
        ),
        { node: candidateOf(hypervisorWith(), { ...noResources, vcpus: 1, memoryMiB: 8192 }) },
      ),
      { steps: RESIZED, size: { memoryMiB: 4096 } },
    ],
    [
      "with less memory than another Image of its image's name needs is given it",
      factsOf(asking({ memory: "128Mi" }), {
        image: imageWith({ minimumMemory: "256Mi" }, { uid: uidOf("another") }),
      }),
      { steps: RESIZED },
    ],
    [
      "on a cordoned node is given it: it stays there",
      factsOf(asking({ vcpus: 2 }), {}, hypervisorWith({}, {}, { unschedulable: true })),
      { steps: RESIZED },
    ],
    [
      "by a flavor that does not exist waits for it",
      factsOf(asking({ flavor: "later" }), { flavor: undefined }),
      { pending: "True FlavorNotFound: Flavor later does not exist. Make it; flavors are cluster-wide." },
    ],
    [
      "with less memory than its image needs is told so",
      factsOf(asking({ memory: "128Mi" }), { image: imageWith({ minimumMemory: "256Mi" }) }),
      {
        size: allocationWith().flavor,
        pending:
          "True MemoryTooSmall: The machine has memory of 128 MiB, and Image tiny needs 256 MiB. Set spec.memory to more.",
      },
    ],
    [
      "with a layout that does not fit is told so",
      factsOf(asking({ vcpus: 4, cpu: { topology: { sockets: 1, cores: 2, threads: 1 } } })),
      { pending: expect.stringContaining("True TopologyMismatch: ") },
    ],
    [
      "while not all machines can be understood is given nothing more",
      factsOf(asking({ vcpus: 2 }), { unreadableMachines: 1 }),
      { size: allocationWith().flavor, pending: expect.stringContaining("True UnreadableMachines: ") },
    ],
    [
      "while not all machines can be understood is given less",
      factsOf(asking({ memory: "256Mi" }), { unreadableMachines: 1 }),
      { steps: RESIZED, size: { memoryMiB: 256 } },
    ],
  ])("%s", (_, facts, expected) => {
    expect(outcomeOf(facts)).toMatchObject(expected);
  });

  test.each<[string, PlacedFacts]>([
    ["and has it already is left in peace", factsOf(running)],
    [
      "whose flavor was deleted is left in peace",
      factsOf(asking({ flavor: "small" }), { flavor: undefined }),
    ],
    [
      "and whose node has just come back waits for its agent's word",
      factsOf(asking({ vcpus: 2 }, placedMachine(agentsWords(readyCondition("Unknown", "NodeLost"))))),
    ],
  ])("%s", (_, facts) => {
    expect(outcomeOf(facts).steps).toEqual([]);
  });

  test("on a lost node keeps what it has", () => {
    const { steps, size } = outcomeOf(factsOf(asking({ vcpus: 2 }), {}, lostHypervisor()));
    expect(steps).toEqual(["apply-status", "Warning NodeLost"]);
    expect(size).toEqual(allocationWith().flavor);
  });

  test("before its agent's first word is given it with the words that are said in the agent's place", () => {
    const machine = carriedOut(machineWith(), decideMachine(unplacedFacts(), NOW));
    const decision = decideMachine(factsOf(asking({ vcpus: 2 }, machine)), NOW);
    expect(stepsOf(decision)).toEqual(RESIZED);
    const { status } = carriedOut(machine, decision);
    expect(status?.allocation?.flavor.vcpus).toBe(2);
    expect(findCondition(status?.conditions, "Ready")?.reason).toBe("Provisioning");
  });

  test("is told once that there is no room, and no more when there is", () => {
    const facts = factsOf(asking({ vcpus: 9 }));
    const pending = carriedOut(facts.machine, decideMachine(facts, NOW));
    const again = { ...facts, machine: pending };
    expect(outcomeOf(again).steps).toEqual([]);
    const granted = outcomeOf(
      factsOf(pending, {}, hypervisorWith({ capacity: { cpus: 16, memoryMiB: 8192, diskMiB: 100_000 } })),
    );
    expect(granted).toMatchObject({ steps: RESIZED, size: { vcpus: 9 }, pending: undefined });
    expect(outcomeOf(factsOf(asking({ vcpus: 1 }, pending)))).toMatchObject({
      steps: ["apply-status"],
      size: allocationWith().flavor,
      pending: undefined,
    });
  });

  test("and may have been given it gets just that again, whatever has changed since", () => {
    const size = { ...allocationWith().flavor, vcpus: 3, maxVcpus: 4 };
    const reserved = { kind: "resize", nodeName: "node-1", size, growth: noResources } as const;
    const facts = factsOf(asking({ vcpus: 2 }), { reserved, node: nodeWith({ vcpus: 100 }) });
    expect(outcomeOf(facts)).toMatchObject({ steps: RESIZED, size, isReserved: true });
  });
});

describe("Machines of one node that all ask for more", () => {
  /** A node of 8 CPUs that has these machines with one CPU each. */
  const names = ["a", "b", "c", "d"];
  const machines = names.map((name) => placedMachine(agentsWords(), { name, uid: uidOf(name) }));
  const machineNamed = (name: string): VirtualMachine | undefined =>
    machines.find(({ metadata }) => metadata.name === name);

  test("are not given more than it has, in whatever order they come and however late the store is", () => {
    const anyRequest = fc.record({ name: fc.constantFrom(...names), vcpus: fc.integer({ min: 1, max: 8 }) });
    fc.assert(
      fc.property(fc.array(anyRequest, { maxLength: 12 }), (requests) => {
        const reservations = createReservations();
        const ledger = createLedger(
          { virtualMachines: storeOf(machines, machineIndexes), volumes: storeOf<Volume>([]) },
          reservations,
        );
        const given = new Map(names.map((name) => [name, 1]));
        for (const { name, vcpus } of requests) {
          const machine = machineNamed(name);
          if (machine === undefined) continue;
          const { uid, resourceVersion } = machine.metadata;
          const usage = ledger.usage();
          const held = reservations.find(uid);
          const facts = factsOf(asking({ vcpus }, machine), {
            node: candidateOf(hypervisorWith(), usage.resourcesOn("node-1")),
            reserved: held?.kind === "resize" ? held : undefined,
          });
          const { reserve } = decideMachine(facts, NOW);
          if (reserve?.kind !== "resize") continue;
          if (held === undefined) reservations.hold(uid, reserve);
          reservations.sent(uid, resourceVersion);
          given.set(name, reserve.size.vcpus);
        }
        expect([...given.values()].reduce((sum, vcpus) => sum + vcpus, 0)).toBeLessThanOrEqual(8);
      }),
    );
  });

  test("do not keep a machine that is to be placed from seeing what they were promised", () => {
    const reservations = createReservations();
    const ledger = createLedger(
      { virtualMachines: storeOf(machines, machineIndexes), volumes: storeOf<Volume>([]) },
      reservations,
    );
    const growth = { vcpus: 3, memoryMiB: 0, disks: { local: 100 } };
    const size = { ...allocationWith().flavor, vcpus: 4 };
    reservations.hold(uidOf("a"), { kind: "resize", nodeName: "node-1", size, growth });
    expect(ledger.usage().resourcesOn("node-1")).toEqual({
      vcpus: 7,
      memoryMiB: 2048,
      disks: { local: 4196 },
    });
  });
});

import { describe, expect, test } from "@jest/globals";
import fc from "fast-check";
import { GUEST_FINALIZER } from "../../../src/api/virtual-machine.ts";
import { candidateOf, noResources } from "../../../src/controllers/scheduler/types.ts";
import { decideMachine, type MachineDecision } from "../../../src/controllers/virtual-machine/decide.ts";
import type {
  MachineFacts,
  NetworkUse,
  UnplacedFacts,
} from "../../../src/controllers/virtual-machine/observe.ts";
import {
  agentsWords,
  carriedOut,
  LEAVING,
  placedFacts,
  placement,
  statusOf,
  stepsOf,
  unplacedFacts,
} from "./machine-facts.ts";
import {
  flavorWith,
  hypervisorWith,
  imageWith,
  lostHypervisor,
  machineWith,
  NOW,
  placedMachine,
  readyCondition,
  volumeOf,
} from "./objects.ts";

const LATER = new Date(NOW.getTime() + 3_600_000);

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

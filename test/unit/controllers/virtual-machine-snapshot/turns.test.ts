import { expect, test } from "@jest/globals";
import fc from "fast-check";

import type { VirtualMachineRestore } from "../../../../src/api/virtual-machine-restore.ts";
import type { VirtualMachineSnapshot } from "../../../../src/api/virtual-machine-snapshot.ts";
import { decideRestore } from "../../../../src/controllers/virtual-machine-restore/decide.ts";
import { observeRestore } from "../../../../src/controllers/virtual-machine-restore/observe.ts";
import { ownParts as ownRestoreParts } from "../../../../src/controllers/virtual-machine-restore/status.ts";
import { decideSnapshot } from "../../../../src/controllers/virtual-machine-snapshot/decide.ts";
import { observeSnapshot } from "../../../../src/controllers/virtual-machine-snapshot/observe.ts";
import { ownParts } from "../../../../src/controllers/virtual-machine-snapshot/status.ts";
import { isOver, isUnderWay } from "../../../../src/controllers/virtual-machine-snapshot/turn.ts";
import { keyOf } from "../../../../src/kube/index.ts";
import {
  afterwards,
  machineOf,
  readySnapshot,
  restoreWith,
  snapshotWith,
  stepsOf,
  storesWith,
} from "../disk-objects.ts";
import { hypervisorWith, NOW, readyCondition } from "../objects.ts";

/** Requests of one machine, the controllers that look at them in any order, and a node that ends what it was given. */

interface World {
  snapshots: readonly VirtualMachineSnapshot[];
  restores: readonly VirtualMachineRestore[];
}

const NODES = { hypervisors: [hypervisorWith()], machines: [machineOf("web")] };

const lookAtSnapshot = (world: World, snapshot: VirtualMachineSnapshot) => {
  const facts = observeSnapshot(storesWith({ ...NODES, ...world }), keyOf(snapshot), () => 60_000);
  return facts === undefined ? [] : decideSnapshot(facts, NOW).steps;
};

const lookAtRestore = (world: World, restore: VirtualMachineRestore) => {
  const facts = observeRestore(storesWith({ ...NODES, ...world }), keyOf(restore), () => 60_000);
  return facts === undefined ? [] : decideRestore(facts, NOW).steps;
};

/** One look of the controllers at the object of that index, or the end of what the node works on. */
const turn = (world: World, index: number): World => ({
  snapshots: world.snapshots.map((snapshot, at) =>
    at === index
      ? (afterwards(snapshot, lookAtSnapshot(world, snapshot), ownParts(snapshot.status?.nodeName)) ??
        snapshot)
      : snapshot,
  ),
  restores: world.restores.map((restore, at) =>
    at + world.snapshots.length === index
      ? (afterwards(restore, lookAtRestore(world, restore), ownRestoreParts(restore.status?.nodeName)) ??
        restore)
      : restore,
  ),
});

const ended = (world: World): World => ({
  snapshots: world.snapshots.map((snapshot) =>
    isUnderWay(snapshot)
      ? { ...snapshot, status: { ...snapshot.status, phase: "Ready", takenAt: "2026-01-02T00:00:00Z" } }
      : snapshot,
  ),
  restores: world.restores.map((restore) =>
    isUnderWay(restore)
      ? {
          ...restore,
          status: {
            ...restore.status,
            phase: "Succeeded",
            conditions: [readyCondition("True", "Succeeded")],
          },
        }
      : restore,
  ),
});

const all = ({ snapshots, restores }: World) => [...snapshots, ...restores];

const atSecond = (second: number): string => `2026-01-01T00:00:${String(second).padStart(2, "0")}Z`;

const someWorld: fc.Arbitrary<World> = fc
  .record({
    snapshots: fc.array(fc.nat(20), { minLength: 1, maxLength: 4 }),
    restores: fc.array(fc.nat(20), { maxLength: 4 }),
  })
  .map(({ snapshots, restores }) => ({
    snapshots: [
      readySnapshot({}, { name: "before", creationTimestamp: atSecond(0) }),
      ...snapshots.map((second, i) =>
        snapshotWith(undefined, { name: `s${i}`, creationTimestamp: atSecond(second), finalizers: [] }),
      ),
    ],
    restores: restores.map((second, i) =>
      restoreWith(undefined, { name: `r${i}`, creationTimestamp: atSecond(second), finalizers: [] }),
    ),
  }));

test("one request of a machine is under way at a time, and each has its turn", () => {
  fc.assert(
    fc.property(someWorld, fc.array(fc.nat(9), { maxLength: 60 }), (start, moves) => {
      let world = start;
      const step = (next: World): void => {
        world = next;
        expect(all(world).filter(isUnderWay).length).toBeLessThanOrEqual(1);
      };
      for (const move of moves) step(move === 9 ? ended(world) : turn(world, move));
      // In the end everybody is looked at, as often as it takes.
      for (let round = 0; round < 2 * all(world).length; round += 1) {
        for (let index = 0; index < all(world).length; index += 1) step(turn(world, index));
        step(ended(world));
      }
      expect(all(world).filter((request) => !isOver(request))).toEqual([]);
    }),
  );
});

test("looked at in the order of their age, requests are taken in it", () => {
  fc.assert(
    fc.property(someWorld, (start) => {
      let world = start;
      const order: string[] = [];
      for (let round = 0; round < 2 * all(world).length; round += 1) {
        for (let index = 0; index < all(world).length; index += 1) world = turn(world, index);
        order.push(
          ...all(world)
            .filter(isUnderWay)
            .map(({ metadata }) => `${metadata.creationTimestamp} ${metadata.uid}`),
        );
        world = ended(world);
      }
      expect(order).toEqual(order.toSorted());
    }),
  );
});

test("once it is carried out there is nothing more to do", () => {
  fc.assert(
    fc.property(someWorld, fc.array(fc.nat(9), { maxLength: 20 }), fc.nat(8), (start, moves, index) => {
      let world = start;
      for (const move of moves) world = move === 9 ? ended(world) : turn(world, move);
      world = turn(world, index);
      const snapshot = world.snapshots[index];
      const restore = world.restores[index - world.snapshots.length];
      const left = [
        ...(snapshot === undefined ? [] : lookAtSnapshot(world, snapshot)),
        ...(restore === undefined ? [] : lookAtRestore(world, restore)),
      ];
      expect(stepsOf(left)).toEqual([]);
    }),
  );
});

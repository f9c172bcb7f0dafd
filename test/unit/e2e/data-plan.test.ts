import { describe, expect, test } from "@jest/globals";
import fc from "fast-check";

import { ROOT, slotsIn } from "../../e2e/support/data/blocks.ts";
import {
  createPlan,
  type Operation,
  ROOT_SLOTS,
  type Step,
  type World,
} from "../../e2e/support/data/plan.ts";
import { afterwards } from "../../e2e/support/data/world.ts";
import { choicesFrom } from "../../e2e/support/random.ts";

const START: World = {
  nodeName: "node-1",
  nodeNames: ["node-1", "node-2"],
  vcpus: 1,
  memoryMiB: 128,
  volumes: ["one", "two"].map((name) => ({ name, sizeMiB: 64, attached: true, nodeName: "node-1" })),
  snapshots: [],
};

/** The steps of a run in which everything succeeds, each with the world that it was made for. */
const play = (seed: number, count: number): readonly { readonly world: World; readonly step: Step }[] => {
  const plan = createPlan(choicesFrom(seed));
  let world = START;
  return Array.from({ length: count }, (_, index) => {
    const step = plan.next(world);
    const before = world;
    world = afterwards(world, step.operation, `step-${index}`);
    if (step.operation.kind === "migrate") {
      const nodeName = step.operation.targetNode;
      const volumes = world.volumes.map((volume) => (volume.attached ? { ...volume, nodeName } : volume));
      world = { ...world, nodeName, volumes };
    }
    return { world: before, step };
  });
};

const seeds = fc.integer({ min: 0, max: 1_000_000 });

/** Undefined when the operation can succeed in this world. */
const refusalOf = (operation: Operation, world: World): string | undefined => {
  const attached = world.volumes.filter((volume) => volume.attached).map(({ name }) => name);
  switch (operation.kind) {
    case "restore": {
      const snapshot = world.snapshots.find(({ name }) => name === operation.snapshot);
      if (snapshot === undefined) return "there is no such snapshot";
      if (!snapshot.volumes.every((name) => attached.includes(name))) return "VolumesChanged";
      return snapshot.memory && snapshot.volumes.length !== attached.length ? "DisksDiffer" : undefined;
    }
    case "deleteSnapshot":
      return world.snapshots.some(({ name }) => name === operation.snapshot) ? undefined : "there is none";
    case "attach": {
      const volume = world.volumes.find(({ name }) => name === operation.volume);
      return volume?.attached === false && volume.nodeName === world.nodeName ? undefined : "not here";
    }
    case "detach":
      return attached.includes(operation.volume) ? undefined : "not attached";
    case "grow": {
      const volume = world.volumes.find(({ name }) => name === operation.volume);
      return operation.sizeMiB > (volume?.sizeMiB ?? Infinity) ? undefined : "it does not grow";
    }
    case "resize":
      return operation.vcpus === world.vcpus && operation.memoryMiB === world.memoryMiB
        ? "no change"
        : undefined;
    case "migrate":
      return operation.targetNode === world.nodeName ? "AlreadyThere" : undefined;
    case "snapshot":
      return undefined;
  }
};

describe("a random run", () => {
  test("asks for nothing that is refused", () => {
    fc.assert(
      fc.property(seeds, (seed) => {
        for (const { world, step } of play(seed, 60))
          expect(refusalOf(step.operation, world)).toBeUndefined();
      }),
    );
  });

  test("has every kind of operation in the length that the tests have, and kills everybody", () => {
    fc.assert(
      fc.property(seeds, (seed) => {
        const steps = play(seed, 60).map(({ step }) => step);
        expect(new Set(steps.map(({ operation }) => operation.kind)).size).toBe(8);
        expect(new Set(steps.map((step) => step.kill?.victim)).size).toBe(7);
      }),
    );
  });

  test("has the guest write only where it can, whatever the operation does", () => {
    fc.assert(
      fc.property(seeds, (seed) => {
        for (const { world, step } of play(seed, 60)) {
          const { operation } = step;
          const disks = new Map(
            world.volumes
              .filter(({ attached }) => attached)
              .map(({ name, sizeMiB }) => [name, slotsIn(sizeMiB)]),
          );
          if (operation.kind === "detach") disks.delete(operation.volume);
          for (const { disk, slot } of step.writes) {
            expect(slot).toBeLessThan(disk === ROOT ? ROOT_SLOTS : (disks.get(disk) ?? 0));
          }
        }
      }),
    );
  });

  test("is the same with the same seed, and another one with another", () => {
    expect(play(7, 20)).toEqual(play(7, 20));
    expect(play(7, 20)).not.toEqual(play(8, 20));
  });
});

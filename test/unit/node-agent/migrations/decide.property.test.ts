import { expect, test } from "@jest/globals";
import fc from "fast-check";
import { World } from "./world.ts";

const names = Object.keys(new World().actions) as (keyof World["actions"])[];
/** What goes well is drawn more often, so that migrations get far before something goes wrong. */
const wellNames = names.filter((name) => !/kill|lose|GivesUp|Deletes|Stops/.test(name));
const actions = fc.array(
  fc.oneof(
    { arbitrary: fc.constantFrom(...wellNames), weight: 12 },
    { arbitrary: fc.constantFrom(...names), weight: 1 },
  ),
  { maxLength: 120 },
);

test("whatever happens in whatever order, the guest never runs on both nodes", () => {
  fc.assert(
    fc.property(actions, (order) => {
      const world = new World();
      for (const name of order) {
        world.actions[name]();
        expect(world.running().length).toBeLessThanOrEqual(1);
      }
    }),
    { numRuns: 1500 },
  );
});

test("when nothing goes wrong any more, it runs on exactly the node that the machine's status names, or has stopped by itself", () => {
  const phases = new Set<string>();
  fc.assert(
    fc.property(actions, (order) => {
      const world = new World();
      for (const name of order) world.actions[name]();
      world.settle();
      expect(world.isQuiet()).toBe(true);
      expect(world.running()).toEqual(world.hasStopped ? [] : [world.nodeName]);
      phases.add(world.stored.phase);
    }),
    { numRuns: 1500 },
  );
  // The orders that were drawn end in every way.
  expect([...phases].toSorted()).toEqual(["Cancelled", "Failed", "Succeeded"]);
});

import { afterAll, beforeAll, describe, expect, test } from "@jest/globals";

import { type Case, openCluster, phases, refusedByGroups } from "./cases.ts";
import { baseline } from "./cluster.ts";
import { type Outcome, startWorld, type World } from "./world.ts";

/** In words: "arrives", "arrives, unanswered", "does not arrive". */
const inWords = ({ arrived, answered }: Outcome, { attempt }: Case): string => {
  if (!arrived) return "does not arrive";
  return answered || attempt.protocol === "other" ? "arrives" : "arrives, unanswered";
};

describe("on three nodes", () => {
  let world: World;

  beforeAll(async () => {
    world = await startWorld(baseline);
    for (const { namespace } of [...world.network.nodes, { namespace: world.network.world }]) {
      await namespace.run(["ip", "address", "add", "169.254.169.254/32", "dev", "lo"]);
    }
  });
  afterAll(() => world.stop());

  describe.each(phases)("$name", ({ cluster, cases }) => {
    let outcomes: readonly Outcome[];

    beforeAll(async () => {
      await world.apply(cluster);
      outcomes = await world.try(
        cases,
        cases.map(({ arrives }) => arrives),
      );
    });

    test.each(cases.map((one, index) => ({ ...one, index })))(
      "$name: $from to $to: $arrives",
      ({ index, ...one }) => {
        const outcome = outcomes[index] ?? { arrived: false, answered: false };
        expect(inWords(outcome, one)).toBe(one.arrives ? "arrives" : "does not arrive");
      },
    );
  });

  test("what groups have refused arrives when groups allow it: the probes can be heard", async () => {
    await world.apply(openCluster);
    const outcomes = await world.try(
      refusedByGroups,
      refusedByGroups.map(() => true),
    );
    const verdicts = refusedByGroups.map((one, index) => {
      const outcome = outcomes[index] ?? { arrived: false, answered: false };
      return `${one.name}: ${inWords(outcome, one)}`;
    });
    expect(verdicts).toEqual(refusedByGroups.map(({ name }) => `${name}: arrives`));
  });
});

import { afterAll, beforeAll, describe, expect, test } from "@jest/globals";
import fc from "fast-check";

import type { GuardedCluster, GuardedGuest } from "../../fakes/guarded-cluster.ts";
import { attempts, clusters } from "../../fakes/random-clusters.ts";
import { mayReach, type Attempt, type Party } from "../../fakes/reach-oracle.ts";
import { OUTSIDE_ADDRESS } from "../../testbed/packet-network.ts";
import { baseline } from "./cluster.ts";
import { startWorld, type World } from "./world.ts";

/** Two on one node, one on another; one in a Network that is routed to, one that shares an address. */
const names = new Set(["web-0", "plain-0", "plain-1", "red-0", "green-0"]);
const isOne = ({ name }: GuardedGuest): boolean => names.has(name);
const shape = {
  guests: baseline.guests.filter(isOne),
  networks: baseline.networks,
  nodes: baseline.nodes.slice(0, 2),
  blocks: ["0.0.0.0/0", "10.0.0.0/24", "10.0.0.11/32", "10.0.0.16/28", "10.0.1.0/24", "198.51.100.0/24"],
};
const cluster: GuardedCluster = { ...baseline, nodes: shape.nodes, guests: shape.guests };

const RUNS = 8;
const seed = Math.trunc(Math.random() * 2 ** 31);

const nameOf = (party: Party): string => ("outside" in party ? "outside" : party.name);

interface Flow {
  readonly from: Party;
  readonly to: Party;
  readonly attempt: Attempt;
}

/** What can be tried: a guest cannot name one whose address it takes for another's, nor can outside without a route. */
const canName = (from: Party, to: Party): boolean => {
  if (from === to) return false;
  if ("outside" in from) return !("outside" in to) && to.vni !== 3;
  return "outside" in to || from.vni === to.vni || (from.vni !== 3 && to.vni !== 3);
};

const flowsOf = (drawn: GuardedCluster, tried: readonly Attempt[]): readonly Flow[] => {
  const parties: readonly Party[] = [...drawn.guests, { outside: OUTSIDE_ADDRESS }];
  return parties.flatMap((from) =>
    parties
      .filter((to) => canName(from, to))
      .flatMap((to) => tried.map((attempt) => ({ from, to, attempt }))),
  );
};

/**
 * Without ports, two addresses have one connection: what one side sends is an
 * answer to what the other has sent, and of several senders behind one node's
 * address only one is told apart. So these go one way, and not to the world.
 */
const canTell = ({ from, to, attempt }: Flow): boolean =>
  attempt.protocol !== "other" || "outside" in from || (!("outside" in to) && from.name < to.name);

describe(`with any groups, rules and members (seed ${seed})`, () => {
  let world: World;

  beforeAll(async () => {
    world = await startWorld(cluster);
  });
  afterAll(() => world.stop());

  test("packets arrive where the oracle says, and nowhere else", async () => {
    const tried = fc.uniqueArray(attempts, {
      minLength: 4,
      maxLength: 4,
      selector: (one) => JSON.stringify(one),
    });
    const verdicts: boolean[] = [];
    await fc.assert(
      fc.asyncProperty(clusters(shape), tried, async (drawn, some) => {
        await world.apply(drawn);
        // An earlier draw may have begun one the other way.
        for (const { namespace } of world.network.nodes) await namespace.run(["conntrack", "-F"]);
        const flows = flowsOf(drawn, some).filter(canTell);
        const expected = flows.map(({ from, to, attempt }) => mayReach(drawn, from, to, attempt));
        verdicts.push(...expected);
        const probes = flows.map(({ from, to, attempt }) => ({
          from: nameOf(from),
          to: nameOf(to),
          attempt,
        }));
        const outcomes = await world.try(probes, expected);
        const inWords = (arrives: readonly (boolean | undefined)[]) =>
          probes.map(({ from, to, attempt }, index) => {
            const what = "port" in attempt ? `${attempt.protocol}/${attempt.port}` : attempt.protocol;
            return `${from} to ${to}, ${what}: ${arrives[index] === true ? "arrives" : "does not"}`;
          });
        expect(inWords(outcomes.map(({ arrived }) => arrived))).toEqual(inWords(expected));
      }),
      // What fails is told as it was drawn: each attempt to make it smaller would take seconds.
      { numRuns: RUNS, seed, endOnFailure: true },
    );
    // Neither is rare, or nothing has been shown.
    const arriving = verdicts.filter(Boolean).length / verdicts.length;
    expect(arriving).toBeGreaterThan(0.05);
    expect(arriving).toBeLessThan(0.95);
  });
});

import { setTimeout as delay } from "node:timers/promises";

import { afterAll, beforeAll, describe, expect, test } from "@jest/globals";

import { networks } from "../../src/api/network.ts";
import { type VirtualMachine, virtualMachines } from "../../src/api/virtual-machine.ts";
import { waitFor } from "../testbed/wait.ts";
import { type Guest, guestOf } from "./support/guest.ts";
import { expectLeftovers } from "./support/leftovers.ts";
import { manifests } from "./support/manifests.ts";
import { type Choices, choicesFrom } from "./support/random.ts";
import { isReady, NAMESPACE, type Stage, startStage } from "./support/stage.ts";
import { type Victim, victimsOf } from "./support/victims.ts";

/**
 * Restart safety. Machines are made, stopped, started and deleted, while
 * controller, agents, API server and libvirtds are killed (SIGKILL) at random
 * points of that. In the end everything is as declared, nothing is left over
 * or doubled, and a machine that nobody touched was never restarted.
 *
 * `make chaos` runs it for longer; VIREO_CHAOS_SEED repeats the choices of a run.
 */
const KILLS = Number(process.env["VIREO_CHAOS_KILLS"] ?? 50);
const SEED = Number(process.env["VIREO_CHAOS_SEED"] ?? Date.now() % 1_000_000);
const ACTORS = ["actor-0", "actor-1", "actor-2"] as const;
const WITNESS = "witness";
/** The API server answers "storage is (re)initializing" for up to 20 s after each start. */
const PATIENCE_MS = 240_000;

type Declared = "absent" | "Always" | "Halted";
type Actor = (typeof ACTORS)[number];

let stage: Stage;
let witness: Guest;
let witnessProcess: number | undefined;
/** What each node holds without machines. */
const baseline = new Map<string, readonly string[]>();
const declared = new Map<Actor, Declared>(ACTORS.map((actor) => [actor, "absent"]));

const say = (text: string): void => void process.stderr.write(`chaos: ${text}\n`);

/** What a person would do: try again while the API server is away. */
const insist = (what: string, attempt: () => Promise<unknown>): Promise<true> =>
  waitFor(
    what,
    async () => {
      await attempt();
      return true as const;
    },
    { timeoutMs: PATIENCE_MS, intervalMs: 300 },
  );

const acts: Readonly<Record<string, { readonly from: readonly Declared[]; readonly to: Declared }>> = {
  create: { from: ["absent"], to: "Always" },
  stop: { from: ["Always"], to: "Halted" },
  start: { from: ["Halted"], to: "Always" },
  delete: { from: ["Always", "Halted"], to: "absent" },
};

const perform = async (act: string, actor: Actor, to: Declared): Promise<void> => {
  const key = { namespace: NAMESPACE, name: actor };
  const { signal } = new AbortController();
  await insist(`${act} ${actor}`, async () => {
    if (act === "create") {
      await untilGone(actor);
      await stage.apply(manifests.machine(actor, { terminationGracePeriodSeconds: 1 }));
    } else if (act === "delete") await stage.api.delete(virtualMachines, key, { signal });
    else await stage.patchMachine(actor, { runStrategy: to });
  });
  declared.set(actor, to);
};

const untilGone = (actor: Actor): Promise<true> =>
  waitFor(`the end of ${actor}`, async () => (await stage.read(virtualMachines, actor)) === undefined, {
    timeoutMs: PATIENCE_MS,
    intervalMs: 200,
  });

const powerStates: Readonly<Record<Declared, string | undefined>> = {
  absent: undefined,
  Always: "Running",
  Halted: "ShutOff",
};

/** Whether the object says that the machine is as declared, for its present spec. */
const isAsDeclared = (machine: VirtualMachine | undefined, wanted: Declared): boolean => {
  if (machine === undefined || wanted === "absent") return machine === undefined && wanted === "absent";
  const { status, metadata } = machine;
  const isCurrent = status?.observedGeneration === metadata.generation;
  return isCurrent && isReady(machine) && status?.guest?.powerState === powerStates[wanted];
};

const untilSettled = async (): Promise<void> => {
  for (const actor of ACTORS) {
    const wanted = declared.get(actor) ?? "absent";
    await waitFor(
      `${actor} ${wanted}`,
      async () => {
        const machine = await stage.read(virtualMachines, actor);
        if (isAsDeclared(machine, wanted)) return true;
        throw new Error(JSON.stringify(machine?.status?.conditions ?? "no status"));
      },
      { timeoutMs: PATIENCE_MS, intervalMs: 200 },
    );
  }
};

/** The domains that run, on all nodes together: each machine that is declared to run once, and no other. */
const runningDomains = async (): Promise<readonly string[]> => {
  const lists = await Promise.all(stage.testbed.nodes.map((node) => node.virsh(["list", "--name"])));
  return lists.flatMap((list) => list.split("\n").filter((line) => line.trim() !== "")).sort();
};

const expectHostsAsDeclared = async (): Promise<void> => {
  const machines = await Promise.all([...ACTORS, WITNESS].map((name) => stage.read(virtualMachines, name)));
  const present = machines.filter((machine) => machine !== undefined);
  const running = present.filter(({ spec }) => spec.runStrategy === "Always");
  expect(await runningDomains()).toEqual(running.map(({ metadata }) => `vireo-${metadata.uid}`).sort());
  const addresses = present.flatMap(({ status }) => status?.allocation?.interfaces ?? []);
  expect(new Set(addresses.map(({ address }) => address)).size).toBe(present.length);
  expect(new Set(addresses.map(({ macAddress }) => macAddress)).size).toBe(present.length);
};

const expectWitnessUntouched = async (): Promise<void> => {
  expect(witness.processId()).toBe(witnessProcess);
  expect(await witness.boots()).toHaveLength(1);
};

interface Next {
  readonly act: string;
  readonly actor: Actor;
  readonly to: Declared;
}

const chooseAct = (choices: Choices): Next => {
  const actor = choices.oneOf(ACTORS);
  const now = declared.get(actor) ?? "absent";
  const [act, { to }] = choices.oneOf(Object.entries(acts).filter(([, { from }]) => from.includes(now)));
  return { act, actor, to };
};

beforeAll(async () => {
  stage = await startStage({ nodes: 2 });
  await stage.applyBasics();
  // Each node has had a machine once: what belongs to the node and not to machines is there.
  await stage.apply(manifests.machine("warm-0"), manifests.machine("warm-1"));
  await Promise.all(["warm-0", "warm-1"].map((name) => stage.untilStatus(name, "Running")));
  await stage.deleteMachines("warm-0", "warm-1");
  for (const { name } of stage.testbed.nodes) baseline.set(name, await stage.testbed.leftovers(name));
  await stage.apply(manifests.machine(WITNESS));
  await stage.untilStatus(WITNESS, "Running");
  witness = await guestOf(stage, WITNESS);
  await witness.untilBooted();
  witnessProcess = witness.processId();
}, 400_000);

afterAll(() => stage.stop(), 60_000);

describe(`${KILLS} kills at random points, seed ${SEED}`, () => {
  test(
    "leave every machine as declared, and one that nobody touched alone",
    async () => {
      say(`seed ${SEED}, ${KILLS} kills`);
      const choices = choicesFrom(SEED);
      const victims = victimsOf(stage.testbed);
      const tally = new Map<string, number>();
      for (let kills = 0; kills < KILLS;) {
        const { act, actor, to } = chooseAct(choices);
        const acting = perform(act, actor, to);
        const round = Math.min(1 + choices.integer(3), KILLS - kills);
        for (let n = 0; n < round; n += 1) {
          await delay(choices.integer(900));
          const victim: Victim = choices.oneOf(victims);
          tally.set(`${victim.name} during ${act}`, (tally.get(`${victim.name} during ${act}`) ?? 0) + 1);
          await victim.restart();
          kills += 1;
        }
        await acting;
        // Sometimes the next act meets a machine that is still on its way.
        if (choices.integer(3) === 0) {
          await untilSettled();
          await expectWitnessUntouched();
        }
      }
      expect([...tally.values()].reduce((sum, count) => sum + count, 0)).toBe(KILLS);
      say([...tally].map(([what, count]) => `${count} x ${what}`).join(", "));
      await untilSettled();
      await expectHostsAsDeclared();
      await expectWitnessUntouched();
    },
    30_000 * KILLS,
  );

  test("leave nothing over when the machines are deleted", async () => {
    const present = [...ACTORS, WITNESS].filter((name) => declared.get(name as Actor) !== "absent");
    await stage.deleteMachines(...present);
    for (const [nodeName, before] of baseline) await expectLeftovers(stage.testbed, nodeName, before);
    await stage.until(networks, "test", ({ status }) => status?.addresses?.allocated === 0);
  }, 300_000);
});

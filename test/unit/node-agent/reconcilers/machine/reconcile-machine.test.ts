import { describe, expect, test } from "@jest/globals";
import fc from "fast-check";
import { findCondition, isTrue } from "../../../../../src/api/condition.ts";
import { readinessProbe } from "../../../../../src/api/probe.ts";
import type { RunStrategy } from "../../../../../src/api/virtual-machine.ts";
import { reconcileMachine } from "../../../../../src/node-agent/reconcilers/machine/reconcile-machine.ts";
import { FakeNode, KilledError } from "../../../../fakes/node-host.ts";
import { machineWith } from "../../machines.ts";

const uid = machineWith().metadata.uid;
const probe = readinessProbe.parse({ tcpSocket: { port: 80 } });
const isEqual = <T>(actual: T, expected: T): void => expect(actual).toEqual(expected);

class World {
  readonly node = new FakeNode();
  now = new Date("2026-01-01T12:00:00Z");
  kills = 0;
  #agent = this.#newAgent();

  constructor() {
    this.node.machine = machineWith();
  }

  /** Passes until nothing more is asked for; a killed agent is followed by a fresh one. */
  async settle(): Promise<void> {
    for (let passes = 0; passes < 50; passes += 1) {
      const again = await this.pass();
      if (again === undefined) return;
      this.now = new Date(this.now.getTime() + again);
    }
    throw new Error(`did not settle: ${JSON.stringify(this.node.machine?.status)}`);
  }

  /** The time in ms after which to look again, or undefined when there is nothing to do. */
  async pass(): Promise<number | undefined> {
    const before = JSON.stringify([this.node.machine, this.node.leftovers]);
    try {
      const result = await reconcileMachine(
        uid,
        this.#agent.options,
        this.#agent.context,
        this.#agent.signal,
      );
      if (result.kind === "requeue-after") return result.ms;
    } catch (error) {
      if (!(error instanceof KilledError)) throw error;
      this.kills += 1;
      this.#agent = this.#newAgent();
      return 0;
    }
    return JSON.stringify([this.node.machine, this.node.leftovers]) === before ? undefined : 0;
  }

  #newAgent() {
    const life = new AbortController();
    this.node.onKill = () => life.abort(new KilledError());
    const { machine, steps } = this.node.newAgent(() => this.now);
    return { options: machine, context: steps, signal: life.signal };
  }

  change(spec: { runStrategy: RunStrategy }): void {
    const { machine } = this.node;
    if (machine === undefined) throw new Error("there is no machine");
    const generation = (machine.metadata.generation ?? 0) + 1;
    this.node.machine = {
      ...machine,
      spec: { ...machine.spec, ...spec },
      metadata: { ...machine.metadata, generation },
    };
  }

  delete(): void {
    const { machine } = this.node;
    if (machine === undefined) throw new Error("there is no machine");
    const deletionTimestamp = this.now.toISOString();
    this.node.machine = { ...machine, metadata: { ...machine.metadata, deletionTimestamp } };
  }

  get isReady(): boolean {
    return isTrue(this.node.machine?.status?.conditions, "Ready");
  }
}

/** A whole life: made, halted, run again, deleted. After each act the machine is as declared. */
const live = async (world: World): Promise<void> => {
  const { node } = world;
  await world.settle();
  isEqual(
    { ready: world.isReady, power: node.guest?.powerState, starts: node.starts },
    { ready: true, power: "Running", starts: 1 },
  );

  world.change({ runStrategy: "Halted" });
  await world.settle();
  isEqual({ ready: world.isReady, power: node.guest?.powerState }, { ready: true, power: "ShutOff" });
  isEqual(node.guest?.lastExit?.reason, "Stopped");
  isEqual([...node.volumes.disks.keys()], [uid]);
  isEqual([...node.taps], []);

  world.change({ runStrategy: "Always" });
  await world.settle();
  isEqual(
    { ready: world.isReady, starts: node.starts, restarts: node.guest?.restarts },
    { ready: true, starts: 2, restarts: 0 },
  );

  world.delete();
  await world.settle();
  isEqual(isTrue(node.machine?.status?.conditions, "Released"), true);
  isEqual(node.leftovers, []);
};

describe("reconcileMachine", () => {
  test("a whole life needs one start for each run, and a settled machine is not written", async () => {
    const world = new World();
    await live(world);
    expect(world.node.statusWrites).toBeLessThanOrEqual(7);
  });

  test("an agent that is killed at any effect, before or after it, is followed by one that goes on", async () => {
    const whole = new World();
    await live(whole);
    for (let effect = 1; effect <= whole.node.effects; effect += 1) {
      for (const when of ["before", "after"] as const) {
        const world = new World();
        world.node.killAt = { effect, when };
        await live(world);
        expect(world.kills).toBe(1);
      }
    }
  });

  test("a guest that is deaf to the power button is cut when the grace period is over, killed agents or not", async () => {
    await fc.assert(
      fc.asyncProperty(
        fc.integer({ min: 1, max: 60 }),
        fc.constantFrom("before", "after"),
        async (effect, when) => {
          const world = new World();
          await world.settle();
          world.node.deaf = true;
          world.node.killAt = { effect: world.node.effects + effect, when } as const;
          const asked = world.now.getTime();
          world.change({ runStrategy: "Halted" });
          await world.settle();
          expect(world.node.guest).toMatchObject({ powerState: "ShutOff", lastExit: { reason: "Stopped" } });
          expect(world.now.getTime() - asked).toBeLessThan(75_000);
        },
      ),
    );
  });

  test("a status speaks of the spec that the pass looked at, not of one that came meanwhile", async () => {
    const whole = new World();
    await whole.settle();
    for (let effect = 1; effect <= whole.node.effects; effect += 1) {
      const world = new World();
      const { node } = world;
      const seen = node.machine?.metadata.generation;
      node.onEffect = (count) => (count === effect ? world.change({ runStrategy: "Halted" }) : undefined);
      while (node.effects < effect) await world.pass();
      expect(node.machine?.status?.observedGeneration ?? seen).toBe(seen);
      await world.settle();
      expect(node.guest?.powerState).toBe("ShutOff");
    }
  });

  test("a guest that crashed is said to have ended before it is started again, in one write more", async () => {
    const world = new World();
    await world.settle();
    const { node } = world;
    const [writes, starts] = [node.statusWrites, node.starts];
    const said: string[] = [];
    node.onEffect = () => {
      if (node.starts === starts && node.statusWrites > writes) {
        said.push(`${node.guest?.powerState} ${node.guest?.lastExit?.reason} ready=${world.isReady}`);
      }
    };
    node.end(uid, "Crashed");
    await world.settle();
    expect(new Set(said)).toEqual(new Set(["ShutOff Crashed ready=false"]));
    expect(node.guest).toMatchObject({ powerState: "Running", restarts: 1 });
    expect(node.statusWrites - writes).toBe(2);
  });

  describe("with a readiness probe", () => {
    const readyOf = ({ node }: World) => findCondition(node.machine?.status?.conditions, "Ready");
    const start = async (): Promise<World> => {
      const world = new World();
      world.node.machine = machineWith({ spec: { readinessProbe: probe } });
      await world.settle();
      return world;
    };

    test("a machine is Ready when it has succeeded, for one write at each change", async () => {
      const world = await start();
      const { node } = world;
      expect(readyOf(world)).toMatchObject({ status: "False", reason: "ReadinessProbeFailed" });
      expect(node.machine?.status?.printableStatus).toBe("Running");
      for (const [readiness, status] of [
        [{ kind: "healthy" }, "True"],
        [{ kind: "unhealthy", message: "HTTP status 500" }, "False"],
        [{ kind: "healthy" }, "True"],
      ] as const) {
        const writes = node.statusWrites;
        node.probed.set(uid, { readiness });
        await world.settle();
        await world.settle();
        expect(readyOf(world)?.status).toBe(status);
        expect(node.statusWrites - writes).toBe(1);
      }
    });

    test("an agent's restart changes nothing, whether the guest was ready or not", async () => {
      for (const readiness of [{ kind: "healthy" }, { kind: "unhealthy", message: "refused: x." }] as const) {
        const world = await start();
        world.node.probed.set(uid, { readiness });
        await world.settle();
        const before = JSON.stringify(world.node.machine);
        world.node.probed.clear();
        await world.settle();
        expect(JSON.stringify(world.node.machine)).toBe(before);
        expect(world.node.probed.get(uid)).toEqual({ readiness });
      }
    });

    test("a guest that was started anew is not ready before its probe has succeeded again", async () => {
      const world = await start();
      world.node.probed.set(uid, { readiness: { kind: "healthy" } });
      await world.settle();
      world.node.end(uid, "Crashed");
      await world.settle();
      expect({ starts: world.node.starts, ready: world.isReady }).toEqual({ starts: 2, ready: false });
    });

    test("nothing is probed of a machine that is halted", async () => {
      const world = await start();
      world.change({ runStrategy: "Halted" });
      await world.settle();
      expect([...world.node.probed]).toEqual([]);
      expect(world.isReady).toBe(true);
    });
  });

  describe("when the liveness probe has failed", () => {
    const fail = async (runStrategy: RunStrategy, effect = Infinity, when: "before" | "after" = "after") => {
      const world = new World();
      world.node.machine = machineWith({ spec: { runStrategy, livenessProbe: probe } });
      await world.settle();
      world.node.probed.set(uid, { liveness: { kind: "unhealthy", message: "cannot connect" } });
      world.node.killAt = { effect: world.node.effects + effect, when };
      await world.pass();
      await world.settle();
      return world;
    };

    test.each(["Always", "RerunOnFailure"] as const)("%s: the guest is started again", async (strategy) => {
      const { node } = await fail(strategy);
      expect(node.starts).toBe(2);
      expect(node.guest).toMatchObject({
        powerState: "Running",
        restarts: 1,
        lastExit: { reason: "LivenessProbeFailed", message: "cannot connect" },
      });
      expect(node.guest).not.toHaveProperty("livenessFailure");
    });

    test("Once: the run has failed", async () => {
      const { node } = await fail("Once");
      expect({ starts: node.starts, printable: node.machine?.status?.printableStatus }).toEqual({
        starts: 1,
        printable: "Failed",
      });
    });

    test("Once: it runs once, wherever the agent is killed after the verdict was written down", async () => {
      for (let effect = 1; effect <= 4; effect += 1) {
        const { node } = await fail("Once", effect);
        expect({ effect, starts: node.starts, exit: node.guest?.lastExit?.reason }).toEqual({
          effect,
          starts: 1,
          exit: "LivenessProbeFailed",
        });
      }
    });
  });

  test("what is left of a machine without an object is removed", async () => {
    const world = new World();
    await world.settle();
    world.node.machine = undefined;
    await world.settle();
    expect(world.node.leftovers).toEqual([]);
  });

  test("a guest whose machine exists without naming this node is left alone", async () => {
    const world = new World();
    await world.settle();
    world.node.machine = undefined;
    world.node.elsewhere = { nodeName: undefined };
    const before = world.node.leftovers;
    await world.settle();
    expect(world.node.leftovers).toEqual(before);
  });

  describe("a guest whose machine is on another node by now", () => {
    const away = async (): Promise<World> => {
      const world = new World();
      await world.settle();
      world.node.machine = undefined;
      world.node.elsewhere = { nodeName: "node-2" };
      return world;
    };

    test("ends at once, wherever the agent is killed, and its data stay", async () => {
      for (let effect = 1; effect <= 4; effect += 1) {
        for (const when of ["before", "after"] as const) {
          const world = await away();
          world.node.deaf = true;
          world.node.killAt = { effect: world.node.effects + effect, when };
          await world.settle();
          expect(world.node.leftovers).toEqual(["disk"]);
          expect(world.kills).toBe(1);
        }
      }
    });

    test("is not touched while a migration has a say in where it is, and ends when that is over", async () => {
      const world = await away();
      world.node.isMoving = true;
      const before = world.node.leftovers;
      expect(await world.pass()).toBeGreaterThan(0);
      expect(world.node.leftovers).toEqual(before);
      world.node.isMoving = false;
      await world.settle();
      expect(world.node.leftovers).toEqual(["disk"]);
    });

    test("is not touched while the API server cannot be asked", async () => {
      const world = await away();
      world.node.isCutOff = true;
      const before = world.node.leftovers;
      await expect(world.pass()).rejects.toThrow("does not answer");
      expect(world.node.leftovers).toEqual(before);
    });

    test("has its rules again when it comes back to an agent that has ended it here", async () => {
      const world = new World();
      await world.settle();
      const { machine } = world.node;
      world.node.machine = undefined;
      world.node.elsewhere = { nodeName: "node-2" };
      await world.settle();
      world.node.elsewhere = undefined;
      world.node.machine = machine;
      await world.settle();
      expect(world.node.leftovers).toContain("rules");
    });
  });

  test("a machine that runs once runs once, wherever the agent is killed", async () => {
    for (let effect = 1; effect <= 12; effect += 1) {
      const world = new World();
      world.node.machine = machineWith({ spec: { runStrategy: "Once" } });
      world.node.killAt = { effect, when: "after" };
      await world.settle();
      world.node.end(uid, "GuestShutdown");
      await world.settle();
      expect({ starts: world.node.starts, ready: world.isReady }).toEqual({ starts: 1, ready: true });
    }
  });
});

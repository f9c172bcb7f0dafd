import { afterAll, beforeAll, beforeEach, describe, expect, test } from "@jest/globals";

import { createFilters } from "../../../src/node-agent/filters/index.ts";
import type { RunCommand } from "../../../src/node-agent/host/command.ts";
import { desiredOn, type GuardedCluster } from "../../fakes/guarded-cluster.ts";
import { OUTSIDE_ADDRESS } from "../../testbed/packet-network.ts";
import { waitFor } from "../../testbed/wait.ts";
import { baseline, tcp, withGroups, withoutRoutes, withRules } from "./cluster.ts";
import type { Stream } from "./prober.ts";
import { startWorld, type World } from "./world.ts";

const { signal } = new AbortController();

const named = new Set(["web-0", "web-1", "db-0", "plain-0", "plain-1", "red-0", "green-0", "green-1"]);
const cluster: GuardedCluster = {
  ...baseline,
  guests: baseline.guests.filter(({ name }) => named.has(name)),
};

/** Long enough for an answer, and short enough to wait for none. */
const NO_ANSWER_MS = 400;

/** Who talks to whom, and what takes the permission away. */
const streams = {
  "on one node": ["plain-0", "web-0", 80],
  "between nodes": ["plain-0", "web-1", 80],
  "from outside": ["outside", "web-0", 80],
  "to the world": ["plain-0", "outside", 80],
  "of a member of a group, on one node": ["web-0", "db-0", 5432],
  "of a member of a group, between nodes": ["web-1", "db-0", 5432],
  "between Networks, on one node": ["plain-0", "red-0", 8080],
  "between Networks and nodes": ["plain-1", "red-0", 8080],
  "in a Network with the same addresses": ["green-0", "green-1", 8080],
} as const satisfies Readonly<Record<string, readonly [from: string, to: string, port: number]>>;

type StreamName = keyof typeof streams;
const names = Object.keys(streams) as StreamName[];

const noEgress = { egress: [] };
const changes: readonly (readonly [string, GuardedCluster, readonly StreamName[]])[] = [
  [
    "a port is closed",
    withRules(cluster, "web", { ingress: [tcp(8080)] }),
    ["on one node", "between nodes", "from outside"],
  ],
  [
    "a guest leaves its group",
    withGroups(cluster, "web-0", ["ops"]),
    ["on one node", "from outside", "of a member of a group, on one node"],
  ],
  [
    "a group may send nothing any more",
    withRules(cluster, "default", noEgress),
    [
      "on one node",
      "between nodes",
      "to the world",
      "between Networks, on one node",
      "between Networks and nodes",
      "in a Network with the same addresses",
    ],
  ],
  [
    "another guest of the group leaves it",
    withGroups(cluster, "plain-1", ["ops"]),
    ["between Networks and nodes"],
  ],
  [
    "Networks do not route to each other any more",
    withoutRoutes(cluster),
    ["between Networks, on one node", "between Networks and nodes"],
  ],
];

describe("connections of guests", () => {
  let world: World;
  let open: Record<StreamName, Stream>;
  let line = 0;

  const openStream = (name: StreamName): Promise<Stream> => {
    const [from, to, port] = streams[name];
    const address = to === "outside" ? OUTSIDE_ADDRESS : world.guests.get(to)?.interface.address;
    return world.prober(from).open(address ?? "", port, from === "outside" ? OUTSIDE_ADDRESS : undefined);
  };
  const say = (stream: Stream, timeoutMs = NO_ANSWER_MS): Promise<boolean> => {
    line += 1;
    return stream.say(`line ${line}`, timeoutMs);
  };
  /** Which of the connections answer; those of which it is expected have time. */
  const alive = async (expected: readonly StreamName[]): Promise<readonly StreamName[]> => {
    const answers = await Promise.all(
      names.map((name) => say(open[name], expected.includes(name) ? 5_000 : NO_ANSWER_MS)),
    );
    return names.filter((_name, index) => answers[index]);
  };
  const conntrack = (node: number): Promise<string> =>
    world.network.nodes[node]?.namespace.run(["conntrack", "-L"]) ?? Promise.resolve("");

  beforeAll(async () => {
    world = await startWorld(cluster);
  });
  afterAll(() => world.stop());

  beforeEach(async () => {
    await world.apply(cluster);
    const opened = await Promise.all(names.map(async (name) => [name, await openStream(name)] as const));
    open = Object.fromEntries(opened) as Record<StreamName, Stream>;
    const answering = await alive(names);
    if (answering.length < names.length) throw new Error(`only these answer: ${answering.join(", ")}`);
  });

  test.each(changes)("are cut when %s, and only those", async (_what, changed, cut) => {
    const { revoked } = await world.apply(changed);
    expect(revoked).toBeGreaterThanOrEqual(cut.length);
    const kept = names.filter((name) => !cut.includes(name));
    expect(await alive(kept)).toEqual(kept);
    // What is cut stays cut, whatever each side sends.
    expect(await alive(kept)).toEqual(kept);
    expect(await world.apply(changed)).toEqual({ revoked: 0, restored: 0 });
    expect(await alive(kept)).toEqual(kept);
  });

  test("are told at once that they are cut", async () => {
    await world.apply(withRules(cluster, "web", { ingress: [] }));
    await say(open["between nodes"], 1);
    await waitFor("the end of the connection", () => open["between nodes"].isClosed(), {
      intervalMs: 5,
      timeoutMs: 1_000,
    });
    expect(open["to the world"].isClosed()).toBe(false);
  });

  test("that said nothing while they were forbidden go on when they are allowed again", async () => {
    const { revoked } = await world.apply(withRules(cluster, "web", { ingress: [] }));
    const { restored } = await world.apply(cluster);
    expect(restored).toBe(revoked);
    expect(await alive(names)).toEqual(names);
  });

  test("live through 200 changes that do not concern them", async () => {
    const others = [tcp(1), tcp(2)].map((rule) => withRules(cluster, "ops", { ingress: [rule] }));
    for (let pass = 0; pass < 200; pass += 1) {
      const node = pass % 2;
      const now = others[Math.floor(pass / 2) % 2] ?? cluster;
      const outcome = await world.filters[node]?.sync(desiredOn(now, node), { signal });
      expect(outcome).toMatchObject({ revoked: 0, restored: 0 });
      // One line in each pass, in turn.
      const name = names[pass % names.length] ?? "on one node";
      expect(`${name}: ${await say(open[name], 5_000)}`).toBe(`${name}: true`);
    }
  });

  test("live through 10,000 passes that have nothing to change", async () => {
    for (let pass = 0; pass < 10_000; pass += 1) {
      const node = pass % 2;
      const outcome = await world.filters[node]?.sync(desiredOn(cluster, node), { signal });
      expect(outcome).toMatchObject({ changedChains: 0, revoked: 0 });
    }
    expect(await alive(names)).toEqual(names);
  });

  test("that an agent has not cut before it died are cut by the next", async () => {
    const changed = withRules(cluster, "web", { ingress: [] });
    const agents = world.network.nodes.slice(0, 2).map(({ namespace }) => ({
      run: namespace.runCommand,
      next: createFilters({ run: namespace.runCommand }),
    }));
    for (const [node, { run }] of agents.entries()) {
      const dying: RunCommand = (file, args, options) =>
        file === "conntrack" ? Promise.reject(new Error("killed")) : run(file, args, options);
      const before = createFilters({ run: dying });
      await expect(before.sync(desiredOn(changed, node), { signal })).rejects.toThrow("killed");
    }
    expect(await say(open["between nodes"], 5_000)).toBe(true);
    for (const [node, { next }] of agents.entries()) await next.sync(desiredOn(changed, node), { signal });
    expect(await say(open["between nodes"])).toBe(false);
    expect(await say(open["to the world"], 5_000)).toBe(true);
    // As the world's own agents left it.
    for (const [node, { next }] of agents.entries()) await next.sync(desiredOn(cluster, node), { signal });
  });

  test("are forgotten with the guest, and with it only", async () => {
    expect(await conntrack(0)).toMatch(/src=10\.0\.0\.11 .* zone=1 /);
    await world.apply({ ...cluster, guests: cluster.guests.filter(({ name }) => name !== "web-0") });
    const left = await conntrack(0);
    expect(left).not.toMatch(/=10\.0\.0\.11 .* zone=1 /);
    // The other Network's guest has the same address.
    expect(left).toMatch(/=10\.0\.0\.11 .* zone=3 /);
    expect(await say(open["in a Network with the same addresses"], 5_000)).toBe(true);
  });
});

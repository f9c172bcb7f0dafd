import { describe, expect, test } from "@jest/globals";
import type { FloatingIp } from "../../../src/api/floating-ip.ts";
import type { FloatingIpPool } from "../../../src/api/floating-ip-pool.ts";
import type { VirtualMachine } from "../../../src/api/virtual-machine.ts";
import type { Stores } from "../../../src/controllers/context.ts";
import { createFloatingMemory } from "../../../src/controllers/floating-ip/memory.ts";
import { PASS_OVER_MS } from "../../../src/controllers/floating-ip/nodes.ts";
import { NOT_TAKEN_MS, observeFloatingIp } from "../../../src/controllers/floating-ip/observe.ts";
import {
  floatingIpsAfterFloatingIp,
  floatingIpsAfterMachine,
  floatingIpsAfterPool,
  floatingIpsAroundNode,
} from "../../../src/controllers/floating-ip/watches.ts";
import { floatingIpIndexes, machineIndexes } from "../../../src/controllers/stores.ts";
import { keyOf, type ObjectKey } from "../../../src/kube/index.ts";
import { ManualClock } from "../../fakes/manual-clock.ts";
import { claimOf, floatingIpWith, heldBy, poolWith, type Status } from "./floating-objects.ts";
import { guestOn, hypervisorWith, placedMachine, readyCondition, uidOf } from "./objects.ts";
import { storeOf } from "./still-store.ts";

interface Given {
  readonly floatingIps?: readonly FloatingIp[];
  readonly pools?: readonly FloatingIpPool[];
  readonly machines?: readonly VirtualMachine[];
  readonly unreadableMachines?: readonly string[];
}

const storesWith = ({
  floatingIps = [],
  pools = [poolWith()],
  machines = [],
  unreadableMachines,
}: Given): Stores => ({
  virtualMachines: storeOf(machines, machineIndexes, unreadableMachines),
  volumes: storeOf([]),
  virtualMachineSnapshots: storeOf([]),
  virtualMachineRestores: storeOf([]),
  virtualMachineMigrations: storeOf([]),
  images: storeOf([]),
  flavors: storeOf([]),
  keyPairs: storeOf([]),
  networks: storeOf([]),
  securityGroups: storeOf([]),
  addressSlices: storeOf([]),
  leases: storeOf([]),
  hypervisors: storeOf([hypervisorWith()]),
  floatingIps: storeOf(floatingIps, floatingIpIndexes),
  floatingIpPools: storeOf(pools),
});

const named = (name: string, spec: Partial<FloatingIp["spec"]> = {}, status?: Status): FloatingIp =>
  floatingIpWith(spec, status, { name, uid: uidOf(name) });

const web = (name: string, labels: Readonly<Record<string, string>> = {}): VirtualMachine =>
  placedMachine(
    { guest: guestOn("node-1"), conditions: [readyCondition("True", "Running")] },
    { name, uid: uidOf(name), labels },
  );

const look = (given: Given, floatingIp: FloatingIp) => {
  const stores = storesWith({ ...given, floatingIps: [floatingIp, ...(given.floatingIps ?? [])] });
  const clock = new ManualClock();
  const memory = createFloatingMemory(stores.floatingIps, clock);
  const again = () => observeFloatingIp(stores, memory, clock, keyOf(floatingIp));
  return { clock, memory, again };
};

describe("The free address of a pool", () => {
  const subject = named("subject");
  test.each<[string, Given, string | undefined]>([
    ["is the lowest", {}, "203.0.113.0"],
    [
      "is none that another has",
      { floatingIps: [named("a", {}, { address: "203.0.113.0" })] },
      "203.0.113.1",
    ],
    [
      "is none that another has of another pool",
      { floatingIps: [named("a", { pool: "private" }, { address: "203.0.113.0" })] },
      "203.0.113.1",
    ],
    [
      "is none that another asks for",
      { floatingIps: [named("a", { address: "203.0.113.0" })] },
      "203.0.113.1",
    ],
    [
      "is none when all are gone",
      {
        pools: [poolWith({ cidrs: ["203.0.113.0/32"] })],
        floatingIps: [named("a", {}, { address: "203.0.113.0" })],
      },
      undefined,
    ],
  ])("%s", (_, given, free) => {
    expect(look(given, subject).again()?.address.free).toBe(free);
  });

  test("is none that was promised to another a moment ago, and of that the owner is told", () => {
    const asking = named("asking", { address: "203.0.113.0" });
    for (const [floatingIp, expected] of [
      [subject, { free: "203.0.113.1" }],
      [asking, { takenBy: "default/a" }],
    ] as const) {
      const { memory, again } = look({}, floatingIp);
      memory.reservations.set(uidOf("a"), { address: "203.0.113.0", owner: "default/a" });
      expect(again()?.address).toMatchObject(expected);
    }
  });
});

describe("The candidates", () => {
  const names = (given: Given, spec: Partial<FloatingIp["spec"]>): readonly string[] | undefined => {
    const { pool, failback } = floatingIpWith().spec;
    const floatingIp: FloatingIp = { ...named("subject"), spec: { pool, failback, ...spec } };
    return look(given, floatingIp)
      .again()
      ?.candidates.map(({ name, verdict }) => `${name} ${verdict.kind}`);
  };

  test("are the targets in their order, those that do not exist too", () => {
    const given = { machines: [web("a"), web("b")] };
    expect(names(given, { targets: ["b", "c", "a"] })).toEqual(["b healthy", "c released", "a healthy"]);
  });

  test("are the machines with all labels of the selector, by their names", () => {
    const app = { app: "web", tier: "front" };
    const given = { machines: [web("z", app), web("a", app), web("m", { app: "web" })] };
    expect(names(given, { selector: app })).toEqual(["a healthy", "z healthy"]);
  });

  test("that cannot be understood are not gone", () => {
    expect(names({ unreadableMachines: ["a"] }, { targets: ["a"] })).toEqual(["a unhealthy"]);
  });
});

test("A machine that was made anew under the same name does not have the claim of the one before", () => {
  const status = { address: "203.0.113.0", claim: { ...claimOf("web-0"), machineUid: uidOf("before") } };
  const facts = look({ machines: [web("web-0")] }, named("subject", {}, status)).again();
  expect(facts?.present?.verdict.kind).toBe("released");
  expect(facts?.candidates[0]?.verdict.kind).toBe("healthy");
});

test("Of two with one address the one that was made first is the older for both", () => {
  const status = { address: "203.0.113.0" };
  const [a, b] = [named("a", {}, status), named("b", {}, status)];
  const sides = [look({ floatingIps: [b] }, a), look({ floatingIps: [a] }, b)];
  expect(sides.filter(({ again }) => again()?.rival?.isOlder === true)).toHaveLength(1);
});

describe("A node that does not take a claim", () => {
  const offered = named(
    "subject",
    {},
    { address: "203.0.113.0", claim: { ...claimOf("web-0"), nodeName: "node-1" } },
  );

  test("is passed over after six seconds, and tried again after a minute", async () => {
    const { clock, again } = look({ machines: [web("web-0")] }, offered);
    expect(again()).toMatchObject({ notTakenForMs: 0, candidates: [{ passedOver: undefined }, {}] });
    await clock.advance(NOT_TAKEN_MS - 1);
    expect(again()?.candidates[0]?.passedOver).toBeUndefined();
    await clock.advance(1);
    expect(again()?.candidates[0]?.passedOver).toEqual({ reason: "NotTaken", forMs: PASS_OVER_MS });
  });

  test("has all its time while another node still answers", async () => {
    const busy = named("subject", {}, { ...offered.status, holder: heldBy("node-9") });
    const { clock, again } = look({ machines: [web("web-0")] }, busy);
    again();
    await clock.advance(60_000);
    expect(again()).toMatchObject({ notTakenForMs: undefined, candidates: [{ passedOver: undefined }, {}] });
  });
});

describe("A change concerns", () => {
  const { pool, failback } = floatingIpWith().spec;
  const selecting: FloatingIp = { ...named("selecting"), spec: { pool, failback, selector: { app: "web" } } };
  const naming = named("naming", { targets: ["web-0"] }, { address: "203.0.113.0" });
  const having = named("having", { targets: ["other"] }, { address: "203.0.113.1", claim: claimOf("web-0") });
  const floatingIps = [selecting, naming, having];
  const stores = storesWith({ floatingIps, machines: [web("web-0", { app: "web" })] });
  const sorted = (keys: readonly ObjectKey[]): readonly string[] =>
    [...new Set(keys.map(({ name }) => name))].toSorted();

  test("of a machine those that name it, have it, or select it", () => {
    const after = web("web-0", { app: "web" });
    expect(sorted(floatingIpsAfterMachine(stores, { key: keyOf(after), after, unreadable: false }))).toEqual([
      "having",
      "naming",
      "selecting",
    ]);
  });

  test("of a machine's labels those that selected it before", () => {
    const [before, after] = [web("web-5", { app: "web" }), web("web-5")];
    const change = { key: keyOf(after), before, after, unreadable: false };
    expect(sorted(floatingIpsAfterMachine(stores, change))).toEqual(["selecting"]);
  });

  test("of a node those with a machine on it", () => {
    expect(sorted(floatingIpsAroundNode(stores, "node-1"))).toEqual(["having", "naming", "selecting"]);
  });

  test("of a claimed node those that it is to answer for", () => {
    expect(sorted(floatingIpsAroundNode(stores, "node-0"))).toEqual(["having"]);
  });

  test("of a pool those that wait for an address of it", () => {
    const change = (name: string) => ({ key: { name }, after: poolWith({}, { name }), unreadable: false });
    expect(sorted(floatingIpsAfterPool(stores, change("public")))).toEqual(["selecting"]);
    expect(sorted(floatingIpsAfterPool(stores, change("private")))).toEqual([]);
  });

  test("of a FloatingIP that is gone those that wait, and those that had the same address", () => {
    const before = named("gone", {}, { address: "203.0.113.0" });
    const change = { key: keyOf(before), before, unreadable: false };
    expect(sorted(floatingIpsAfterFloatingIp(stores, change))).toEqual(["gone", "naming", "selecting"]);
  });
});

import { describe, expect, test } from "@jest/globals";
import fc from "fast-check";
import { FLOATING_IP_POOL_FINALIZER } from "../../../src/api/floating-ip-pool.ts";
import {
  hasAddress,
  lowestFree,
  poolAddresses,
  poolsOverlap,
} from "../../../src/controllers/floating-ip-pool/addresses.ts";
import {
  COUNT_INTERVAL_MS,
  decidePool,
  type PoolDecision,
} from "../../../src/controllers/floating-ip-pool/decide.ts";
import type { PoolFacts } from "../../../src/controllers/floating-ip-pool/observe.ts";
import { poolWith } from "./floating-objects.ts";
import { NOW } from "./objects.ts";

const held = { finalizers: [FLOATING_IP_POOL_FINALIZER] };

const facts = (changes: Partial<PoolFacts> = {}): PoolFacts => ({
  pool: poolWith({}, held),
  allocated: 0,
  users: [],
  overlapping: [],
  unreadable: 0,
  sinceWriteMs: undefined,
  ...changes,
});

const statusIn = ({ steps }: PoolDecision) =>
  steps.flatMap((step) => (step.kind === "apply-status" ? [step.status] : []))[0];

const readyIn = (decision: PoolDecision): string => {
  const ready = statusIn(decision)?.conditions?.find(({ type }) => type === "Ready");
  return `${ready?.status} ${ready?.reason}: ${ready?.message}`;
};

const deleted = { ...held, deletionTimestamp: "2026-01-01T00:00:00Z" };

describe("The addresses of a pool", () => {
  test.each<[string, Parameters<typeof poolWith>[0], number]>([
    ["are all of a block, the first and the last too", { cidrs: ["203.0.113.0/30"] }, 4],
    ["are one of a /32", { cidrs: ["203.0.113.7/32"] }, 1],
    ["count once when blocks overlap", { cidrs: ["203.0.113.0/29", "203.0.113.0/30", "203.0.113.4/32"] }, 8],
    ["are without those that are excluded", { cidrs: ["203.0.113.0/30"], exclude: ["203.0.113.1"] }, 3],
    [
      "are not fewer by what is excluded elsewhere",
      { cidrs: ["203.0.113.0/30"], exclude: ["198.51.100.1"] },
      4,
    ],
  ])("%s", (_, spec, capacity) => {
    expect(poolAddresses(poolWith(spec).spec).capacity).toBe(capacity);
  });

  test("are given out lowest first, each once, until there are none", () => {
    const cidrs = ["203.0.113.0/30", "203.0.113.2/31", "203.0.113.8/31", "192.0.2.255/32"];
    const any = fc.record({
      cidrs: fc.shuffledSubarray(cidrs, { minLength: 1 }),
      exclude: fc.subarray(["203.0.113.2", "203.0.113.9", "10.0.0.1"]),
    });
    fc.assert(
      fc.property(any, (spec) => {
        const pool = poolAddresses(spec);
        const given: string[] = [];
        for (;;) {
          const next = lowestFree(pool, (address) => given.includes(address));
          if (next === undefined) break;
          given.push(next);
        }
        expect(given).toHaveLength(pool.capacity);
        expect(new Set(given).size).toBe(pool.capacity);
        expect(given.every((address) => hasAddress(pool, address))).toBe(true);
        expect(given.some((address) => spec.exclude.includes(address))).toBe(false);
      }),
    );
  });

  test("may be those of another pool too", () => {
    const other = poolWith({ cidrs: ["198.51.100.0/24", "203.0.113.4/32"] });
    expect(poolsOverlap(poolWith(), other)).toBe(true);
    expect(poolsOverlap(poolWith(), poolWith({ cidrs: ["203.0.113.8/29"] }))).toBe(false);
  });
});

describe("A FloatingIPPool", () => {
  test.each<[string, PoolFacts, string]>([
    ["is Ready", facts(), "True Valid: Addresses can be taken from it."],
    [
      "tells what it shares addresses with",
      facts({ overlapping: ["b"] }),
      "True Valid: Addresses can be taken from it. It has addresses in common with b; each is given out once.",
    ],
    [
      "in which nothing is left is stalled",
      facts({ pool: poolWith({ cidrs: ["203.0.113.7/32"], exclude: ["203.0.113.7"] }, held) }),
      "False NoAddresses: All addresses of cidrs are in exclude. Change one of the two.",
    ],
    [
      "that is deleted tells whom it waits for",
      facts({ pool: poolWith({}, deleted), users: ["a/x", "b/y"] }),
      "False InUse: It goes when these FloatingIPs are deleted: a/x, b/y.",
    ],
    [
      "that is deleted waits for what cannot be understood",
      facts({ pool: poolWith({}, deleted), unreadable: 1 }),
      "False UnreadableFloatingIPs: It is kept, because the controller cannot understand a FloatingIP and so does not know whose addresses are in use; its log says more. Is it older than the CustomResourceDefinitions?",
    ],
  ])("%s", (_, given, expected) => {
    expect(readyIn(decidePool(given, NOW))).toBe(expected);
  });

  test("is held before its status is written", () => {
    const decision = decidePool(facts({ pool: poolWith() }), NOW);
    expect(decision.steps.map(({ kind }) => kind)).toEqual(["write-finalizers", "apply-status"]);
    expect(statusIn(decision)?.addresses).toEqual({ capacity: 8, allocated: 0 });
  });

  test("that is deleted goes when its addresses are given back", () => {
    const pool = poolWith({}, { ...deleted, finalizers: ["example.com/other", FLOATING_IP_POOL_FINALIZER] });
    expect(decidePool(facts({ pool }), NOW).steps).toEqual([
      { kind: "write-finalizers", finalizers: ["example.com/other"] },
    ]);
  });

  test("whose count changed is written at once, and then after the rest of the interval", () => {
    const status = statusIn(decidePool(facts(), NOW));
    const pool = { ...poolWith({}, held), ...(status !== undefined && { status }) };
    expect(decidePool(facts({ pool }), NOW)).toEqual({ steps: [] });
    expect(statusIn(decidePool(facts({ pool, allocated: 1 }), NOW))?.addresses?.allocated).toBe(1);
    expect(decidePool(facts({ pool, allocated: 1, sinceWriteMs: 1000 }), NOW)).toEqual({
      steps: [],
      requeueAfterMs: COUNT_INTERVAL_MS - 1000,
    });
  });
});

import { describe, expect, it } from "@jest/globals";
import fc from "fast-check";

import type { FloatingIp } from "../../../../../src/api/floating-ip.ts";
import {
  decideFloating,
  type FloatingDecision,
  type FloatingFacts,
  type FloatingTarget,
  isInTime,
  validForSeconds,
  wantedTranslations,
} from "../../../../../src/node-agent/reconcilers/floating/floating-claims.ts";

const ADDRESS = "192.0.2.101";
const target: FloatingTarget = {
  machineUid: "web-0",
  guestAddress: "10.0.0.11",
  vni: 1,
  tap: "vtap00000000001",
};
const translation = { address: ADDRESS, guestAddress: "10.0.0.11", vni: 1, tap: "vtap00000000001" };

interface Situation {
  readonly claim?: "here" | "elsewhere" | "none";
  readonly holder?: "here" | "elsewhere" | "none";
}

const node = (where: "here" | "elsewhere") => (where === "here" ? "node-1" : "node-2");

const object = ({ claim = "here", holder = "here" }: Situation = {}): FloatingIp =>
  ({
    apiVersion: "vireo.dev/v1alpha1",
    kind: "FloatingIP",
    metadata: { name: "www", namespace: "shop", uid: "uid-www", resourceVersion: "5", generation: 1 },
    spec: { pool: "public", failback: "Never" },
    status: {
      address: ADDRESS,
      ...(claim !== "none" && {
        claim: {
          machine: "web-0",
          machineUid: "web-0",
          nodeName: node(claim),
          address: "10.0.0.11",
          vni: 1,
        },
      }),
      ...(holder !== "none" && { holder: { nodeName: node(holder), since: "2026-01-01T00:00:00Z" } }),
    },
  }) as unknown as FloatingIp;

/** An address that is held as it should be. */
const facts = (change: Partial<FloatingFacts> = {}): FloatingFacts => ({
  nodeName: "node-1",
  now: 10_000,
  inSync: true,
  hasUnreadable: false,
  objects: [object()],
  inFlight: new Set(),
  held: new Set([ADDRESS]),
  translated: new Map([[ADDRESS, translation]]),
  targets: [target],
  lease: { term: "1", begunAt: 9_900 },
  confirmed: new Map([[ADDRESS, { term: "1", uid: "uid-www" }]]),
  ...change,
});

const nothing: ReadonlySet<string> = new Set();

/** What is done with the address, in a word. */
const verdict = ({ withdrawals, clear, acquire, hold }: FloatingDecision): string =>
  [
    ...withdrawals.map(({ reason }) => `withdraw ${reason}`),
    ...clear.map(() => "clear"),
    ...acquire.map(() => "acquire"),
    ...hold.map(() => "hold"),
  ].join(", ") || "wait";

const unconfirmed = new Map<string, never>();

describe("what a node does with a floating address", () => {
  it.each<[string, string, Partial<FloatingFacts>]>([
    ["holds it while it has the claim, is the holder and has its Lease", "hold", {}],
    [
      "becomes the holder before it answers",
      "acquire",
      { objects: [object({ holder: "none" })], held: nothing, confirmed: unconfirmed },
    ],
    [
      "waits while another node is the holder",
      "wait",
      { objects: [object({ holder: "elsewhere" })], held: nothing, confirmed: unconfirmed },
    ],
    [
      "waits for its translation",
      "wait",
      { objects: [object({ holder: "none" })], held: nothing, translated: new Map() },
    ],
    [
      "waits for a translation to the right guest",
      "wait",
      {
        objects: [object({ holder: "none" })],
        held: nothing,
        translated: new Map([[ADDRESS, { ...translation, vni: 2 }]]),
      },
    ],
    [
      "waits until its guests are known",
      "wait",
      { objects: [object({ holder: "none" })], held: nothing, targets: undefined },
    ],
    ["goes on while its guests are not known yet", "hold", { targets: undefined, translated: undefined }],
    [
      "goes on while the translation leads to another guest of the node",
      "hold",
      { translated: new Map([[ADDRESS, { ...translation, tap: "vtap2" }]]) },
    ],
    ["withdraws it when its guest is not here", "withdraw GuestGone", { targets: [] }],
    [
      "withdraws it when the claim goes elsewhere",
      "withdraw ClaimMoved",
      { objects: [object({ claim: "elsewhere" })] },
    ],
    [
      "withdraws it when nobody has the claim",
      "withdraw ClaimMoved",
      { objects: [object({ claim: "none" })] },
    ],
    [
      "withdraws it when the claim moved and the Lease is lost too",
      "withdraw ClaimMoved",
      { objects: [object({ claim: "elsewhere" })], lease: undefined },
    ],
    [
      "clears the holder only after it has withdrawn",
      "clear",
      { objects: [object({ claim: "elsewhere" })], held: nothing },
    ],
    [
      "clears nobody else",
      "wait",
      { objects: [object({ claim: "elsewhere", holder: "elsewhere" })], held: nothing },
    ],
    ["withdraws it when its Lease is too old", "withdraw LeaseLost", { now: 12_900 }],
    ["goes on just before that", "hold", { now: 12_899 }],
    [
      "withdraws it when it was fenced in between",
      "withdraw LeaseLost",
      { lease: { term: "2", begunAt: 9_900 } },
    ],
    [
      "becomes the holder anew after it was fenced",
      "acquire",
      { lease: { term: "2", begunAt: 9_900 }, held: nothing },
    ],
    [
      "does not become the holder without its Lease",
      "wait",
      { objects: [object({ holder: "none" })], held: nothing, lease: undefined },
    ],
    [
      "leaves what a predecessor held to the kernel until it has its Lease",
      "wait",
      { lease: undefined, confirmed: unconfirmed },
    ],
    [
      "goes on with what a predecessor held, before the objects are known",
      "hold",
      { objects: [], inSync: false, confirmed: new Map([[ADDRESS, { term: "1", uid: undefined }]]) },
    ],
    [
      "withdraws what a predecessor held before a fence",
      "withdraw LeaseLost",
      { objects: [], inSync: false, confirmed: unconfirmed },
    ],
    ["withdraws what no object has", "withdraw Unknown", { objects: [] }],
    ["does not think that of an object that it cannot read", "hold", { objects: [], hasUnreadable: true }],
    [
      "does not take another object of the name for the one that it is the holder for",
      "withdraw LeaseLost",
      { confirmed: new Map([[ADDRESS, { term: "1", uid: "uid-of-before" }]]) },
    ],
    [
      "writes one thing at a time",
      "wait",
      { objects: [object({ holder: "none" })], held: nothing, inFlight: new Set(["uid-www"]) },
    ],
  ])("%s", (_, expected, change) => {
    expect(verdict(decideFloating(facts(change)))).toBe(expected);
  });

  it.each<[string, boolean, Partial<FloatingFacts>]>([
    ["with a claim", true, { objects: [object({ holder: "none" })], held: nothing }],
    ["as a holder", true, { objects: [object({ claim: "elsewhere" })], held: nothing }],
    ["with an address on its device", true, { objects: [] }],
    [
      "with neither",
      false,
      { objects: [object({ claim: "elsewhere", holder: "elsewhere" })], held: nothing },
    ],
  ])("renews its Lease %s: %s", (_, expected, change) => {
    expect(decideFloating(facts(change)).needsLease).toBe(expected);
  });

  it("keeps the translation of what is still held, and of nothing else that it has no claim to", () => {
    const moved = { objects: [object({ claim: "elsewhere" })] };
    expect(wantedTranslations(facts(moved))).toEqual([translation]);
    expect(wantedTranslations(facts({ ...moved, held: nothing }))).toEqual([]);
    expect(wantedTranslations(facts({ inSync: false }))).toBeUndefined();
    expect(wantedTranslations(facts({ targets: undefined }))).toBeUndefined();
  });
});

describe("how long an address may stay on a device", () => {
  it.each([
    [0, 3],
    [200, 3],
    [201, 2],
    [1_200, 2],
    [1_201, 1],
    [2_200, 1],
    [2_201, 0],
  ])("%i ms after the renewal was begun: %i s", (ms, seconds) => {
    expect(validForSeconds({ term: "1", begunAt: 1_000 }, 1_000 + ms)).toBe(seconds);
  });

  it("ends before others may have it, however late the kernel is", () => {
    fc.assert(
      fc.property(fc.integer({ min: 0, max: 10_000 }), (now) => {
        const lease = { term: "1", begunAt: 0 };
        const seconds = validForSeconds(lease, now);
        expect(seconds < 1 || isInTime(lease, seconds, now + 50)).toBe(true);
      }),
    );
  });
});

describe("a node, whatever it knows,", () => {
  const where = fc.constantFrom("here", "elsewhere", "none");
  const situation = fc.record({
    claim: where,
    holder: where,
    isHeld: fc.boolean(),
    ageMs: fc.integer({ min: 0, max: 6_000 }),
    term: fc.constantFrom("1", "2"),
    hasLease: fc.boolean(),
    isConfirmed: fc.boolean(),
    isTranslated: fc.boolean(),
    inSync: fc.boolean(),
    targets: fc.constantFrom(undefined, [], [target]),
    isInFlight: fc.boolean(),
  });
  const factsOf = (one: typeof situation extends fc.Arbitrary<infer T> ? T : never): FloatingFacts =>
    facts({
      objects: [object(one)],
      held: new Set(one.isHeld ? [ADDRESS] : []),
      lease: one.hasLease ? { term: one.term, begunAt: 10_000 - one.ageMs } : undefined,
      confirmed: one.isConfirmed ? new Map([[ADDRESS, { term: "1", uid: "uid-www" }]]) : new Map(),
      translated: new Map(one.isTranslated ? [[ADDRESS, translation]] : []),
      inSync: one.inSync,
      targets: one.targets,
      inFlight: new Set(one.isInFlight ? ["uid-www"] : []),
    });

  it("holds nothing that another node may hold", () => {
    fc.assert(
      fc.property(situation, (one) => {
        const { hold } = decideFloating(factsOf(one));
        if (hold.length === 0) return;
        expect(one).toMatchObject({
          claim: "here",
          holder: "here",
          hasLease: true,
          isConfirmed: true,
          term: "1",
        });
        expect(one.ageMs).toBeLessThan(3_000);
        expect(one.isTranslated || one.isHeld).toBe(true);
      }),
      { numRuns: 2_000 },
    );
  });

  it("clears itself as the holder only when the address is not on its device, and never acquires what is another's", () => {
    fc.assert(
      fc.property(situation, (one) => {
        const { clear, acquire, withdrawals, hold } = decideFloating(factsOf(one));
        if (clear.length > 0) expect(one).toMatchObject({ isHeld: false, holder: "here", isInFlight: false });
        if (acquire.length > 0) {
          expect(one).toMatchObject({ claim: "here", isHeld: false, hasLease: true, isInFlight: false });
          expect(one.holder).not.toBe("elsewhere");
        }
        expect(withdrawals.length + clear.length + acquire.length + hold.length).toBeLessThanOrEqual(1);
      }),
      { numRuns: 2_000 },
    );
  });
});

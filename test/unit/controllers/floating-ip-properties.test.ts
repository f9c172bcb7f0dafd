import { describe, expect, test } from "@jest/globals";
import fc from "fast-check";
import type { FloatingIp } from "../../../src/api/floating-ip.ts";
import type { Candidate } from "../../../src/controllers/floating-ip/claim.ts";
import { decideFloatingIp, type FloatingIpStep } from "../../../src/controllers/floating-ip/decide.ts";
import type { FloatingIpFacts } from "../../../src/controllers/floating-ip/observe.ts";
import { candidate, claimOf, factsOf, floatingIpWith, heldBy } from "./floating-objects.ts";
import { NOW } from "./objects.ts";

const { healthy, crashed, halted, onSilentNode, notTaken } = candidate;
const ADDRESS = "203.0.113.0";

/** The object as it is once these steps were carried out. */
const carryOut = (floatingIp: FloatingIp, steps: readonly FloatingIpStep[]): FloatingIp => {
  let { status, metadata } = floatingIp;
  for (const step of steps) {
    if (step.kind === "apply-status") {
      const holder = status?.holder;
      status = { ...step.status, ...(holder !== undefined && { holder }) };
    }
    if (step.kind === "clear-holder" && status !== undefined) {
      const { holder: _, ...rest } = status;
      status = rest;
    }
    if (step.kind === "write-finalizers") metadata = { ...metadata, finalizers: step.finalizers };
  }
  return { ...floatingIp, metadata, ...(status !== undefined && { status }) };
};

describe("Whatever the facts", () => {
  const names = ["web-0", "web-1", "web-2"] as const;
  const anyCandidate = (name: string): fc.Arbitrary<Candidate> =>
    fc.constantFrom(healthy(name), crashed(name), halted(name), onSilentNode(name), notTaken(name));
  const anyFacts = fc
    .record({
      candidates: fc.tuple(...names.map(anyCandidate)),
      claim: fc.option(fc.constantFrom(...names), { nil: undefined }),
      holder: fc.option(fc.constantFrom("node-0", "node-1", "node-9"), { nil: undefined }),
      failback: fc.constantFrom("Never" as const, "Prefer" as const),
      isFenced: fc.boolean(),
      isLeaving: fc.boolean(),
      isHeld: fc.boolean(),
    })
    .map(({ candidates, claim, holder, failback, isFenced, isLeaving, isHeld }) => {
      const status = {
        address: ADDRESS,
        ...(claim !== undefined && { claim: claimOf(claim) }),
        ...(holder !== undefined && { holder: heldBy(holder) }),
      };
      const meta = {
        finalizers: isHeld || isLeaving ? ["vireo.dev/floating-ip"] : [],
        ...(isLeaving && { deletionTimestamp: "2026-01-01T00:00:00Z" }),
      };
      const floatingIp = floatingIpWith({ failback, targets: [...names] }, status, meta);
      return factsOf(floatingIp, candidates, { holderIsFenced: isFenced && holder !== undefined });
    });

  const next = (facts: FloatingIpFacts, steps: readonly FloatingIpStep[]): FloatingIpFacts => {
    const floatingIp = carryOut(facts.floatingIp, steps);
    return factsOf(floatingIp, facts.candidates, {
      holderIsFenced: facts.holderIsFenced && floatingIp.status?.holder !== undefined,
    });
  };

  test("once a decision is carried out there is nothing more to do", () => {
    fc.assert(
      fc.property(anyFacts, (facts) => {
        let after = next(facts, decideFloatingIp(facts, NOW).steps);
        // What is said of the holder follows one look later than the holder itself is cleared.
        if (facts.holderIsFenced) after = next(after, decideFloatingIp(after, NOW).steps);
        expect(decideFloatingIp(after, NOW).steps).toEqual([]);
      }),
    );
  });

  test("a holder is cleared only when it is fenced, and never set", () => {
    fc.assert(
      fc.property(anyFacts, (facts) => {
        const { steps } = decideFloatingIp(facts, NOW);
        const before = facts.floatingIp.status?.holder;
        const after = carryOut(facts.floatingIp, steps).status?.holder;
        expect(after).toEqual(facts.holderIsFenced ? undefined : before);
      }),
    );
  });

  test("the finalizer stays while a node answers", () => {
    fc.assert(
      fc.property(anyFacts, (facts) => {
        const { metadata, status } = carryOut(facts.floatingIp, decideFloatingIp(facts, NOW).steps);
        const isUsed = status?.holder !== undefined || status?.claim !== undefined;
        const isHeld = metadata.finalizers?.includes("vireo.dev/floating-ip") ?? false;
        expect(isHeld || !isUsed).toBe(true);
      }),
    );
  });

  test("the address is with the first target that is usable, but that it is not taken from one that is (Never)", () => {
    fc.assert(
      fc.property(anyFacts, (facts) => {
        const { metadata, spec, status } = facts.floatingIp;
        fc.pre(metadata.deletionTimestamp === undefined);
        const usable = facts.candidates
          .filter(({ verdict, passedOver }) => verdict.kind === "healthy" && passedOver === undefined)
          .map(({ name }) => name);
        fc.pre(usable.length > 0);
        const held = status?.claim?.machine;
        const keeps = spec.failback === "Never" && held !== undefined && usable.includes(held);
        const after = carryOut(facts.floatingIp, decideFloatingIp(facts, NOW).steps).status?.claim?.machine;
        expect(after).toBe(keeps ? held : usable[0]);
      }),
    );
  });

  test("a machine that is halted or gone never has the address", () => {
    fc.assert(
      fc.property(anyFacts, (facts) => {
        const after = carryOut(facts.floatingIp, decideFloatingIp(facts, NOW).steps).status?.claim?.machine;
        const released = facts.candidates
          .filter(({ verdict }) => verdict.kind === "released")
          .map(({ name }) => name);
        expect(released).not.toContain(after);
      }),
    );
  });
});

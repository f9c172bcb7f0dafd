import { describe, expect, test } from "@jest/globals";
import type { Hypervisor } from "../../../src/api/hypervisor.ts";
import { decideHypervisor } from "../../../src/controllers/hypervisor/decide.ts";
import { aliveForMs, lookAtHeartbeat, type Sighting } from "../../../src/controllers/hypervisor/heartbeat.ts";
import { isLost } from "../../../src/controllers/hypervisor/status.ts";
import type { Lease } from "../../../src/kube/index.ts";
import { hypervisorWith, lostHypervisor, NOW, readyCondition, uidOf } from "./objects.ts";

const lease = (renewTime?: string, leaseDurationSeconds?: number): Lease => ({
  apiVersion: "coordination.k8s.io/v1",
  kind: "Lease",
  metadata: {
    name: "node-1",
    namespace: "vireo-system",
    uid: uidOf("lease"),
    resourceVersion: "1",
    creationTimestamp: "2026-01-01T00:00:00Z",
  },
  spec: {
    ...(renewTime !== undefined && { renewTime }),
    ...(leaseDurationSeconds !== undefined && { leaseDurationSeconds }),
  },
});

type Glance = { readonly at: number; readonly lease?: Lease; readonly saidLost?: boolean };

/** Looks several times, and tells for how long the node is taken to be alive at the last look. */
const lookAt = (...glances: readonly Glance[]): number | undefined => {
  let sighting: Sighting | undefined;
  let left: number | undefined;
  for (const { at, lease: found, saidLost = false } of glances) {
    sighting = lookAtHeartbeat({ lease: found, previous: sighting, saidLost, now: at });
    left = aliveForMs(sighting, at);
  }
  return left;
};

describe("A heartbeat", () => {
  test.each<[string, readonly Glance[], number | undefined]>([
    ["seen for the first time is given its duration", [{ at: 0, lease: lease("t1", 10) }], 10_000],
    ["of no duration has that of kubelet", [{ at: 0, lease: lease("t1") }], 40_000],
    ["that is missing is waited for", [{ at: 0 }, { at: 30_000 }], 10_000],
    ["that never comes is lost", [{ at: 0 }, { at: 40_000 }], undefined],
    [
      "that is renewed lives on from then",
      [
        { at: 0, lease: lease("t1", 10) },
        { at: 9_000, lease: lease("t2", 10) },
        { at: 15_000, lease: lease("t2", 10) },
      ],
      4_000,
    ],
    [
      "that is not renewed is lost when its duration has passed",
      [
        { at: 0, lease: lease("t1", 10) },
        { at: 10_000, lease: lease("t1", 10) },
      ],
      undefined,
    ],
    [
      "of a node whose clock is wrong counts all the same",
      [{ at: 0, lease: lease("1970-01-01T00:00:00Z", 10) }],
      10_000,
    ],
    [
      "that was lost before this process began is believed to be, until it is renewed",
      [{ at: 0, lease: lease("t1", 10), saidLost: true }],
      undefined,
    ],
    [
      "that was lost lives again with the first renewal",
      [
        { at: 0, lease: lease("t1", 10), saidLost: true },
        { at: 5_000, lease: lease("t2", 10), saidLost: true },
      ],
      10_000,
    ],
    [
      "of an agent that takes its Ready back without renewing lives for a duration, so that the two do not race",
      [
        { at: 0, lease: lease("t1", 10) },
        { at: 10_000, lease: lease("t1", 10), saidLost: true },
        { at: 11_000, lease: lease("t1", 10), saidLost: false },
      ],
      10_000,
    ],
    [
      "whose Lease is deleted runs out",
      [{ at: 0, lease: lease("t1", 10) }, { at: 5_000 }, { at: 41_000 }],
      undefined,
    ],
  ])("%s", (_, glances, expected) => {
    expect(lookAt(...glances)).toBe(expected);
  });
});

describe("A Hypervisor", () => {
  const sighting = (aliveAt: number | undefined): Sighting => ({
    renewTime: "t1",
    durationMs: 40_000,
    saidLost: false,
    aliveAt,
    unchangedSince: 0,
  });
  const decide = (hypervisor: Hypervisor, aliveAt: number | undefined, at: number) =>
    decideHypervisor(
      { hypervisor, sighting: sighting(aliveAt), lease: lease("t1", 40) },
      { wall: NOW, monotonic: at },
    );

  test("that is alive is looked at again when it would be lost", () => {
    expect(decide(hypervisorWith(), 1000, 11_000)).toEqual({ kind: "alive", forMs: 30_000 });
  });

  test("that is back is left to its agent to say so", () => {
    expect(decide(lostHypervisor(), 1000, 1000)).toEqual({ kind: "alive", forMs: 40_000 });
  });

  test("that is lost becomes Unknown with what to do about it, and an event", () => {
    const decision = decide(hypervisorWith(), 0, 40_000);
    const message =
      "The node's agent has not renewed Lease vireo-system/node-1 for 40 s. Guests may still run. If the node is gone for good, delete this Hypervisor.";
    expect(decision).toMatchObject({
      kind: "losing",
      status: { conditions: [{ type: "Ready", status: "Unknown", reason: "HeartbeatLost", message }] },
      announcements: [{ type: "Warning", reason: "HeartbeatLost", message }],
    });
    if (decision.kind !== "losing") throw new Error("not losing");
    const written = hypervisorWith({ conditions: [...decision.status.conditions] });
    expect(isLost(written)).toBe(true);
    expect(decide(written, 0, 50_000)).toEqual({ kind: "lost" });
  });
});

describe("A Hypervisor that is lost", () => {
  const silent = readyCondition("Unknown", "HeartbeatLost");
  const fencedBy = (reason: string) => ({ ...readyCondition("True", reason), type: "Fenced" });
  const watchdog = { graceSeconds: 40, timeoutSeconds: 60 };
  const taken = (): Lease => {
    const held = lease("t1", 40);
    return { ...held, spec: { ...held.spec, holderIdentity: "vireo.dev/fenced" } };
  };
  interface Given {
    readonly status?: Partial<NonNullable<Hypervisor["status"]>>;
    readonly outOfService?: boolean;
    readonly lease?: Lease;
    readonly aliveAt?: number;
    readonly unchangedSince?: number;
  }
  const at = (monotonic: number, given: Given) => {
    const { status, outOfService = false, aliveAt, unchangedSince = 0 } = given;
    const hypervisor = hypervisorWith({ conditions: [silent], ...status }, {}, { outOfService });
    const sighting = { renewTime: "t1", durationMs: 40_000, saidLost: true, aliveAt, unchangedSince };
    const facts = { hypervisor, sighting, lease: given.lease ?? lease("t1", 40) };
    const decision = decideHypervisor(facts, { wall: NOW, monotonic });
    const reason = decision.kind === "say-fenced" ? ` ${decision.conditions[0]?.reason}` : "";
    const after = "forMs" in decision && decision.forMs !== undefined ? ` ${decision.forMs}` : "";
    return `${decision.kind}${reason}${after}`;
  };
  const selfFencing = { status: { selfFencing: watchdog } };
  const said = (reason: string) => ({ selfFencing: watchdog, conditions: [silent, fencedBy(reason)] });

  test.each<[string, string, number, Given]>([
    ["and nobody says more is left alone", "lost", 1_000_000, {}],
    ["and said to be off has its Lease taken", "fence", 0, { outOfService: true }],
    [
      "and said to be off is said to be fenced when its Lease is taken",
      "say-fenced OutOfService",
      0,
      { outOfService: true, lease: taken() },
    ],
    [
      "with a watchdog is waited for until that has run out, and ten seconds more",
      "lost 1",
      169_999,
      selfFencing,
    ],
    ["with a watchdog has its Lease taken then", "fence", 170_000, selfFencing],
    [
      "with a watchdog is waited for from the first look of a process that was just started",
      "lost 170000",
      500_000,
      { ...selfFencing, unchangedSince: 500_000 },
    ],
    [
      "with a watchdog is waited for also when its Lease was taken for another reason, which is gone",
      "lift",
      500_000,
      { status: said("OutOfService"), lease: taken(), unchangedSince: 500_000 },
    ],
    [
      "and fenced by its watchdog stays so while its Lease is taken, whoever looks",
      "lost",
      500_000,
      { status: said("SelfFenced"), lease: taken(), unchangedSince: 500_000 },
    ],
    [
      "and fenced by its watchdog is not any more when it has renewed since",
      "lift",
      500_000,
      { status: said("SelfFenced"), unchangedSince: 500_000 },
    ],
    [
      "and no longer said to be off is not fenced any more",
      "lift",
      0,
      { status: { conditions: [silent, fencedBy("OutOfService")] }, lease: taken() },
    ],
    [
      "and gives signs of life again is not fenced any more",
      "lift",
      1_000,
      { status: said("SelfFenced"), aliveAt: 1_000 },
    ],
  ])("%s", (_, expected, monotonic, given) => {
    expect(at(monotonic, given)).toBe(expected);
  });
});

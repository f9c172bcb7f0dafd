import { describe, expect, test } from "@jest/globals";
import { findCondition } from "../../../src/api/condition.ts";
import type { FloatingIp } from "../../../src/api/floating-ip.ts";
import type { Candidate } from "../../../src/controllers/floating-ip/claim.ts";
import { decideFloatingIp, type FloatingIpDecision } from "../../../src/controllers/floating-ip/decide.ts";
import type { FloatingIpFacts } from "../../../src/controllers/floating-ip/observe.ts";
import {
  candidate,
  claimOf,
  factsOf,
  floatingIpWith,
  heldBy,
  poolWith,
  type Status,
} from "./floating-objects.ts";
import { NOW } from "./objects.ts";

const { healthy, crashed, halted, onSilentNode, notTaken } = candidate;
const ADDRESS = "203.0.113.0";

const kindsOf = ({ steps }: FloatingIpDecision): readonly string[] => steps.map(({ kind }) => kind);

const statusIn = ({ steps }: FloatingIpDecision): Status | undefined =>
  steps.flatMap((step) => (step.kind === "apply-status" ? [step.status] : []))[0];

const eventsIn = ({ steps }: FloatingIpDecision): readonly string[] =>
  steps.flatMap((step) =>
    step.kind === "announce" ? [`${step.announcement.reason}: ${step.announcement.message}`] : [],
  );

/** "True Reachable", as the status that is written says, or the stored one when none is. */
const readyIn = (decision: FloatingIpDecision, stored?: FloatingIp): string => {
  const condition = findCondition((statusIn(decision) ?? stored?.status)?.conditions, "Ready");
  return `${condition?.status} ${condition?.reason}`;
};

describe("The machine that has a floating address", () => {
  const { failback: _, ...base } = floatingIpWith().spec;
  const claimed = (machine: string | undefined, failback: "Never" | "Prefer" = "Never"): FloatingIp =>
    floatingIpWith(
      { ...base, failback },
      { address: ADDRESS, ...(machine !== undefined && { claim: claimOf(machine) }) },
    );
  const a = "web-0";
  const b = "web-1";

  test.each<[string, FloatingIp, readonly Candidate[], string | undefined, string | undefined]>([
    ["is the first that is healthy", claimed(undefined), [healthy(a), healthy(b)], a, undefined],
    ["is the second when the first is not", claimed(undefined), [crashed(a), healthy(b)], b, undefined],
    ["is none when none is healthy", claimed(undefined), [crashed(a), halted(b)], undefined, undefined],
    ["stays the same while it is healthy", claimed(a), [healthy(a), healthy(b)], a, undefined],
    [
      "stays the same when an earlier one is back (Never)",
      claimed(b),
      [healthy(a), healthy(b)],
      b,
      undefined,
    ],
    [
      "is the earlier one that is back (Prefer)",
      claimed(b, "Prefer"),
      [healthy(a), healthy(b)],
      a,
      "Failback",
    ],
    [
      "stays the same while the earlier is not back (Prefer)",
      claimed(b, "Prefer"),
      [crashed(a), healthy(b)],
      b,
      undefined,
    ],
    ["is the next when it crashes", claimed(a), [crashed(a), healthy(b)], b, "MachineNotRunning"],
    ["is the next when it is halted", claimed(a), [halted(a), healthy(b)], b, "MachineHalted"],
    ["is the next when its node is silent", claimed(a), [onSilentNode(a), healthy(b)], b, "NodeSilent"],
    [
      "is the next when its node does not take the address",
      claimed(a),
      [notTaken(a), healthy(b)],
      b,
      "NotTaken",
    ],
    ["keeps it after a crash when there is no other", claimed(a), [crashed(a), crashed(b)], a, undefined],
    ["keeps it on a silent node when there is no other", claimed(a), [onSilentNode(a)], a, undefined],
    ["loses it when it is halted, also to nobody", claimed(a), [halted(a), crashed(b)], undefined, undefined],
    [
      "is one on a node that is passed over rather than none",
      claimed(undefined),
      [notTaken(a), crashed(b)],
      a,
      undefined,
    ],
    [
      "does not go back to a node that is passed over (Prefer)",
      claimed(b, "Prefer"),
      [onSilentNode(a), healthy(b)],
      b,
      undefined,
    ],
    ["loses it when it is no longer a target", claimed("web-9"), [healthy(a)], a, "TargetsChanged"],
  ])("%s", (_, floatingIp, candidates, machine, reason) => {
    const present =
      candidates.find(({ name }) => name === floatingIp.status?.claim?.machine) ??
      (floatingIp.status?.claim && healthy(floatingIp.status.claim.machine));
    const decision = decideFloatingIp(factsOf(floatingIp, candidates, { present }), NOW);
    expect((statusIn(decision) ?? floatingIp.status)?.claim?.machine).toBe(machine);
    const counted = decision.steps.flatMap((step) => (step.kind === "count-failover" ? [step.reason] : []));
    expect(counted[0]).toBe(reason);
    expect(statusIn(decision)?.failovers).toBe(reason === undefined ? undefined : 1);
  });

  test("is told with where it was and why it moved", () => {
    const decision = decideFloatingIp(factsOf(claimed(a), [halted(a), healthy(b)]), NOW);
    expect(eventsIn(decision)).toEqual([
      "FailedOver: 203.0.113.0 goes from web-0 on node node-0 to web-1 on node node-1, because web-0 is halted.",
    ]);
  });

  test("that is on another node now is followed, which is no failover", () => {
    const there: Candidate = {
      ...healthy(a),
      verdict: { kind: "healthy", claim: { ...claimOf(a), nodeName: "node-7" } },
    };
    const decision = decideFloatingIp(factsOf(claimed(a), [there]), NOW);
    expect(statusIn(decision)?.claim?.nodeName).toBe("node-7");
    expect(statusIn(decision)?.failovers).toBeUndefined();
    expect(eventsIn(decision)).toEqual([
      "Followed: 203.0.113.0 follows web-0 from node node-0 to node node-7.",
    ]);
  });
});

describe("Ready of a FloatingIP", () => {
  const at = (machine: string, holder: string | undefined): FloatingIp =>
    floatingIpWith(
      {},
      { address: ADDRESS, claim: claimOf(machine), ...(holder !== undefined && { holder: heldBy(holder) }) },
    );

  test.each<[string, FloatingIp, readonly Candidate[], Partial<FloatingIpFacts>, string]>([
    [
      "is True when the node of a healthy machine answers",
      at("web-0", "node-0"),
      [healthy("web-0")],
      {},
      "True Reachable",
    ],
    ["is False while no node answers", at("web-0", undefined), [healthy("web-0")], {}, "False Moving"],
    ["is False while another node answers", at("web-0", "node-1"), [healthy("web-0")], {}, "False Moving"],
    [
      "is False when the machine has crashed",
      at("web-0", "node-0"),
      [crashed("web-0")],
      {},
      "False NoHealthyTarget",
    ],
    [
      "is False when the node is silent",
      at("web-0", "node-0"),
      [onSilentNode("web-0")],
      { holderIsFenced: true },
      "False NoHealthyTarget",
    ],
    [
      "is False when no machine has the labels",
      floatingIpWith({}, { address: ADDRESS }),
      [],
      {},
      "False NoHealthyTarget",
    ],
    [
      "is False for the younger of two with one address",
      at("web-0", "node-0"),
      [healthy("web-0")],
      { rival: { name: "default/old", isOlder: true } },
      "False AddressConflict",
    ],
    [
      "is True for the older of two with one address",
      at("web-0", "node-0"),
      [healthy("web-0")],
      { rival: { name: "default/new", isOlder: false } },
      "True Reachable",
    ],
  ])("%s", (_, floatingIp, candidates, changes, expected) => {
    expect(readyIn(decideFloatingIp(factsOf(floatingIp, candidates, changes), NOW))).toBe(expected);
  });

  test("the younger of two with one address gives its claim up, and both tell", () => {
    const younger = factsOf(at("web-0", "node-0"), [healthy("web-0")], {
      rival: { name: "a/b", isOlder: true },
    });
    const older = factsOf(at("web-0", "node-0"), [healthy("web-0")], {
      rival: { name: "a/b", isOlder: false },
    });
    for (const facts of [younger, older])
      expect(
        findCondition(statusIn(decideFloatingIp(facts, NOW))?.conditions, "AddressConflict")?.status,
      ).toBe("True");
    expect(statusIn(decideFloatingIp(younger, NOW))?.claim).toBeUndefined();
    expect(statusIn(decideFloatingIp(older, NOW))?.claim).toEqual(claimOf("web-0"));
  });
});

describe("The address of a FloatingIP", () => {
  const facts = (spec: Partial<FloatingIp["spec"]>, address: Partial<FloatingIpFacts["address"]>) => {
    const base = factsOf(floatingIpWith(spec), [healthy("web-0")]);
    return { ...base, address: { ...base.address, ...address } };
  };

  test.each<[string, FloatingIpFacts, string | undefined, string]>([
    ["is the lowest free one of the pool", facts({}, {}), ADDRESS, "False Moving"],
    ["is the one that is asked for", facts({ address: "203.0.113.5" }, {}), "203.0.113.5", "False Moving"],
    [
      "is the one that was decided before, whatever is free",
      facts({}, { reserved: "203.0.113.9" }),
      "203.0.113.9",
      "False Moving",
    ],
    ["is none without the pool", facts({}, { pool: undefined }), undefined, "False PoolNotFound"],
    [
      "is none of a pool that is being deleted",
      facts({}, { pool: poolWith({}, { deletionTimestamp: "2026-01-01T00:00:00Z" }) }),
      undefined,
      "False PoolNotFound",
    ],
    ["is none of a pool that is exhausted", facts({}, { free: undefined }), undefined, "False PoolExhausted"],
    [
      "is not one that another has",
      facts({ address: "203.0.113.5" }, { takenBy: "default/old" }),
      undefined,
      "False AddressTaken",
    ],
    [
      "is not one outside the pool",
      facts({ address: "198.51.100.1" }, {}),
      undefined,
      "False AddressNotInPool",
    ],
    [
      "is not one that the pool excludes",
      facts({ address: "203.0.113.5" }, { pool: poolWith({ exclude: ["203.0.113.5"] }) }),
      undefined,
      "False AddressNotInPool",
    ],
    [
      "is none while it is not known which are taken",
      facts({}, { unreadable: 1 }),
      undefined,
      "False UnreadableFloatingIPs",
    ],
  ])("%s", (_, given, address, ready) => {
    const decision = decideFloatingIp(given, NOW);
    expect(decision.reserve).toBe(address);
    expect(statusIn(decision)?.address).toBe(address);
    expect(readyIn(decision)).toBe(ready);
  });

  test("that another has is told with whose it is", () => {
    const decision = decideFloatingIp(facts({ address: "203.0.113.5" }, { takenBy: "shop/old" }), NOW);
    expect(eventsIn(decision)).toEqual([
      "AddressTaken: FloatingIP shop/old has 203.0.113.5. Delete that one, or make a FloatingIP with another address.",
    ]);
  });

  test("is kept when the pool is gone", () => {
    const floatingIp = floatingIpWith({}, { address: ADDRESS });
    const base = factsOf(floatingIp, [healthy("web-0")]);
    const decision = decideFloatingIp({ ...base, address: { ...base.address, pool: undefined } }, NOW);
    expect(statusIn(decision)).toMatchObject({ address: ADDRESS, claim: { machine: "web-0" } });
  });

  test("is written after the finalizer", () => {
    const bare = floatingIpWith({}, undefined, { finalizers: ["example.com/other"] });
    const decision = decideFloatingIp(factsOf(bare, [healthy("web-0")]), NOW);
    expect(decision.steps[0]).toEqual({
      kind: "write-finalizers",
      finalizers: ["example.com/other", "vireo.dev/floating-ip"],
    });
    expect(decision.steps[1]?.kind).toBe("apply-status");
  });
});

describe("A node that answers", () => {
  const moving = (changes: Partial<FloatingIpFacts>) =>
    factsOf(
      floatingIpWith({}, { address: ADDRESS, claim: claimOf("web-0"), holder: heldBy("node-0") }),
      [halted("web-0"), healthy("web-1")],
      changes,
    );

  test("loses its claim at once, and is left to withdraw while it lives", () => {
    expect(kindsOf(decideFloatingIp(moving({}), NOW))).toEqual([
      "apply-status",
      "announce",
      "count-failover",
    ]);
  });

  test("and is silent for too long is taken for gone in the pass that moves the claim", () => {
    const decision = decideFloatingIp(moving({ holderIsFenced: true }), NOW);
    expect(kindsOf(decision)).toEqual(["apply-status", "announce", "count-failover", "clear-holder"]);
    expect(statusIn(decision)?.claim?.machine).toBe("web-1");
  });

  test("ends the time of a failover", () => {
    const there = floatingIpWith({}, { address: ADDRESS, claim: claimOf("web-0"), holder: heldBy("node-0") });
    const facts = factsOf(there, [healthy("web-0")], { move: { causedAt: 7 } });
    expect(decideFloatingIp(facts, NOW).steps).toContainEqual({ kind: "finish-failover", causedAt: 7 });
  });

  test("has six seconds to take what it is given", () => {
    const offered = floatingIpWith({}, { address: ADDRESS, claim: claimOf("web-0") });
    const facts = factsOf(offered, [healthy("web-0"), healthy("web-1")], { notTakenForMs: 1_000 });
    expect(decideFloatingIp(facts, NOW).requeueAfterMs).toBe(5_000);
  });

  test("that is passed over is told, and looked at again when its time is over", () => {
    const facts = factsOf(floatingIpWith({}, { address: ADDRESS }), [notTaken("web-0"), healthy("web-1")]);
    const decision = decideFloatingIp(facts, NOW);
    expect(decision.requeueAfterMs).toBe(50_000);
    expect(findCondition(statusIn(decision)?.conditions, "NodePassedOver")).toMatchObject({
      reason: "NotTaken",
      message:
        "Other nodes are preferred for a minute: node node-0 was given the address and did not take it.",
    });
  });
});

describe("A FloatingIP that is deleted", () => {
  const leaving = (
    status: Status | undefined,
    changes: Partial<FloatingIpFacts> = {},
    finalizers = ["vireo.dev/floating-ip"],
  ) =>
    decideFloatingIp(
      factsOf(
        floatingIpWith({}, status, { deletionTimestamp: "2026-01-01T00:00:00Z", finalizers }),
        [healthy("web-0")],
        changes,
      ),
      NOW,
    );

  test("first loses its claim, and waits for the node that answers", () => {
    const decision = leaving({ address: ADDRESS, claim: claimOf("web-0"), holder: heldBy("node-0") });
    expect(kindsOf(decision)).toEqual(["apply-status", "announce"]);
    expect(statusIn(decision)).toMatchObject({ address: ADDRESS });
    expect(statusIn(decision)?.claim).toBeUndefined();
  });

  test("goes when no node answers", () => {
    expect(kindsOf(leaving({ address: ADDRESS }))).toEqual(["write-finalizers"]);
  });

  test("goes when the node that answered is fenced", () => {
    const decision = leaving({ address: ADDRESS, holder: heldBy("node-0") }, { holderIsFenced: true });
    expect(kindsOf(decision).slice(-2)).toEqual(["clear-holder", "write-finalizers"]);
  });

  test("goes at once when nothing was given to it", () => {
    expect(kindsOf(leaving(undefined))).toEqual(["write-finalizers"]);
  });

  test("is left alone when others' finalizers hold it", () => {
    expect(leaving({ address: ADDRESS }, {}, ["example.com/other"]).steps).toEqual([]);
  });
});

import { describe, expect, test } from "@jest/globals";
import { FLOATING_FENCED_AFTER_MS } from "../../../src/api/floating-ip.ts";
import { createFloatingNodes, PASS_OVER_MS } from "../../../src/controllers/floating-ip/nodes.ts";
import { nodeOfLease } from "../../../src/controllers/floating-ip/fence.ts";
import type { Lease } from "../../../src/kube/index.ts";
import { ManualClock } from "../../fakes/manual-clock.ts";

const NODE = "node-1";

const lease = (renewTime: string): Lease => ({
  apiVersion: "coordination.k8s.io/v1",
  kind: "Lease",
  metadata: {
    name: `floating-${NODE}`,
    namespace: "vireo-system",
    uid: "145484f2-8d1a-4016-aef2-d8fe7e21ccff",
    resourceVersion: "1",
    creationTimestamp: "2026-01-01T00:00:00Z",
  },
  spec: { renewTime },
});

const world = () => {
  const clock = new ManualClock();
  return { clock, nodes: createFloatingNodes(clock) };
};

describe("A node that answers for addresses", () => {
  test("has the whole time from when it was first seen, however old its Lease is", async () => {
    const { clock, nodes } = world();
    await clock.advance(100_000);
    nodes.sawLease(NODE, lease("2020-01-01T00:00:00Z"));
    expect(nodes.fencedInMs(NODE)).toBe(FLOATING_FENCED_AFTER_MS);
  });

  test("has the whole time from each renewal that was seen", async () => {
    const { clock, nodes } = world();
    nodes.sawLease(NODE, lease("a"));
    await clock.advance(4_000);
    nodes.sawLease(NODE, lease("b"));
    expect(nodes.fencedInMs(NODE)).toBe(FLOATING_FENCED_AFTER_MS);
  });

  test("gains nothing by a Lease that is the same", async () => {
    const { clock, nodes } = world();
    nodes.sawLease(NODE, lease("a"));
    await clock.advance(4_000);
    nodes.sawLease(NODE, lease("a"));
    nodes.sawLease(NODE, undefined);
    expect(nodes.fencedInMs(NODE)).toBe(FLOATING_FENCED_AFTER_MS - 4_000);
  });

  test("has the whole time from when it took an address: one that had none does not renew", async () => {
    const { clock, nodes } = world();
    nodes.sawLease(NODE, lease("a"));
    await clock.advance(3_600_000);
    nodes.tookHold(NODE);
    expect(nodes.fencedInMs(NODE)).toBe(FLOATING_FENCED_AFTER_MS);
  });
});

describe("A node that was fenced", () => {
  test("is passed over for a while", async () => {
    const { clock, nodes } = world();
    nodes.fence(NODE);
    expect(nodes.isFenced(NODE)).toBe(true);
    expect(nodes.passedOver(NODE)).toEqual({ reason: "NodeSilent", forMs: PASS_OVER_MS });
    await clock.advance(PASS_OVER_MS);
    expect(nodes.passedOver(NODE)).toBeUndefined();
    expect(nodes.isFenced(NODE)).toBe(true);
  });

  test.each<[string, (nodes: ReturnType<typeof createFloatingNodes>) => void]>([
    ["renews its Lease", (nodes) => nodes.sawLease(NODE, lease("b"))],
    ["takes an address", (nodes) => nodes.tookHold(NODE)],
  ])("is trusted again when it %s", (_, act) => {
    const { nodes } = world();
    nodes.sawLease(NODE, lease("a"));
    nodes.fence(NODE);
    act(nodes);
    expect(nodes.isFenced(NODE)).toBe(false);
    expect(nodes.passedOver(NODE)).toBeUndefined();
  });
});

describe("A node that did not take an address", () => {
  test("is passed over although it renews its Lease, until it takes one", () => {
    const { nodes } = world();
    nodes.sawLease(NODE, lease("a"));
    nodes.passOver(NODE, "NotTaken");
    nodes.sawLease(NODE, lease("b"));
    expect(nodes.passedOver(NODE)?.reason).toBe("NotTaken");
    nodes.tookHold(NODE);
    expect(nodes.passedOver(NODE)).toBeUndefined();
  });
});

test.each([
  ["floating-node-1", "node-1"],
  ["node-1", undefined],
  ["vireo-controller", undefined],
])("Lease %s is that of the floating addresses of node %s", (name, node) => {
  expect(nodeOfLease({ namespace: "vireo-system", name })).toBe(node);
});

import { describe, expect, test } from "@jest/globals";
import { FLOATING_FENCED_AFTER_MS, type FloatingIp } from "../../../src/api/floating-ip.ts";
import type { ControllerContext } from "../../../src/controllers/context.ts";
import { createFence } from "../../../src/controllers/floating-ip/fence.ts";
import { createFloatingNodes } from "../../../src/controllers/floating-ip/nodes.ts";
import { createControllerMetrics } from "../../../src/controllers/metrics.ts";
import { BY_HOLDER, createStores, floatingIpIndexes } from "../../../src/controllers/stores.ts";
import { ApiError, createMetrics, FENCED, type Lease, silentLogger } from "../../../src/kube/index.ts";
import { ManualClock } from "../../fakes/manual-clock.ts";
import { claimOf, floatingIpWith, heldBy } from "./floating-objects.ts";
import { storeOf } from "./still-store.ts";

const NODE = "node-0";

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

/** The fence over a watch that showed the renewal "a" and nothing since. */
const watchOver = (
  floatingIps: readonly FloatingIp[],
  answers: (lease: Lease) => Promise<Lease>,
  isRenewedMeanwhile = (): boolean => false,
) => {
  const clock = new ManualClock();
  const nodes = createFloatingNodes(clock);
  const fenced: number[] = [];
  const patches: object[] = [];
  let asked = 0;
  const runtime = createMetrics();
  const refuse = (): never => {
    throw new Error("the fence writes nothing but its patch");
  };
  const client: ControllerContext["client"] = {
    // The one Lease there is, whatever is asked for.
    get: async (resource) => {
      asked += 1;
      return resource.parse(await answers(lease("a")));
    },
    list: refuse,
    listRaw: refuse,
    watch: refuse,
    create: refuse,
    apply: refuse,
    applyStatus: refuse,
    mergePatch: (resource, _, patch) => {
      if (isRenewedMeanwhile())
        return Promise.reject(new ApiError("patch Lease", 409, { message: "changed" }));
      patches.push(patch);
      return Promise.resolve(resource.parse({ ...lease("a"), ...patch, metadata: lease("a").metadata }));
    },
    delete: refuse,
    close: () => Promise.resolve(),
  };
  const metrics = { ...runtime, ...createControllerMetrics(runtime.registry) };
  const context: ControllerContext = {
    client,
    clock,
    metrics,
    logger: silentLogger,
    events: { event: () => {}, flush: () => Promise.resolve() },
    stores: {
      ...createStores({ client, clock, metrics, logger: silentLogger }),
      floatingIps: storeOf(floatingIps, floatingIpIndexes),
      leases: storeOf([lease("a")]),
    },
  };
  nodes.sawLease(NODE, lease("a"));
  const fence = createFence(context, nodes, () => fenced.push(clock.monotonic()));
  const life = new AbortController();
  const ended = fence.run(life.signal);
  return {
    clock,
    fenced,
    patches,
    asked: () => asked,
    stop: async () => {
      life.abort();
      await ended;
    },
  };
};

const held = floatingIpWith({}, { address: "203.0.113.0", claim: claimOf("web-0"), holder: heldBy(NODE) });

describe("A node that holds an address and is silent", () => {
  test("is fenced at the very moment when its addresses have run out, and not before", async () => {
    const world = watchOver([held], (same) => Promise.resolve(same));
    await world.clock.advance(FLOATING_FENCED_AFTER_MS - 1);
    expect([world.fenced, world.asked()]).toEqual([[], 0]);
    await world.clock.advance(60_000);
    expect(world.fenced).toEqual([FLOATING_FENCED_AFTER_MS]);
    expect(world.patches).toMatchObject([
      { metadata: { resourceVersion: "1" }, spec: { holderIdentity: FENCED } },
    ]);
    await world.stop();
  });

  test("is not fenced when it renews while its Lease is taken", async () => {
    let renewals = 0;
    const world = watchOver(
      [held],
      (same) => Promise.resolve(renewals === 0 ? same : lease("b")),
      () => (renewals += 1) === 1,
    );
    await world.clock.advance(2 * FLOATING_FENCED_AFTER_MS - 1);
    expect([world.fenced, world.patches]).toEqual([[], []]);
    await world.stop();
  });

  test("is not fenced while the API server shows renewals that the watch does not", async () => {
    let renewals = 0;
    const world = watchOver([held], () => Promise.resolve(lease(`b${(renewals += 1)}`)));
    await world.clock.advance(10 * FLOATING_FENCED_AFTER_MS);
    expect(world.fenced).toEqual([]);
    expect(world.asked()).toBe(10);
    await world.stop();
  });

  test("is not fenced while the API server does not answer, and then soon", async () => {
    let isBack = false;
    const world = watchOver([held], (same) =>
      isBack ? Promise.resolve(same) : Promise.reject(new Error("no answer")),
    );
    await world.clock.advance(60_000);
    expect(world.fenced).toEqual([]);
    isBack = true;
    await world.clock.advance(1_500);
    expect(world.fenced).toHaveLength(1);
    await world.stop();
  });
});

test("A node that holds nothing may be as silent as it likes", async () => {
  const free = floatingIpWith({}, { address: "203.0.113.0", claim: claimOf("web-0") });
  expect(floatingIpIndexes[BY_HOLDER](free)).toEqual([]);
  const world = watchOver([free], (same) => Promise.resolve(same));
  await world.clock.advance(3_600_000);
  expect([world.fenced, world.asked()]).toEqual([[], 0]);
  await world.stop();
});

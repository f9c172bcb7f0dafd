import { type Hypervisor, hypervisors } from "../../api/hypervisor.ts";
import {
  type Controller,
  createController,
  done,
  isNotFound,
  keyOf,
  type ObjectKey,
  type ReconcileResult,
  requeueAfter,
} from "../../kube/index.ts";
import type { Announcement } from "../announce.ts";
import type { ControllerContext, Stores } from "../context.ts";
import { applyStatus } from "../status-writer.ts";
import { decideHypervisor, type HypervisorDecision } from "./decide.ts";
import type { Sighting } from "./heartbeat.ts";
import { type HypervisorFacts, observeHypervisor } from "./observe.ts";
import { takeLease } from "./take-lease.ts";

/** Notices nodes whose heartbeat stops. What follows for their machines is the machines' controller's part. */
export const createHypervisorController = (context: ControllerContext): Controller => {
  const { stores, clock, logger, metrics } = context;
  const sightings = new Map<string, Sighting>();
  stores.hypervisors.onChange(({ before, after }) => {
    if (before !== undefined && before.metadata.uid !== after?.metadata.uid)
      sightings.delete(before.metadata.uid);
  });
  return createController({
    name: "hypervisor",
    logger,
    metrics,
    clock,
    watches: [
      { store: stores.hypervisors },
      { store: stores.leases, map: ({ key }) => nodesOf(stores, key.name) },
    ],
    reconcile: async (key, signal) => {
      const facts = observeHypervisor(stores, key, sightings, clock.monotonic());
      if (facts === undefined) return done;
      const now = { wall: new Date(clock.now()), monotonic: clock.monotonic() };
      return carryOut(context, facts, decideHypervisor(facts, now), signal);
    },
  });
};

/** After the Lease has turned out to be renewed while it was to be taken. */
const LOOK_AGAIN_MS = 1_000;

const carryOut = async (
  context: ControllerContext,
  facts: HypervisorFacts,
  decision: HypervisorDecision,
  signal: AbortSignal,
): Promise<ReconcileResult> => {
  const { client, stores, logger } = context;
  const { hypervisor } = facts;
  const write = { client, resource: hypervisors, store: stores.hypervisors, signal };
  switch (decision.kind) {
    case "alive":
      return requeueAfter(decision.forMs);
    case "lost":
      return decision.forMs === undefined ? done : requeueAfter(decision.forMs);
    case "losing":
      await applyStatus(write, hypervisor, decision.status);
      tell(context, hypervisor, decision.announcements);
      return done;
    case "fence": {
      const isTaken = await takeLease(client, { ...facts, reason: decision.reason }, signal);
      if (!isTaken) return requeueAfter(LOOK_AGAIN_MS);
      logger.warn({ node: hypervisor.metadata.name, reason: decision.reason }, "the node is fenced");
      return done;
    }
    case "say-fenced":
      await sayFenced(context, hypervisor, { conditions: decision.conditions }, signal);
      tell(context, hypervisor, decision.announcements);
      return done;
    case "lift":
      await sayFenced(context, hypervisor, {}, signal);
      return done;
  }
};

const tell = (
  { events }: ControllerContext,
  hypervisor: Hypervisor,
  announcements: readonly Announcement[],
): void => {
  for (const { type, reason, message } of announcements) events.event(hypervisor, type, reason, message);
};

/** Who says Fenced: another than who says Ready, so that neither takes the other's word away. */
const FENCE_MANAGER = "vireo-controller-fence";

const sayFenced = async (
  { client, stores }: ControllerContext,
  { metadata: { name, resourceVersion } }: Hypervisor,
  status: object,
  signal: AbortSignal,
): Promise<void> => {
  const options = { fieldManager: FENCE_MANAGER, force: true, signal };
  try {
    const written = await client.applyStatus(
      hypervisors,
      { metadata: { name, resourceVersion }, status },
      options,
    );
    await stores.hypervisors.whenSeen(written.metadata.resourceVersion, signal);
  } catch (error) {
    if (!isNotFound(error)) throw error;
  }
};

/**
 * The node whose heartbeat the Lease is. Those by which nodes hold floating
 * addresses are renewed more often, and are nobody's heartbeat.
 */
const nodesOf = (stores: Stores, leaseName: string): readonly ObjectKey[] =>
  stores.hypervisors
    .list()
    .filter(({ metadata }) => metadata.name === leaseName)
    .map(keyOf);

import { hypervisors } from "../../api/hypervisor.ts";
import {
  type Controller,
  createController,
  done,
  keyOf,
  type ObjectKey,
  requeueAfter,
} from "../../kube/index.ts";
import type { ControllerContext, Stores } from "../context.ts";
import { applyStatus } from "../status-writer.ts";
import { decideHypervisor } from "./decide.ts";
import type { Sighting } from "./heartbeat.ts";
import { observeHypervisor } from "./observe.ts";

/** Notices nodes whose heartbeat stops. What follows for their machines is the machines' controller's part. */
export const createHypervisorController = (context: ControllerContext): Controller => {
  const { client, stores, events, clock, logger, metrics } = context;
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
      const { hypervisor } = facts;
      const now = { wall: new Date(clock.now()), monotonic: clock.monotonic() };
      const decision = decideHypervisor(facts, now);
      if (decision.kind === "alive") return requeueAfter(decision.forMs);
      if (decision.kind === "lost") return done;
      const write = { client, resource: hypervisors, store: stores.hypervisors, signal };
      await applyStatus(write, hypervisor, decision.status);
      for (const { type, reason, message } of decision.announcements)
        events.event(hypervisor, type, reason, message);
      return done;
    },
  });
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

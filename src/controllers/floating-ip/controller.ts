import { type Controller, createController, done, requeueAfter, runTogether } from "../../kube/index.ts";
import type { ControllerContext } from "../context.ts";
import { applyFloatingIp } from "./apply.ts";
import { decideFloatingIp } from "./decide.ts";
import { createFence, nodeOfLease } from "./fence.ts";
import { createFloatingMemory } from "./memory.ts";
import { observeFloatingIp } from "./observe.ts";
import {
  floatingIpsAfterFloatingIp,
  floatingIpsAfterHypervisor,
  floatingIpsAfterMachine,
  floatingIpsAfterPool,
  floatingIpsAroundNode,
} from "./watches.ts";

/** A node that dies may have held hundreds of addresses. */
const WORKERS = 16;
/** Somebody is not reachable while this waits. */
const BACKOFF = { initialMs: 50, maxMs: 5_000 };

/**
 * Gives out floating addresses, says which node is to answer for each, and takes
 * them from nodes that are silent. docs/floating-ips.md tells what users see,
 * docs/design/controllers.md why no two nodes answer.
 */
export const createFloatingIpController = (context: ControllerContext): Controller => {
  const { stores, clock, logger, metrics } = context;
  const memory = createFloatingMemory(stores.floatingIps, clock);
  const controller = createController({
    name: "floating-ip",
    workers: WORKERS,
    backoff: BACKOFF,
    logger,
    metrics,
    clock,
    watches: [
      { store: stores.floatingIps, map: (change) => floatingIpsAfterFloatingIp(stores, change) },
      { store: stores.virtualMachines, map: (change) => floatingIpsAfterMachine(stores, change) },
      { store: stores.hypervisors, map: (change) => floatingIpsAfterHypervisor(stores, change) },
      { store: stores.floatingIpPools, map: (change) => floatingIpsAfterPool(stores, change) },
    ],
    reconcile: async (key, signal) => {
      const facts = observeFloatingIp(stores, memory, clock, key);
      if (facts === undefined) return done;
      const decision = decideFloatingIp(facts, new Date(clock.now()));
      await applyFloatingIp({ ...context, memory }, facts.floatingIp, decision, signal);
      return decision.requeueAfterMs === undefined ? done : requeueAfter(decision.requeueAfterMs);
    },
  });
  const lookAround = (node: string): void => {
    for (const key of floatingIpsAroundNode(stores, node)) controller.enqueue(key);
  };
  stores.leases.onChange(({ key, after }) => {
    const node = nodeOfLease(key);
    if (node === undefined) return;
    const wasAvoided = memory.nodes.passedOver(node) !== undefined;
    memory.nodes.sawLease(node, after);
    if (wasAvoided && memory.nodes.passedOver(node) === undefined) lookAround(node);
  });
  const fence = createFence(context, memory.nodes, lookAround);
  return {
    enqueue: (key) => controller.enqueue(key),
    enqueueAfter: (key, ms) => controller.enqueueAfter(key, ms),
    run: (signal) =>
      runTogether({ fence: (task) => fence.run(task), addresses: (task) => controller.run(task) }, signal),
  };
};

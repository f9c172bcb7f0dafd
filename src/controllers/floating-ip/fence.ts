import { floatingLeaseName } from "../../api/floating-ip.ts";
import { SYSTEM_NAMESPACE } from "../../api/hypervisor.ts";
import {
  type Controller,
  createController,
  done,
  leases,
  type ObjectKey,
  requeueAfter,
} from "../../kube/index.ts";
import type { ControllerContext } from "../context.ts";
import { BY_HOLDER } from "../stores.ts";
import type { FloatingNodes } from "./nodes.ts";

/** The API server is asked soon again: nobody answers for the addresses meanwhile. */
const BACKOFF = { initialMs: 50, maxMs: 1_000 };

const PREFIX = floatingLeaseName("");

/** The node whose floating Lease that is; undefined for other Leases. */
export const nodeOfLease = ({ name }: ObjectKey): string | undefined =>
  name.startsWith(PREFIX) ? name.slice(PREFIX.length) : undefined;

/**
 * One timer for each node that answers for addresses, set to the moment when
 * they have run out if it stays silent. It then asks the API server once more:
 * a watch may be late without anybody noticing, and what was taken from a node
 * that is alive would be answered for twice.
 *
 * @param onFenced called with the node, after which it is known to be fenced
 */
export const createFence = (
  { client, stores, clock, logger, metrics }: ControllerContext,
  nodes: FloatingNodes,
  onFenced: (node: string) => void,
): Controller =>
  createController({
    name: "floating-node",
    backoff: BACKOFF,
    logger,
    metrics,
    clock,
    watches: [
      {
        store: stores.floatingIps,
        map: ({ after }) => {
          const node = after?.status?.holder?.nodeName;
          return node === undefined ? [] : [{ name: node }];
        },
      },
      {
        store: stores.leases,
        map: ({ key }) => {
          const node = nodeOfLease(key);
          return node === undefined ? [] : [{ name: node }];
        },
      },
    ],
    reconcile: async ({ name: node }, signal) => {
      if (stores.floatingIps.byIndex(BY_HOLDER, node).length === 0 || nodes.isFenced(node)) return done;
      const seemsAliveForMs = nodes.fencedInMs(node);
      if (seemsAliveForMs > 0) return requeueAfter(seemsAliveForMs);
      const key = { namespace: SYSTEM_NAMESPACE, name: floatingLeaseName(node) };
      nodes.sawLease(node, await client.get(leases, key, { signal }));
      const isAliveForMs = nodes.fencedInMs(node);
      if (isAliveForMs > 0) return requeueAfter(isAliveForMs);
      nodes.fence(node);
      logger.warn({ node }, "the node's floating addresses have run out; they are given to others");
      onFenced(node);
      return done;
    },
  });

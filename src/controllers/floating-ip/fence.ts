import { floatingLeaseName } from "../../api/floating-ip.ts";
import { SYSTEM_NAMESPACE } from "../../api/hypervisor.ts";
import {
  type Controller,
  createController,
  done,
  fenceLease,
  fenceMissingLease,
  leases,
  type ObjectKey,
  requeueAfter,
} from "../../kube/index.ts";
import type { ControllerContext } from "../context.ts";
import { BY_HOLDER } from "../stores.ts";
import type { FloatingNodes } from "./nodes.ts";

/** The API server is asked soon again: nobody answers for the addresses meanwhile. */
const BACKOFF = { initialMs: 50, maxMs: 1_000 };

/** After the Lease has turned out to be renewed while it was to be taken, in ms. */
const LOOK_AGAIN_MS = 50;

const PREFIX = floatingLeaseName("");

/** The node whose floating Lease that is; undefined for other Leases. */
export const nodeOfLease = ({ name }: ObjectKey): string | undefined =>
  name.startsWith(PREFIX) ? name.slice(PREFIX.length) : undefined;

/**
 * One timer for each node that answers for addresses, set to the moment when
 * they have run out if it stays silent. It then reads the Lease once more and
 * takes it from the node: a watch may be late without anybody noticing, and a
 * renewal may be under way. What was taken from a node that is alive, or that
 * does not know of it, would be answered for twice.
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
      const lease = await client.get(leases, key, { signal });
      nodes.sawLease(node, lease);
      const isAliveForMs = nodes.fencedInMs(node);
      if (isAliveForMs > 0) return requeueAfter(isAliveForMs);
      const isTaken =
        lease === undefined
          ? await fenceMissingLease(client, key, { signal })
          : await fenceLease(client, lease, { signal });
      // Renewed at this very moment: the next look finds out for how long.
      if (!isTaken) return requeueAfter(LOOK_AGAIN_MS);
      nodes.fence(node);
      logger.warn({ node }, "the node's floating addresses have run out; they are given to others");
      onFenced(node);
      return done;
    },
  });

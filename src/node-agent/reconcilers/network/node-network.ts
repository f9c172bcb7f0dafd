import { isTrue } from "../../../api/condition.ts";
import type { SecurityGroup } from "../../../api/security-group.ts";
import type { VirtualMachine } from "../../../api/virtual-machine.ts";
import {
  type Change,
  type Controller,
  createController,
  done,
  type Logger,
  type Metrics,
} from "../../../kube/index.ts";
import type { NetworkFacts } from "./cluster-network.ts";
import { type ClusterStores, whenClusterSynced } from "../../cluster-stores.ts";
import { coalesce } from "../../coalesce.ts";
import { placed } from "../../desired.ts";
import { desiredFilters } from "./desired-filters.ts";
import { desiredRoutes } from "./desired-routes.ts";
import type { EnforcedGroups } from "./enforced-groups.ts";
import type { Filters } from "../../filters/index.ts";
import type { FloatingObjects } from "../floating/floating-objects.ts";
import type { Links } from "../../links/index.ts";
import type { NetworkMetrics } from "../../metrics.ts";
import type { MachineView } from "../../report.ts";

export interface NodeNetworkOptions {
  readonly nodeName: string;
  readonly machines: Pick<MachineView, "get" | "list">;
  /** Machines that are on their way here. */
  readonly arriving?: () => readonly VirtualMachine[];
  readonly stores: ClusterStores;
  readonly links: Pick<Links, "syncNetworks">;
  readonly filters: Pick<Filters, "sync">;
  readonly enforced: EnforcedGroups;
  readonly vxlanPort: number;
  readonly tunnelAddress: () => string | undefined;
  /** Addresses of this node, and others that guests must not reach. */
  readonly nodeAddresses: () => readonly string[];
  readonly floatingObjects: Pick<FloatingObjects, "list" | "whenSynced" | "onChange">;
  readonly logger: Logger;
  readonly metrics: Metrics;
  readonly networkMetrics: NetworkMetrics;
}

/**
 * Routes and rules of this node as a whole: they follow from all its machines
 * and from objects of the cluster at once, so that one pass does for all that
 * ask at the same time.
 */
export interface NodeNetwork {
  /** Makes routes and rules equal to what the objects say. Awaited before a guest is started. */
  sync(): Promise<void>;
  /** The same, after a look at what really is on the host: finds what others have changed. */
  verify(): Promise<void>;
  /** Leaves a machine out from now on, until its object is gone. */
  leaveOut(vmUid: string): void;
  forget(vmUid: string): void;
  /** Follows Networks, groups and slices until the signal is aborted. */
  run(signal: AbortSignal): Promise<void>;
}

/** The whole of the node's network is one thing to work on. */
const KEY = { name: "node" };

export const createNodeNetwork = (options: NodeNetworkOptions, signal: AbortSignal): NodeNetwork => {
  const removed = new Set<string>();
  let verifyNext = true;
  const pass = async (): Promise<void> => {
    await whenClusterSynced(options.stores, signal);
    await options.floatingObjects.whenSynced(signal);
    const facts = factsOf(options, removed);
    const verify = verifyNext;
    verifyNext = false;
    try {
      await program(options, facts, verify, signal);
    } catch (error) {
      // Half a pass may have been made: what was known of the host no longer counts.
      verifyNext = true;
      throw error;
    }
  };
  const sync = coalesce(pass);
  const controller = followCluster(options, sync);
  return {
    sync,
    verify: () => {
      verifyNext = true;
      return sync();
    },
    leaveOut: (vmUid) => {
      if (options.machines.get(vmUid) !== undefined) removed.add(vmUid);
    },
    forget: (vmUid) => {
      removed.delete(vmUid);
    },
    run: async (runSignal) => {
      controller.enqueue(KEY);
      const stop = options.floatingObjects.onChange(() => controller.enqueue(KEY));
      await controller.run(runSignal).finally(stop);
    },
  };
};

const factsOf = (options: NodeNetworkOptions, removed: ReadonlySet<string>): NetworkFacts => {
  const { nodeName, vxlanPort, stores } = options;
  const newcomers = options.arriving?.() ?? [];
  const isHere = ({ metadata, status }: VirtualMachine): boolean =>
    !removed.has(metadata.uid) && !isTrue(status?.conditions, "Released");
  return {
    nodeName,
    vxlanPort,
    tunnelAddress: options.tunnelAddress(),
    nodeAddresses: options.nodeAddresses(),
    machines: options.machines
      .list()
      .filter(isHere)
      .flatMap((machine) => placed(machine) ?? []),
    newcomers: newcomers.flatMap((machine) => placed(machine) ?? []),
    arriving: newcomers
      .filter(({ metadata }) => options.machines.get(metadata.uid) === undefined)
      .flatMap((machine) => placed(machine) ?? []),
    networks: stores.networks.list(),
    groups: stores.securityGroups.list(),
    slices: stores.addressSlices.list(),
    floatingGuests: options.floatingObjects
      .list()
      .flatMap(({ status }) => (status?.claim?.nodeName === nodeName ? [status.claim] : [])),
  };
};

/** Routes first: rules let through what has a way. */
const program = async (
  { links, filters, enforced, networkMetrics, logger }: NodeNetworkOptions,
  facts: NetworkFacts,
  verify: boolean,
  signal: AbortSignal,
): Promise<void> => {
  const routes = desiredRoutes(facts);
  if (routes !== undefined) await links.syncNetworks(routes, { signal });
  const wanted = desiredFilters(facts);
  const outcome = await filters.sync(wanted, { signal, verify });
  if (outcome.repaired > 0) logger.warn({ repaired: outcome.repaired }, "somebody had changed rules of ours");
  networkMetrics.programmed(wanted, outcome);
  const used = new Set(wanted.groups.map(({ uid }) => uid));
  enforced.record(facts.groups.filter(({ metadata }: SecurityGroup) => used.has(metadata.uid)));
};

const toNode = (): readonly (typeof KEY)[] => [KEY];

/** What is said of a group is of no concern here. */
const afterSpec = ({ before, after }: Change<SecurityGroup>): readonly (typeof KEY)[] =>
  before?.metadata.generation === after?.metadata.generation && before?.metadata.uid === after?.metadata.uid
    ? []
    : [KEY];

const followCluster = (options: NodeNetworkOptions, sync: () => Promise<void>): Controller => {
  const { networks, securityGroups, addressSlices } = options.stores;
  return createController({
    name: "node-network",
    reconcile: async () => {
      await sync();
      return done;
    },
    watches: [
      // A Network's number is in its status, and so is whether others route to it.
      { store: networks, map: toNode },
      { store: securityGroups, map: afterSpec },
      { store: addressSlices, map: toNode },
    ],
    workers: 1,
    backoff: { initialMs: 200, maxMs: 10_000 },
    logger: options.logger,
    metrics: options.metrics,
  });
};

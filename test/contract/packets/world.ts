import { rm } from "node:fs/promises";
import { setTimeout as delay } from "node:timers/promises";

import { createFilters, type Filters } from "../../../src/node-agent/filters/index.ts";
import { desiredOn, type GuardedCluster, type GuardedGuest, routesOn } from "../../fakes/guarded-cluster.ts";
import type { Attempt } from "../../fakes/reach-oracle.ts";
import {
  OUTSIDE_ADDRESS,
  type PacketNetwork,
  type PluggedGuest,
  startPacketNetwork,
} from "../../testbed/packet-network.ts";
import { makeTemporaryDirectory } from "../../testbed/temporary-directory.ts";
import { WaitTimeoutError, waitFor } from "../../testbed/wait.ts";
import { startProber, type Prober } from "./prober.ts";

/** A probe between two places: names of guests or nodes, "outside", or an address. */
export interface Probe {
  readonly from: string;
  readonly to: string;
  readonly attempt: Attempt;
  /** Address to send to, if it is not the receiver's own. */
  readonly address?: string | undefined;
  /** Address to send from, if it is not the sender's own. */
  readonly source?: string | undefined;
}

export interface Outcome {
  /** Whether the receiver has heard the probe. */
  readonly arrived: boolean;
  /** Whether the sender got the receiver's answer. */
  readonly answered: boolean;
}

/** Nodes whose links and filters are those of an agent, guests, and probers in all of them. */
export interface World {
  readonly network: PacketNetwork;
  readonly guests: ReadonlyMap<string, PluggedGuest>;
  prober(name: string): Prober;
  /** Tells all nodes what the cluster is now, as their agents would; guests do not notice. */
  apply(cluster: GuardedCluster): Promise<{ readonly revoked: number; readonly restored: number }>;
  /**
   * Sends all probes at once, and resolves when each of those that `expected`
   * says will arrive has, and the others have had the same time and more.
   */
  try(probes: readonly Probe[], expected: readonly boolean[]): Promise<readonly Outcome[]>;
  /** Each node's filters, as its agent has them. */
  readonly filters: readonly Filters[];
  stop(): Promise<void>;
}

const { signal } = new AbortController();

/** How long probes that must not arrive may still arrive after all others have. A packet needs less than 1 ms. */
const GRACE_MS = 300;
/** Longer than TCP's first two repetitions. */
const PATIENCE_MS = 8_000;

const plugAll = async (
  network: PacketNetwork,
  { guests, networks }: GuardedCluster,
): Promise<ReadonlyMap<string, PluggedGuest>> => {
  const plug = async (guest: GuardedGuest): Promise<readonly [string, PluggedGuest]> => {
    const node = network.nodes[guest.node];
    const gateway = networks.find(({ vni }) => vni === guest.vni)?.gateway;
    if (node === undefined || gateway === undefined) throw new Error(`no place for guest ${guest.name}`);
    return [guest.name, await network.plugGuest(node, { ...guest, gateway })];
  };
  return new Map(await Promise.all(guests.map(plug)));
};

/** The world finds guests of reachable Networks at their nodes. */
const routeOutside = async ({ world }: PacketNetwork, { guests, networks, nodes }: GuardedCluster) => {
  const reachable = new Set(networks.filter((one) => one.reachableFromNodes === true).map(({ vni }) => vni));
  for (const { vni, address, node } of guests) {
    if (reachable.has(vni)) await world.run(["ip", "route", "add", address, "via", nodes[node] ?? ""]);
  }
};

const startProbers = async (
  network: PacketNetwork,
  guests: ReadonlyMap<string, PluggedGuest>,
): Promise<ReadonlyMap<string, Prober>> => {
  const places = [
    ["outside", network.world] as const,
    ...network.nodes.map(({ name, namespace }) => [name, namespace] as const),
    ...[...guests].map(([name, { namespace }]) => [name, namespace] as const),
  ];
  return new Map(
    await Promise.all(places.map(async ([name, namespace]) => [name, await startProber(namespace)] as const)),
  );
};

export const startWorld = async (cluster: GuardedCluster): Promise<World> => {
  const directory = await makeTemporaryDirectory("packets");
  const network = await startPacketNetwork({ nodes: cluster.nodes.length, directory });
  const guests = await plugAll(network, cluster);
  await routeOutside(network, cluster);
  const probers = await startProbers(network, guests);
  const filters = network.nodes.map(({ namespace }) => createFilters({ run: namespace.runCommand }));

  const prober = (name: string): Prober => {
    const found = probers.get(name);
    if (found === undefined) throw new Error(`nobody is called ${name}`);
    return found;
  };
  const addressOf = (name: string): string => {
    if (name === "outside") return OUTSIDE_ADDRESS;
    const node = network.nodes.find((candidate) => candidate.name === name);
    const address = node?.address ?? guests.get(name)?.interface.address;
    if (address === undefined) throw new Error(`nobody is called ${name}`);
    return address;
  };
  const send = ({ from, to, attempt, address, source }: Probe): string =>
    prober(from).send(
      attempt,
      address ?? addressOf(to),
      source ?? (from === "outside" ? OUTSIDE_ADDRESS : undefined),
    );
  const outcome = ({ from, to }: Probe, token: string): Outcome => ({
    arrived: prober(to).hasHeard(token),
    answered: prober(from).hasAnswer(token),
  });

  return {
    network,
    guests,
    prober,
    filters,
    apply: async (now) => {
      const outcomes = await Promise.all(
        network.nodes.map(async ({ links }, index) => {
          await links.syncNetworks(routesOn(now, index), { signal });
          return filters[index]?.sync(desiredOn(now, index), { signal });
        }),
      );
      const sum = (kind: "revoked" | "restored"): number =>
        outcomes.reduce((total, outcome) => total + (outcome?.[kind] ?? 0), 0);
      return { revoked: sum("revoked"), restored: sum("restored") };
    },
    try: async (probes, expected) => {
      const tokens = probes.map(send);
      const tokenOf = (index: number): string => tokens[index] ?? "";
      const isComplete = (probe: Probe, index: number): boolean => {
        const { arrived, answered } = outcome(probe, tokenOf(index));
        return expected[index] !== true || (arrived && (answered || probe.attempt.protocol === "other"));
      };
      await waitFor("all probes that are expected", () => probes.every(isComplete), {
        intervalMs: 5,
        timeoutMs: PATIENCE_MS,
      }).catch((error: unknown) => {
        // The outcomes tell more.
        if (!(error instanceof WaitTimeoutError)) throw error;
      });
      await delay(GRACE_MS);
      return probes.map((probe, index) => outcome(probe, tokenOf(index)));
    },
    stop: async () => {
      await Promise.all([...probers.values()].map((one) => one.stop()));
      await network.stop();
      await rm(directory, { recursive: true });
    },
  };
};

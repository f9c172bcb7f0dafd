import { rm } from "node:fs/promises";

import type { AllocatedInterface } from "../../../src/api/virtual-machine.ts";
import type { GuestFilter } from "../../../src/node-agent/filters/index.ts";
import { createLinks, tapName } from "../../../src/node-agent/links/index.ts";
import {
  joinNamespaces,
  startNetworkNamespace,
  type NetworkNamespace,
} from "../../testbed/network-namespace.ts";
import { startPacketGuest } from "../../testbed/packet-guest.ts";
import { makeTemporaryDirectory } from "../../testbed/temporary-directory.ts";
import { waitFor } from "../../testbed/wait.ts";

/**
 * A node with two guests, and a world behind it:
 *
 *   alpha 10.0.0.11 --+                                 +-- 192.0.2.2   client
 *                     node 10.0.0.1 ... 192.0.2.1 ------+-- 198.51.100.7  another node
 *   beta  10.0.0.12 --+                                 +-- 169.254.169.254  a cloud's metadata
 */
export interface Topology {
  readonly node: NetworkNamespace;
  readonly alpha: NetworkNamespace;
  readonly beta: NetworkNamespace;
  readonly world: NetworkNamespace;
  readonly filters: { readonly alpha: GuestFilter; readonly beta: GuestFilter };
  stop(): Promise<void>;
}

export const NODE_ADDRESS = "192.0.2.1";
export const OTHER_NODE_ADDRESS = "198.51.100.7";

/** Every participant answers on these ports, from any of its addresses. */
export const PORTS = [22, 80] as const;

const signal = new AbortController().signal;

const machines = {
  alpha: { vmUid: "11111111-1111-4111-8111-111111111111", host: 11 },
  beta: { vmUid: "22222222-2222-4222-8222-222222222222", host: 12 },
} as const;

const interfaceOf = (host: number): AllocatedInterface => ({
  network: "blue",
  macAddress: `02:00:00:00:00:${host}`,
  address: `10.0.0.${host}`,
  prefixLength: 24,
  gateway: "10.0.0.1",
  dnsServers: [],
  mtu: 1450,
});

const filterOf = ({ vmUid, host }: (typeof machines)["alpha" | "beta"]): GuestFilter => ({
  ...interfaceOf(host),
  vmUid,
  tap: tapName(vmUid, "blue"),
});

/** Echoes what it hears, on each port. */
const listen = async (namespace: NetworkNamespace): Promise<void> => {
  for (const port of PORTS) {
    await namespace.startDaemon(`port-${port}`, ["socat", `TCP4-LISTEN:${port},fork,reuseaddr`, "EXEC:cat"]);
    await waitFor(
      `port ${port}`,
      () => namespace.succeeds(["socat", "-u", "/dev/null", `TCP4:127.0.0.1:${port}`]),
      {
        intervalMs: 10,
      },
    );
  }
};

const connectWorld = async (node: NetworkNamespace, world: NetworkNamespace): Promise<void> => {
  await joinNamespaces({ namespace: node, device: "eth0" }, { namespace: world, device: "eth0" });
  await node.run(["ip", "address", "add", `${NODE_ADDRESS}/24`, "dev", "eth0"]);
  await node.run(["ip", "route", "add", "default", "via", "192.0.2.2"]);
  await world.run(["ip", "address", "add", "192.0.2.2/24", "dev", "eth0"]);
  for (const address of [OTHER_NODE_ADDRESS, "169.254.169.254"]) {
    await world.run(["ip", "address", "add", `${address}/32`, "dev", "lo"]);
  }
  await world.run(["ip", "route", "add", "10.0.0.0/24", "via", NODE_ADDRESS]);
};

export const startTopology = async (): Promise<Topology> => {
  const directory = await makeTemporaryDirectory("filters");
  const [node, world] = await Promise.all(
    ["node", "world"].map((name) => startNetworkNamespace({ name, directory })),
  );
  if (node === undefined || world === undefined) throw new Error("namespaces were not made");
  await connectWorld(node, world);
  const links = createLinks({ run: node.runCommand });
  await links.setUp({ signal });
  const plug = async (name: "alpha" | "beta"): Promise<NetworkNamespace> => {
    const { vmUid, host } = machines[name];
    await links.ensure({ vmUid, interfaces: [interfaceOf(host)] }, { signal });
    const tap = tapName(vmUid, "blue");
    return startPacketGuest({ ...interfaceOf(host), name, directory, node, tap });
  };
  const alpha = await plug("alpha");
  const beta = await plug("beta");
  const all = [node, world, alpha, beta];
  await Promise.all(all.map(listen));
  return {
    node,
    alpha,
    beta,
    world,
    filters: { alpha: filterOf(machines.alpha), beta: filterOf(machines.beta) },
    stop: async () => {
      await Promise.all(all.map((namespace) => namespace.stop()));
      await rm(directory, { recursive: true });
    },
  };
};

import { rm } from "node:fs/promises";

import { deviceGroup } from "../../../src/api/network-identity.ts";
import type { DesiredFilters, FilterRule, GuestFilter } from "../../../src/node-agent/filters/index.ts";
import {
  joinNamespaces,
  startNetworkNamespace,
  type NetworkNamespace,
} from "../../testbed/network-namespace.ts";
import { startPacketGuest } from "../../testbed/packet-guest.ts";
import { makeTemporaryDirectory } from "../../testbed/temporary-directory.ts";
import { waitFor } from "../../testbed/wait.ts";

/**
 * A node with guests of two Networks, and a world behind it:
 *
 *   alpha 10.0.0.11 --+                                 +-- 192.0.2.2   client
 *   beta  10.0.0.12 --+ node 10.0.0.1 ... 192.0.2.1 ----+-- 198.51.100.7  another node
 *   gamma 10.1.0.13 --+      10.1.0.1                   +-- 169.254.169.254  a cloud's metadata
 *
 * alpha and beta are in Network 5, gamma is in Network 6.
 */
export interface Topology extends Readonly<Record<Participant, NetworkNamespace>> {
  stop(): Promise<void>;
}

export type GuestName = keyof typeof guests;
export type Participant = GuestName | "node" | "world";

export const NODE_ADDRESS = "192.0.2.1";
export const OTHER_NODE_ADDRESS = "198.51.100.7";

/** Every participant answers on these ports, from any of its addresses. */
export const PORTS = [22, 80] as const;

const guestOf = (name: string, vni: number, host: number, securityGroups: readonly string[]): GuestFilter => {
  const network = vni === 5 ? "10.0.0" : "10.1.0";
  return {
    vmUid: `${host}111111-1111-4111-8111-111111111111`,
    namespace: "team",
    name,
    tap: `vtap${host}000000000`,
    vni,
    macAddress: `02:00:00:00:00:${host}`,
    address: `${network}.${host}`,
    allowedAddresses: [],
    gateway: `${network}.1`,
    securityGroups,
  };
};

export const guests = {
  alpha: guestOf("alpha", 5, 11, ["web"]),
  beta: guestOf("beta", 5, 12, ["web"]),
  gamma: guestOf("gamma", 6, 13, ["web"]),
} as const;

export const ANYTHING: FilterRule = { protocol: "any", remote: { kind: "any" } };
export const PING: FilterRule = { protocol: 1, icmp: { type: 8 }, remote: { kind: "any" } };
export const tcp = (port: number, remote: FilterRule["remote"] = { kind: "any" }): FilterRule => ({
  protocol: 6,
  ports: { first: port, last: port },
  remote,
});

/** All three guests, in a group that allows ping and ssh. */
export const desired: DesiredFilters = {
  guests: Object.values(guests),
  networks: [
    { vni: 5, cidr: "10.0.0.0/24", egress: "NAT", peers: [] },
    { vni: 6, cidr: "10.1.0.0/24", egress: "NAT", peers: [] },
  ],
  groups: [{ uid: "web", ingress: [PING, tcp(22)], egress: [ANYTHING], logRefused: false }],
  members: [],
  nodeAddresses: [NODE_ADDRESS, OTHER_NODE_ADDRESS, "2001:db8::1"],
  tunnelAddress: NODE_ADDRESS,
  vxlanPort: 14_789,
};

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
  await world.run(["ip", "route", "add", "10.0.0.0/15", "via", NODE_ADDRESS]);
};

/** What the room links does, as far as the rules look at it. */
const prepareNode = async (node: NetworkNamespace): Promise<void> => {
  await node.run(["sysctl", "-q", "-w", "net.ipv4.ip_forward=1"]);
  // Default for devices to come: the filter is alone with guests that lie about themselves.
  await node.run([
    "sysctl",
    "-q",
    "-w",
    "net.ipv4.conf.all.rp_filter=0",
    "net.ipv4.conf.default.rp_filter=0",
  ]);
  await node.run(["ip", "link", "add", "vireo-gw", "type", "bridge"]);
  await node.run(["ip", "link", "set", "vireo-gw", "up"]);
  for (const gateway of new Set(Object.values(guests).map((guest) => guest.gateway))) {
    await node.run(["ip", "address", "add", `${gateway}/32`, "dev", "vireo-gw"]);
  }
};

const addTap = async (
  node: NetworkNamespace,
  { tap, vni, address, macAddress }: GuestFilter,
): Promise<void> => {
  await node.run(["ip", "tuntap", "add", tap, "mode", "tap"]);
  const group = String(deviceGroup(vni));
  await node.run([
    "ip",
    "link",
    "set",
    tap,
    "address",
    "ee:ee:ee:ee:ee:ee",
    "group",
    group,
    "mtu",
    "1450",
    "up",
  ]);
  await node.run([
    "sysctl",
    "-q",
    "-w",
    `net.ipv4.conf.${tap}.proxy_arp=1`,
    `net.ipv6.conf.${tap}.disable_ipv6=1`,
  ]);
  await node.run(["sysctl", "-q", "-w", `net.ipv4.neigh.${tap}.proxy_delay=0`]);
  await node.run(["ip", "neigh", "replace", address, "lladdr", macAddress, "dev", tap, "nud", "permanent"]);
  await node.run(["ip", "route", "replace", `${address}/32`, "dev", tap, "scope", "link"]);
};

export const startTopology = async (): Promise<Topology> => {
  const directory = await makeTemporaryDirectory("filters");
  const [node, world] = await Promise.all(
    ["node", "world"].map((name) => startNetworkNamespace({ name, directory })),
  );
  if (node === undefined || world === undefined) throw new Error("namespaces were not made");
  await connectWorld(node, world);
  await prepareNode(node);
  const plug = async (name: GuestName): Promise<NetworkNamespace> => {
    await addTap(node, guests[name]);
    return startPacketGuest({ ...guests[name], name, directory, node, prefixLength: 24, mtu: 1450 });
  };
  const alpha = await plug("alpha");
  const beta = await plug("beta");
  const gamma = await plug("gamma");
  const all = [node, alpha, beta, gamma, world];
  await Promise.all(all.map(listen));
  return {
    node,
    alpha,
    beta,
    gamma,
    world,
    stop: async () => {
      await Promise.all(all.map((namespace) => namespace.stop()));
      await rm(directory, { recursive: true });
    },
  };
};

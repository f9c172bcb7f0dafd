import { rm } from "node:fs/promises";

import { deviceGroup, packetMark, routingTable } from "../../../src/api/network-identity.ts";
import type { FloatingAddress } from "../../../src/node-agent/floating/index.ts";
import {
  joinNamespaces,
  startNetworkNamespace,
  type NetworkNamespace,
} from "../../testbed/network-namespace.ts";
import { makeTemporaryDirectory } from "../../testbed/temporary-directory.ts";
import { waitFor } from "../../testbed/wait.ts";

/**
 * Two nodes and a client on one wire. alpha and beta are of two Networks that
 * have the same addresses:
 *
 *   alpha 10.0.0.11 (Network 1) --+
 *                                 one 192.0.2.1 ---+
 *   beta  10.0.0.11 (Network 2) --+                +--- wire --- client 192.0.2.9
 *                                                  |
 *   gamma 10.0.0.12 (Network 1) --- two 192.0.2.2 -+
 */
export interface Topology {
  readonly one: NetworkNamespace;
  readonly two: NetworkNamespace;
  readonly client: NetworkNamespace;
  readonly guests: Readonly<Record<GuestName, NetworkNamespace>>;
  stop(): Promise<void>;
}

export type GuestName = "alpha" | "beta" | "gamma";

const guests = {
  alpha: { guestAddress: "10.0.0.11", vni: 1, tap: "vtap00000000001" },
  beta: { guestAddress: "10.0.0.11", vni: 2, tap: "vtap00000000002" },
  gamma: { guestAddress: "10.0.0.12", vni: 1, tap: "vtap00000000003" },
} as const satisfies Record<GuestName, Omit<FloatingAddress, "address">>;

export const leadingTo = (name: GuestName, address: string): FloatingAddress => ({
  address,
  ...guests[name],
});

const hex = (value: number): string => `0x${(value >>> 0).toString(16)}`;

/** Says who it is and whom it sees, over TCP; and who it is, over UDP. */
const serve = async (namespace: NetworkNamespace, name: string): Promise<void> => {
  await namespace.startDaemon("tcp", [
    "socat",
    "TCP4-LISTEN:80,fork,reuseaddr",
    `SYSTEM:echo ${name} sees $SOCAT_PEERADDR`,
  ]);
  await namespace.startDaemon("udp", [
    "socat",
    "-T",
    "1",
    "UDP4-RECVFROM:7,fork,reuseaddr",
    `SYSTEM:echo ${name}`,
  ]);
  await waitFor(
    `${name} to listen`,
    async () => (await namespace.run(["ss", "-Hltun"])).match(/:(?:80|7)\b/g)?.length === 2,
    { intervalMs: 10 },
  );
};

/** What the rooms of links and filters do for a guest, as far as it matters here. */
const plug = async (
  node: NetworkNamespace,
  name: GuestName,
  directory: string,
): Promise<NetworkNamespace> => {
  const { guestAddress, vni, tap } = guests[name];
  const guest = await startNetworkNamespace({ name, directory });
  await joinNamespaces({ namespace: node, device: tap }, { namespace: guest, device: "eth0" });
  await guest.run(["ip", "address", "add", `${guestAddress}/24`, "dev", "eth0"]);
  await guest.run(["ip", "route", "add", "default", "via", "10.0.0.1"]);
  const table = String(routingTable(vni));
  const mark = hex(packetMark(vni));
  await node.run(["ip", "link", "set", tap, "group", String(deviceGroup(vni))]);
  await node.run(["ip", "route", "add", guestAddress, "dev", tap, "scope", "link", "table", table]);
  await node.run(["ip", "rule", "add", "priority", "1000", "fwmark", `${mark}/0xfe003fff`, "table", table]);
  await node.run(["ip", "rule", "add", "priority", "1001", "iif", tap, "table", table]);
  for (const [key, value] of [
    ["proxy_arp", "1"],
    ["rp_filter", "0"],
    ["send_redirects", "0"],
  ]) {
    await node.run(["sysctl", "-qw", `net.ipv4.conf.${tap}.${key}=${value}`]);
  }
  const raw = ["iptables", "-t", "raw", "-A", "PREROUTING", "-i", tap] as const;
  await node.run([...raw, "-j", "MARK", "--set-xmark", `${mark}/0xff003fff`]);
  await node.run([...raw, "-s", "10.0.0.0/24", "-j", "CT", "--zone-orig", String(vni)]);
  const masquerade = ["-m", "mark", "--mark", `${mark}/0xff003fff`, "!", "-o", "vtap+", "-j", "MASQUERADE"];
  await node.run(["iptables", "-t", "nat", "-A", "POSTROUTING", "-s", "10.0.0.0/24", ...masquerade]);
  await serve(guest, name);
  return guest;
};

const OURS = "0x56000000/0xff000000";
const MASKS = ["--nfmask", "0xff003fff", "--ctmask", "0xff003fff"] as const;

/** What the filters do in the mangle table; their jump is known by its comment to come before others of ours. */
const rememberNetworks = async (node: NetworkNamespace): Promise<void> => {
  const mangle = ["iptables", "-t", "mangle"] as const;
  const jump = ["-m", "comment", "--comment", "vireo:0123456789abcdef:10", "-j", "VIREO-PREROUTING"];
  await node.run([...mangle, "-N", "VIREO-PREROUTING"]);
  await node.run([...mangle, "-A", "PREROUTING", ...jump]);
  const rule = [...mangle, "-A", "VIREO-PREROUTING"] as const;
  const begun = ["-m", "conntrack", "--ctstate", "NEW", "--ctdir", "ORIGINAL"];
  await node.run([
    ...rule,
    "-m",
    "mark",
    "--mark",
    OURS,
    ...begun,
    "-j",
    "CONNMARK",
    "--save-mark",
    ...MASKS,
  ]);
  const answer = ["-m", "connmark", "--mark", OURS, "-m", "conntrack", "--ctdir", "REPLY"];
  await node.run([...rule, ...answer, "-j", "CONNMARK", "--restore-mark", ...MASKS]);
};

const startNode = async (
  name: string,
  directory: string,
  { wire, address }: { readonly wire: NetworkNamespace; readonly address: string },
): Promise<NetworkNamespace> => {
  const node = await startNetworkNamespace({ name, directory });
  await connect(node, { wire, address, port: name });
  await node.run(["ip", "route", "add", "default", "via", "192.0.2.9"]);
  await node.run(["sysctl", "-qw", "net.ipv4.ip_forward=1", "net.ipv4.conf.all.rp_filter=0"]);
  await node.run(["ip", "link", "add", "vireo-gw", "type", "bridge"]);
  await node.run(["ip", "address", "add", "10.0.0.1/32", "dev", "vireo-gw"]);
  await node.run(["ip", "link", "set", "vireo-gw", "up"]);
  await rememberNetworks(node);
  await node.startDaemon("node-tcp", ["socat", "TCP4-LISTEN:80,fork,reuseaddr", `SYSTEM:echo node ${name}`]);
  return node;
};

const connect = async (
  namespace: NetworkNamespace,
  {
    wire,
    address,
    port,
  }: { readonly wire: NetworkNamespace; readonly address: string; readonly port: string },
): Promise<void> => {
  await joinNamespaces({ namespace, device: "eth0" }, { namespace: wire, device: port });
  await wire.run(["ip", "link", "set", port, "master", "wire"]);
  await namespace.run(["ip", "address", "add", `${address}/24`, "dev", "eth0"]);
};

export const startTopology = async (): Promise<Topology> => {
  const directory = await makeTemporaryDirectory("floating");
  const wire = await startNetworkNamespace({ name: "wire", directory });
  await wire.run(["ip", "link", "add", "name", "wire", "type", "bridge"]);
  await wire.run(["ip", "link", "set", "wire", "up"]);
  const one = await startNode("one", directory, { wire, address: "192.0.2.1" });
  const two = await startNode("two", directory, { wire, address: "192.0.2.2" });
  const client = await startNetworkNamespace({ name: "client", directory });
  await connect(client, { wire, address: "192.0.2.9", port: "client" });
  await serve(client, "client");
  const alpha = await plug(one, "alpha", directory);
  const beta = await plug(one, "beta", directory);
  const gamma = await plug(two, "gamma", directory);
  return {
    one,
    two,
    client,
    guests: { alpha, beta, gamma },
    stop: async () => {
      await Promise.all([alpha, beta, gamma, one, two, client, wire].map((namespace) => namespace.stop()));
      await rm(directory, { recursive: true });
    },
  };
};

import { rm } from "node:fs/promises";

import { afterAll, beforeAll, describe, expect, test } from "@jest/globals";

import { deviceGroup, hairpinMark, packetMark } from "../../../src/api/network-identity.ts";
import type { NetworkNamespace } from "../../testbed/network-namespace.ts";
import {
  GUEST_MTU,
  OUTSIDE_ADDRESS,
  type PacketNetwork,
  type PacketNode,
  type PluggedGuest,
  startPacketNetwork,
  type SyncedNetwork,
} from "../../testbed/packet-network.ts";
import { makeTemporaryDirectory } from "../../testbed/temporary-directory.ts";

const BLUE = 7;
const RED = 8;
const GREEN = 9;

/** Blue and red have the same addresses; blue and green route to each other. */
const networks: readonly SyncedNetwork[] = [
  { vni: BLUE, cidr: "10.0.0.0/24", peers: [GREEN] },
  { vni: RED, cidr: "10.0.0.0/24", reachableFromNodes: false },
  { vni: GREEN, cidr: "10.9.0.0/24", peers: [BLUE], reachableFromNodes: false },
];

const pings = (from: NetworkNamespace, to: string, ...options: readonly string[]): Promise<boolean> =>
  from.succeeds(["ping", "-n", "-q", "-c", "1", "-W", "1", ...options, to]);

/** The largest packet that the Network carries, not to be cut into pieces. */
const FULL_SIZE = ["-M", "do", "-s", String(GUEST_MTU - 28)] as const;

/** What the filters room does first: says of each packet in which Network it was sent. */
const markPackets = async ({ namespace }: PacketNode): Promise<void> => {
  for (const vni of [BLUE, RED, GREEN]) {
    const group = ["-m", "devgroup", "--src-group", String(deviceGroup(vni))];
    const mark = ["-j", "MARK", "--set-mark", String(packetMark(vni))];
    await namespace.run(["iptables", "-w", "-t", "raw", "-A", "PREROUTING", ...group, ...mark]);
  }
};

const nodeOf = (net: PacketNetwork, index: number): PacketNode => {
  const node = net.nodes[index];
  if (node === undefined) throw new Error(`no node ${index}`);
  return node;
};

describe("Networks on three nodes", () => {
  let directory: string;
  let net: PacketNetwork;
  const guests = new Map<string, PluggedGuest>();
  const guest = (name: string): NetworkNamespace => {
    const found = guests.get(name);
    if (found === undefined) throw new Error(`no guest ${name}`);
    return found.namespace;
  };

  beforeAll(async () => {
    directory = await makeTemporaryDirectory("networks");
    net = await startPacketNetwork({ nodes: 3, directory });
    for (const [name, node, vni, address] of [
      ["blue-1", 0, BLUE, "10.0.0.11"],
      ["blue-2", 1, BLUE, "10.0.0.12"],
      ["blue-3", 2, BLUE, "10.0.0.13"],
      ["red-1", 0, RED, "10.0.0.11"],
      ["red-2", 1, RED, "10.0.0.22"],
      ["green-1", 0, GREEN, "10.9.0.11"],
      ["green-2", 1, GREEN, "10.9.0.12"],
    ] as const) {
      guests.set(name, await net.plugGuest(nodeOf(net, node), { name, vni, address }));
    }
    await net.sync(networks);
  }, 60_000);

  afterAll(async () => {
    await net.stop();
    await rm(directory, { recursive: true });
  });

  /** From, to, and whether a packet and its answer arrive. */
  const reach: readonly (readonly [string, string, boolean])[] = [
    ["blue-1", "10.0.0.12", true],
    ["blue-1", "10.0.0.13", true],
    ["blue-3", "10.0.0.11", true],
    ["red-1", "10.0.0.22", true],
    ["red-2", "10.0.0.11", true],
    // An address that only the other Network has.
    ["blue-1", "10.0.0.22", false],
    ["red-1", "10.0.0.12", false],
    ["red-2", "10.0.0.13", false],
    // Peers, on this node and on another.
    ["blue-1", "10.9.0.11", true],
    ["blue-1", "10.9.0.12", true],
    ["green-2", "10.0.0.11", true],
    ["green-2", "10.0.0.12", true],
    ["green-1", "10.0.0.13", true],
    ["red-1", "10.9.0.11", false],
    ["red-1", "10.9.0.12", false],
    ["green-1", "10.0.0.22", false],
  ];

  test.each(reach)("a packet of full size from %s to %s arrives: %s", async (from, to, arrives) => {
    expect(await pings(guest(from), to, ...FULL_SIZE)).toBe(arrives);
  });

  test("each node reaches the guests of all nodes where the Network says so, under its own address", async () => {
    const names = ["10.0.0.11", "10.0.0.12", "10.0.0.13"];
    for (const { namespace } of net.nodes) {
      expect(await Promise.all(names.map((address) => pings(namespace, address)))).toEqual([
        true,
        true,
        true,
      ]);
      expect(await Promise.all(["10.9.0.11", "10.0.0.22"].map((to) => pings(namespace, to)))).toEqual([
        false,
        false,
      ]);
    }
    const way = await nodeOf(net, 2).namespace.run(["ip", "route", "get", "10.0.0.11"]);
    expect(way).toMatch(/via 10\.99\.0\.1 dev vvx7 table 1000007 src 10\.99\.0\.3/);
  });

  test("a guest of each Network has its gateway on its own node", async () => {
    await Promise.all(net.nodes.map(markPackets));
    for (const [name, gateway] of [
      ["blue-1", "10.0.0.1"],
      ["red-1", "10.0.0.1"],
      ["red-2", "10.0.0.1"],
      ["green-2", "10.9.0.1"],
    ] as const) {
      expect([name, await pings(guest(name), gateway)]).toEqual([name, true]);
    }
  });

  test.each(reach)("with marks, as the filters make them, from %s to %s: %s", async (from, to, arrives) => {
    expect(await pings(guest(from), to, ...FULL_SIZE)).toBe(arrives);
  });

  test("a packet to an address that no guest has does not leave the node", async () => {
    const before = await net.world.run(["cat", "/proc/net/snmp"]);
    expect(await pings(guest("blue-1"), "10.0.0.200")).toBe(false);
    expect(await pings(guest("red-1"), "10.0.0.200")).toBe(false);
    expect(await pings(guest("blue-1"), "10.9.0.200")).toBe(false);
    const received = (text: string): string | undefined => /^Ip: \d+ \d+ (\d+)/m.exec(text)?.[1];
    expect(received(await net.world.run(["cat", "/proc/net/snmp"]))).toBe(received(before));
    expect(await pings(nodeOf(net, 0).namespace, OUTSIDE_ADDRESS)).toBe(true);
  });

  test("a node answers in a tunnel what is too large for it, and the guest learns the size", async () => {
    // Red's addresses lead nowhere from the node itself: only the mark of the guest's packet leads back.
    const { namespace } = nodeOf(net, 0);
    await namespace.run(["ip", "link", "set", "vvx8", "mtu", "1300"]);
    const text = await guest("red-1").run([
      "sh",
      "-c",
      `ping -n -c 1 -W 2 ${FULL_SIZE.join(" ")} 10.0.0.22 2>&1 || true`,
    ]);
    await net.sync(networks);
    expect(text).toMatch(/mtu = 1300/);
    await guest("red-1").run(["ip", "route", "flush", "cache"]);
    expect(await pings(guest("red-1"), "10.0.0.22", ...FULL_SIZE)).toBe(true);
  });

  test("a hairpin mark leads to the guest of another Network that has the sender's own address, and back", async () => {
    const { namespace, address } = nodeOf(net, 0);
    const floating = "203.0.113.5";
    const table = (name: string, chain: string, ...rule: readonly string[]): Promise<string> =>
      namespace.run(["iptables", "-w", "-t", name, "-A", chain, ...rule]);
    // What the floating addresses' rules do with a packet from a guest to an address on its own node.
    const hairpin = String(hairpinMark(RED));
    await table(
      "mangle",
      "PREROUTING",
      "-d",
      floating,
      "-j",
      "CONNMARK",
      "--set-mark",
      String(packetMark(BLUE)),
    );
    await table("mangle", "PREROUTING", "-d", floating, "-j", "MARK", "--set-mark", hairpin);
    const reply = ["-m", "conntrack", "--ctdir", "REPLY", "-m", "connmark", "!", "--mark", "0"];
    await table("mangle", "PREROUTING", ...reply, "-j", "CONNMARK", "--restore-mark");
    await table("nat", "PREROUTING", "-d", floating, "-j", "DNAT", "--to-destination", "10.0.0.11");
    await table("nat", "POSTROUTING", "-m", "mark", "--mark", hairpin, "-j", "SNAT", "--to-source", address);
    expect(await pings(guest("blue-1"), floating)).toBe(true);
    const rules = await namespace.run(["iptables", "-w", "-t", "nat", "-vnL", "POSTROUTING"]);
    expect(rules).toMatch(/^\s*1 .* to:10\.99\.0\.1$/m);
    for (const name of ["nat", "mangle"]) await namespace.run(["iptables", "-w", "-t", name, "-F"]);
  });

  test("a guest that moves to another node is found there under its address", async () => {
    const before = guests.get("blue-3");
    await before?.unplug();
    const after = await net.plugGuest(nodeOf(net, 1), { name: "blue-3", vni: BLUE, address: "10.0.0.13" });
    await net.sync(networks);
    expect(after.interface).toEqual(before?.interface);
    for (const from of ["blue-1", "blue-2", "green-1"]) {
      expect([from, await pings(guest(from), "10.0.0.13", ...FULL_SIZE)]).toEqual([from, true]);
    }
    await after.unplug();
    guests.set(
      "blue-3",
      await net.plugGuest(nodeOf(net, 2), { name: "blue-3", vni: BLUE, address: "10.0.0.13" }),
    );
    await net.sync(networks);
    expect(await pings(guest("blue-1"), "10.0.0.13")).toBe(true);
  });

  test("a new guest is reached by peers of its node at once, before anybody tells the node anew", async () => {
    const late = await net.plugGuest(nodeOf(net, 0), { name: "late", vni: GREEN, address: "10.9.0.77" });
    expect(await pings(guest("blue-1"), "10.9.0.77")).toBe(true);
    await late.unplug();
  });
});

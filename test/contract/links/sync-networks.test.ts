import { rm } from "node:fs/promises";

import { afterEach, beforeEach, describe, expect, test } from "@jest/globals";
import { z } from "zod";

import { CommandError, type RunCommand } from "../../../src/node-agent/host/command.ts";
import { createLinks, ForeignDeviceError } from "../../../src/node-agent/links/index.ts";
import { settingsOf } from "../../../src/node-agent/links/settings.ts";
import { type PacketNetwork, type PacketNode, startPacketNetwork } from "../../testbed/packet-network.ts";
import { makeTemporaryDirectory } from "../../testbed/temporary-directory.ts";

const signal = new AbortController().signal;
const BLUE = 7;
const GREEN = 9;

/** What a device was made with, without what the kernel numbers and counts. */
const devicesIn = (json: string): string =>
  z
    .array(z.record(z.string(), z.unknown()))
    .parse(JSON.parse(json))
    .map(({ ifname, address, mtu, group, ifalias, flags, linkinfo }) =>
      JSON.stringify([
        ifname,
        ifname === "vireo-gw" ? "" : address,
        mtu,
        group,
        ifalias,
        flags,
        vxlanIn(linkinfo),
      ]),
    )
    .join("\n");

const vxlanIn = (linkinfo: unknown): unknown => {
  const { data } = z.object({ info_kind: z.literal("vxlan"), info_data: z.unknown() }).safeParse(linkinfo);
  return data?.info_data;
};

/** Everything that the links room may make, as iproute2 prints it; without the order of what is equal. */
const stateOf = async ({ namespace }: PacketNode): Promise<string> => {
  const parts = [
    devicesIn(await namespace.run(["ip", "-json", "-details", "link", "show"])),
    await namespace.run(["ip", "-4", "-brief", "address", "show"]),
    await namespace.run(["ip", "rule", "show"]),
    await namespace.run(["ip", "-4", "route", "show", "table", "all"]),
    await namespace.run(["ip", "neighbour", "show", "nud", "permanent"]),
    (await namespace.run(["bridge", "fdb", "show"])).replaceAll(/^33:33:.*\n/gm, ""),
  ];
  return parts
    .flatMap((part) => part.split("\n"))
    .map((line) => line.replace(/@\S+/, "").trim())
    .toSorted()
    .join("\n");
};

describe("syncNetworks", () => {
  let directory: string;
  let net: PacketNetwork;
  let node: PacketNode;
  let fresh: string;

  beforeEach(async () => {
    directory = await makeTemporaryDirectory("networks");
    net = await startPacketNetwork({ nodes: 1, directory });
    [node] = net.nodes as [PacketNode];
    await node.links.tearDown({ signal });
    fresh = await stateOf(node);
    await node.links.setUp({ signal });
  });

  afterEach(async () => {
    await net.stop();
    await rm(directory, { recursive: true });
  });

  const desired = {
    tunnelAddress: "10.99.0.1",
    vxlanPort: 14_789,
    nodes: ["10.99.0.2", "10.99.0.3"],
    networks: [
      {
        vni: BLUE,
        cidr: "10.0.0.0/24",
        mtu: 1450,
        reachableFromNodes: true,
        peers: [GREEN],
        remote: [{ address: "10.0.0.12", nodeAddress: "10.99.0.2" }],
      },
      {
        vni: GREEN,
        cidr: "10.9.0.0/24",
        mtu: 1400,
        reachableFromNodes: false,
        peers: [BLUE],
        remote: [{ address: "10.9.0.13", nodeAddress: "10.99.0.3" }],
      },
    ],
  };
  const interfaceOf = (vni: number, address: string) => ({
    network: `network-${vni}`,
    macAddress: "02:00:00:00:00:0b",
    address,
    prefixLength: 24,
    gateway: address.replace(/\d+$/, "1"),
    dnsServers: [],
    mtu: 1450,
    vni,
    allowedAddresses: [address.replace(/\d+$/, "100")],
  });
  const machine = {
    vmUid: "11111111-1111-4111-8111-111111111111",
    interfaces: [interfaceOf(BLUE, "10.0.0.11"), interfaceOf(GREEN, "10.9.0.11")],
  };

  /** A fresh agent's room: it remembers nothing, and looks anew. */
  const agent = (run: RunCommand = node.namespace.runCommand) => createLinks({ run });

  test("repeated, also by an agent without memory, changes nothing and starts no program that changes", async () => {
    await node.links.ensure(machine, { signal });
    await node.links.syncNetworks(desired, { signal });
    const before = await stateOf(node);
    const ran: string[] = [];
    const links = agent((file, args, options) => {
      ran.push(`${file} ${args.slice(0, 3).join(" ")}`);
      return node.namespace.runCommand(file, args, options);
    });
    await links.setUp({ signal });
    await links.syncNetworks(desired, { signal });
    await links.ensure(machine, { signal });
    expect(await stateOf(node)).toBe(before);
    expect(ran.map((line) => line.split(" -batch")[0])).toEqual([
      "ip -N -json -details",
      "bridge -json fdb show",
      expect.stringMatching(/^sysctl --ignore net\./),
    ]);
  });

  const blueRoute = ["10.0.0.12", "table", "1000007"];
  test.each<[string, readonly (readonly [string, ...string[]])[]]>([
    ["deleted a route", [["ip", "route", "delete", ...blueRoute]]],
    [
      "led a guest to another node",
      [
        [
          "ip",
          "route",
          "replace",
          "10.0.0.12",
          "via",
          "10.99.0.3",
          "dev",
          "vvx7",
          "onlink",
          "proto",
          "86",
          "table",
          "1000007",
        ],
      ],
    ],
    ["deleted a peer's route", [["ip", "route", "delete", "10.9.0.11", "table", "1000007"]]],
    [
      "added a route",
      [
        [
          "ip",
          "route",
          "add",
          "10.0.0.99",
          "via",
          "10.99.0.2",
          "dev",
          "vvx7",
          "onlink",
          "proto",
          "86",
          "table",
          "1000007",
        ],
      ],
    ],
    ["emptied a table", [["ip", "route", "flush", "table", "1000009"]]],
    ["deleted a rule for marks", [["ip", "rule", "delete", "priority", "1000"]]],
    ["deleted a rule for a device", [["ip", "rule", "delete", "iif", "vvx9"]]],
    ["deleted the rule for nodes", [["ip", "rule", "delete", "priority", "1002"]]],
    ["deleted the tunnels' rules", [999, 1003].map((n) => ["ip", "rule", "delete", "priority", String(n)])],
    [
      "added a rule",
      [["ip", "rule", "add", "priority", "1002", "to", "10.9.0.0/24", "lookup", "1000009", "protocol", "86"]],
    ],
    ["deleted a neighbour", [["ip", "neighbour", "delete", "10.99.0.2", "dev", "vvx7"]]],
    [
      "changed a neighbour",
      [
        [
          "ip",
          "neighbour",
          "replace",
          "10.99.0.2",
          "lladdr",
          "02:03:03:03:03:03",
          "dev",
          "vvx7",
          "nud",
          "permanent",
        ],
      ],
    ],
    [
      "deleted where a node is",
      [["bridge", "fdb", "delete", "02:56:0a:63:00:02", "dev", "vvx7", "dst", "10.99.0.2", "self"]],
    ],
    [
      "added where a node is",
      [
        [
          "bridge",
          "fdb",
          "append",
          "00:00:00:00:00:00",
          "dev",
          "vvx7",
          "dst",
          "192.0.2.9",
          "self",
          "permanent",
        ],
      ],
    ],
    ["deleted a VXLAN device", [["ip", "link", "delete", "vvx7"]]],
    ["took a VXLAN device down", [["ip", "link", "set", "vvx7", "down"]]],
    [
      "gave a VXLAN device another hardware address",
      [["ip", "link", "set", "vvx7", "address", "02:02:02:02:02:02"]],
    ],
    [
      "gave a VXLAN device another MTU and alias",
      [
        ["ip", "link", "set", "vvx7", "mtu", "1300"],
        ["ip", "link", "set", "vvx7", "alias", "x"],
      ],
    ],
    ["put a VXLAN device into another group", [["ip", "link", "set", "vvx7", "group", "3"]]],
    ["made a VXLAN device learn", [["ip", "link", "set", "vvx7", "type", "vxlan", "learning"]]],
    ["changed a setting", [["sysctl", "-q", "-w", "net.ipv4.conf.vvx7.src_valid_mark=0"]]],
  ])("repairs what somebody did who %s", async (_what, damage) => {
    await node.links.ensure(machine, { signal });
    await node.links.syncNetworks(desired, { signal });
    const before = await stateOf(node);
    for (const argv of damage) await node.namespace.run(argv);
    const links = agent();
    await links.syncNetworks(desired, { signal });
    // The routes of taps in their own tables are made with the taps.
    await links.ensure(machine, { signal });
    await links.syncNetworks(desired, { signal });
    expect(await stateOf(node)).toBe(before);
    for (const [key, value] of Object.entries(settingsOf({ kind: "vxlan", device: "vvx7" }))) {
      expect(`${key} ${(await node.namespace.run(["sysctl", "-n", key])).trim()}`).toBe(`${key} ${value}`);
    }
  });

  test("is completed by the next when it is killed at any program, or between any two lines of one", async () => {
    await node.links.syncNetworks(desired, { signal });
    const whole = await stateOf(node);
    const half = { ...desired, networks: desired.networks.slice(1), nodes: ["10.99.0.4"], vxlanPort: 4_000 };
    for (let survived = 0; ; survived += 1) {
      await agent().syncNetworks(half, { signal });
      let left = survived;
      // A batch is a line at a time to the kernel: an agent may be gone after any of them.
      const run: RunCommand = async (file, args, options) => {
        const lines = options.stdin?.trimEnd().split("\n") ?? [];
        if (args.includes("-json") || lines.length === 0)
          return node.namespace.runCommand(file, args, options);
        const done = lines.slice(0, left);
        left -= done.length;
        const stdin = `${done.join("\n")}\n`;
        const result = await node.namespace.runCommand(file, args, { ...options, stdin });
        if (done.length < lines.length) throw new CommandError("aborted", file, args, {});
        return result;
      };
      const finished = await agent(run)
        .syncNetworks(desired, { signal })
        .then(
          () => true,
          () => false,
        );
      await agent().syncNetworks(desired, { signal });
      expect([survived, await stateOf(node)]).toEqual([survived, whole]);
      if (finished) break;
    }
  }, 120_000);

  test("and tearDown leave nothing of ours, and everything of others", async () => {
    for (const argv of [
      ["ip", "rule", "add", "priority", "1000", "fwmark", "0x1", "lookup", "77"],
      ["ip", "rule", "add", "priority", "1001", "iif", "eth0", "lookup", "77", "protocol", "86"],
      ["ip", "route", "add", "192.0.2.0/24", "via", "10.99.0.254", "table", "77", "proto", "86"],
      ["ip", "route", "add", "192.0.2.0/24", "via", "10.99.0.254", "proto", "86"],
      ["ip", "link", "add", "flannel.1", "type", "vxlan", "id", "7", "dstport", "8472", "local", "10.99.0.1"],
      ["ip", "link", "set", "flannel.1", "up"],
      ["ip", "neighbour", "add", "10.99.0.2", "lladdr", "02:03:03:03:03:03", "dev", "flannel.1"],
      ["bridge", "fdb", "append", "02:03:03:03:03:03", "dev", "flannel.1", "dst", "10.99.0.2"],
    ] as const) {
      await node.namespace.run([...argv]);
    }
    await node.links.tearDown({ signal });
    const others = await stateOf(node);
    expect(others).not.toBe(fresh);
    await node.links.setUp({ signal });
    await node.links.syncNetworks(desired, { signal });
    await node.links.ensure(machine, { signal });
    await agent().tearDown({ signal });
    expect(await stateOf(node)).toBe(others);
  });

  test("takes a Network away when it is no longer wanted, but not from under its taps", async () => {
    await node.links.ensure(machine, { signal });
    await node.links.syncNetworks(desired, { signal });
    await node.links.syncNetworks({ ...desired, networks: [] }, { signal });
    expect(await node.namespace.succeeds(["ip", "link", "show", "vvx7"])).toBe(true);
    await node.links.remove(machine.vmUid, { signal });
    await node.links.syncNetworks({ ...desired, networks: [] }, { signal });
    const gateways = await node.namespace.run(["ip", "link", "delete", "vireo-gw"]);
    expect([gateways, await stateOf(node)]).toEqual(["", fresh]);
  });

  test("does the other Networks when a device of one is somebody else's, and says whose place it has", async () => {
    await node.namespace.run(["ip", "link", "add", "vvx7", "type", "bridge"]);
    const syncing = node.links.syncNetworks(desired, { signal });
    await expect(syncing).rejects.toThrow(ForeignDeviceError);
    await expect(syncing).rejects.toThrow(/vvx7/);
    expect(await node.namespace.succeeds(["ip", "link", "show", "vvx9"])).toBe(true);
    await node.links.tearDown({ signal });
    expect(await node.namespace.succeeds(["ip", "link", "show", "vvx7"])).toBe(true);
  });

  test("a thousand guests on other nodes and fifty Networks take one batch, and one more guest one line", async () => {
    const many = Array.from({ length: 50 }, (_, i) => ({
      vni: i + 1,
      cidr: `10.${i}.0.0/16`,
      mtu: 1450,
      reachableFromNodes: true,
      peers: [],
      remote: Array.from({ length: 20 }, (__, j) => ({
        address: `10.${i}.0.${j + 10}`,
        nodeAddress: "10.99.0.2",
      })),
    }));
    const batches: string[] = [];
    const links = agent((file, args, options) => {
      if (args[0] === "-batch") batches.push(options.stdin ?? "");
      return node.namespace.runCommand(file, args, options);
    });
    await links.syncNetworks({ ...desired, networks: many }, { signal });
    const routes = await node.namespace.run(["ip", "route", "show", "table", "all", "proto", "86"]);
    // Each guest, and the two other nodes in each Network.
    expect(routes.trim().split("\n")).toHaveLength(1000 + 50 * 2);
    const added = { address: "10.7.0.200", nodeAddress: "10.99.0.3" };
    const [eighth] = many.splice(7, 1);
    if (eighth === undefined) throw new Error("no eighth Network");
    const more = [...many, { ...eighth, remote: [...eighth.remote, added] }];
    batches.length = 0;
    await links.syncNetworks({ ...desired, networks: more }, { signal });
    expect(batches).toEqual([
      "route replace 10.7.0.200 via 10.99.0.3 dev vvx8 src 10.99.0.1 table 1000008 proto 86 onlink\n",
    ]);
  });
});

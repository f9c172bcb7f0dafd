import { rm } from "node:fs/promises";

import { afterEach, beforeEach, describe, expect, test } from "@jest/globals";

import type { AllocatedInterface } from "../../../src/api/virtual-machine.ts";
import { CommandError, type RunCommand } from "../../../src/node-agent/host/command.ts";
import {
  createLinks,
  ForeignDeviceError,
  type Links,
  type NodeNetworks,
  tapName,
} from "../../../src/node-agent/links/index.ts";
import { settingsOf } from "../../../src/node-agent/links/settings.ts";
import { startNetworkNamespace, type NetworkNamespace } from "../../testbed/network-namespace.ts";
import { GUEST_DEVICE, startPacketGuest } from "../../testbed/packet-guest.ts";
import { makeTemporaryDirectory } from "../../testbed/temporary-directory.ts";

const ALPHA = "11111111-1111-4111-8111-111111111111";
const BETA = "22222222-2222-4222-8222-222222222222";
const signal = new AbortController().signal;

const interfaceOf = (host: number, changes: Partial<AllocatedInterface> = {}): AllocatedInterface => ({
  network: "blue",
  macAddress: `02:00:00:00:00:${host.toString(16).padStart(2, "0")}`,
  address: `10.0.0.${host}`,
  prefixLength: 24,
  gateway: "10.0.0.1",
  dnsServers: [],
  mtu: 1450,
  vni: 7,
  allowedAddresses: [],
  ...changes,
});

/** The Network of all taps here, on a node without others. */
const ownNetwork: NodeNetworks = {
  tunnelAddress: "192.0.2.1",
  vxlanPort: 14_789,
  nodes: [],
  networks: [{ vni: 7, cidr: "10.0.0.0/24", mtu: 1450, reachableFromNodes: true, peers: [], remote: [] }],
};

/** What the links room may change, as iproute2 prints it; without what the kernel counts and measures. */
const stateOf = async (node: NetworkNamespace): Promise<string> =>
  [
    await node.run(["ip", "-details", "address", "show"]),
    await node.run(["ip", "rule", "show"]),
    await node.run(["ip", "route", "show", "table", "all"]),
    await node.run(["ip", "neighbour", "show", "nud", "permanent"]),
  ]
    .join("\n")
    .replaceAll(/\b(_timer|gc_timer|hello_timer|tcn_timer|topology_change_timer) +\S+/g, "$1");

const setting = async (node: NetworkNamespace, key: string): Promise<string> =>
  (await node.run(["sysctl", "-n", key])).trim();

const gatewaysOn = async (node: NetworkNamespace): Promise<string[]> => {
  const text = await node.run(["ip", "-4", "-brief", "address", "show", "dev", "vireo-gw"]);
  return text.trim().split(/\s+/).slice(2).sort();
};

describe("links, with the kernel's own devices", () => {
  let directory: string;
  let node: NetworkNamespace;
  let links: Links;
  let started: NetworkNamespace[];

  const guest = async (vmUid: string, name: string, link: AllocatedInterface): Promise<NetworkNamespace> => {
    const plugged = await startPacketGuest({ ...link, name, directory, node, tap: tapName(vmUid, "blue") });
    started.push(plugged);
    return plugged;
  };

  beforeEach(async () => {
    directory = await makeTemporaryDirectory("links");
    node = await startNetworkNamespace({ name: "node", directory });
    started = [node];
    // As every node has one. It is of no use to the guests, but where they cannot be answered otherwise.
    await node.run(["ip", "link", "add", "uplink", "type", "bridge"]);
    await node.run(["ip", "link", "set", "uplink", "up"]);
    await node.run(["ip", "route", "add", "default", "dev", "uplink"]);
    links = createLinks({ run: node.runCommand });
    await links.setUp({ signal });
  });

  afterEach(async () => {
    for (const namespace of started.toReversed()) await namespace.stop();
    await rm(directory, { recursive: true });
  });

  test("two guests of one node reach each other and their gateway, with the largest packets", async () => {
    await links.ensure({ vmUid: ALPHA, interfaces: [interfaceOf(11)] }, { signal });
    await links.ensure({ vmUid: BETA, interfaces: [interfaceOf(12)] }, { signal });
    const alpha = await guest(ALPHA, "alpha", interfaceOf(11));
    await guest(BETA, "beta", interfaceOf(12));
    const payload = String(1450 - 28);
    await alpha.run(["ping", "-c", "1", "-W", "5", "-M", "do", "-s", payload, "10.0.0.12"]);
    // The way back from the gateway is the Network's, not the tap's.
    await links.syncNetworks(ownNetwork, { signal });
    await alpha.run(["ping", "-c", "1", "-W", "5", "10.0.0.1"]);
    await node.run(["ping", "-c", "1", "-W", "5", "10.0.0.12"]);
    const neighbours = await alpha.run(["ip", "neighbour", "show", "dev", GUEST_DEVICE]);
    expect(neighbours).toMatch(/10\.0\.0\.12 lladdr ee:ee:ee:ee:ee:ee/);
  });

  test("a guest gets no answer to ARP for its own address, which it takes for a duplicate", async () => {
    await links.ensure({ vmUid: ALPHA, interfaces: [interfaceOf(11)] }, { signal });
    const alpha = await guest(ALPHA, "alpha", interfaceOf(11));
    const probe = ["arping", "-D", "-c", "1", "-w", "1", "-I", GUEST_DEVICE] as const;
    expect(await alpha.succeeds([...probe, "10.0.0.11"])).toBe(true);
    expect(await alpha.succeeds([...probe, "10.0.0.1"])).toBe(false);
  });

  test("the node does not speak IPv6 on a tap", async () => {
    await links.ensure({ vmUid: ALPHA, interfaces: [interfaceOf(11)] }, { signal });
    const alpha = await guest(ALPHA, "alpha", interfaceOf(11));
    const tap = tapName(ALPHA, "blue");
    expect(await node.run(["ip", "-6", "address", "show", "dev", tap])).toBe("");
    expect(await node.run(["ip", "-6", "address", "show", "dev", "vireo-gw"])).toBe("");
    expect(await alpha.succeeds(["ping", "-6", "-c", "1", "-W", "1", `ff02::1%${GUEST_DEVICE}`])).toBe(false);
  });

  test("a tap has the settings of the kernel that routing to a guest needs", async () => {
    const [tap] = await links.ensure({ vmUid: ALPHA, interfaces: [interfaceOf(11)] }, { signal });
    expect(tap).toEqual({
      network: "blue",
      name: tapName(ALPHA, "blue"),
      macAddress: "02:00:00:00:00:0b",
      address: "10.0.0.11",
      mtu: 1450,
    });
    const wanted = {
      [`net.ipv4.conf.${tap?.name}.proxy_arp`]: "1",
      [`net.ipv4.conf.${tap?.name}.rp_filter`]: "2",
      [`net.ipv4.conf.${tap?.name}.src_valid_mark`]: "1",
      [`net.ipv4.conf.${tap?.name}.forwarding`]: "1",
      [`net.ipv4.conf.${tap?.name}.accept_redirects`]: "0",
      [`net.ipv4.conf.${tap?.name}.send_redirects`]: "0",
      [`net.ipv4.neigh.${tap?.name}.proxy_delay`]: "0",
      [`net.ipv6.conf.${tap?.name}.disable_ipv6`]: "1",
      "net.ipv4.ip_forward": "1",
      "net.ipv4.fwmark_reflect": "1",
    };
    for (const [key, value] of Object.entries(wanted)) {
      expect(`${key} = ${await setting(node, key)}`).toBe(`${key} = ${value}`);
    }
  });

  test("every verb may be repeated, and changes nothing the second time", async () => {
    const want = { vmUid: ALPHA, interfaces: [interfaceOf(11)] };
    await links.ensure(want, { signal });
    const before = await stateOf(node);
    await links.setUp({ signal });
    await links.ensure(want, { signal });
    await createLinks({ run: node.runCommand }).ensure(want, { signal });
    expect(await stateOf(node)).toBe(before);
    expect(await links.list({ signal })).toEqual([ALPHA]);
    await links.remove(ALPHA, { signal });
    await links.remove(ALPHA, { signal });
    expect(await links.list({ signal })).toEqual([]);
  });

  test("gateways stay as long as a guest uses them", async () => {
    const red = interfaceOf(21, { network: "red", address: "10.1.0.21", gateway: "10.1.0.1" });
    await links.ensure({ vmUid: ALPHA, interfaces: [interfaceOf(11)] }, { signal });
    await links.ensure({ vmUid: BETA, interfaces: [interfaceOf(12), red] }, { signal });
    expect(await gatewaysOn(node)).toEqual(["10.0.0.1/32", "10.1.0.1/32"]);
    await links.ensure({ vmUid: BETA, interfaces: [interfaceOf(12)] }, { signal });
    expect(await gatewaysOn(node)).toEqual(["10.0.0.1/32"]);
    await links.remove(ALPHA, { signal });
    expect(await gatewaysOn(node)).toEqual(["10.0.0.1/32"]);
    await links.remove(BETA, { signal });
    expect(await gatewaysOn(node)).toEqual([]);
  });

  const tap = tapName(ALPHA, "blue");
  test.each<[string, readonly (readonly [string, ...string[]])[]]>([
    ["lost its address", [["ip", "link", "set", tap, "address", "02:02:02:02:02:02"]]],
    ["was taken down", [["ip", "link", "set", tap, "down"]]],
    ["was deleted", [["ip", "link", "delete", tap]]],
    ["lost its route", [["ip", "route", "delete", "10.0.0.11/32", "dev", tap, "table", "1000007"]]],
    [
      "has a route too many",
      [["ip", "route", "add", "10.0.0.77/32", "dev", tap, "table", "1000007", "proto", "86"]],
    ],
    ["lost its rule", [["ip", "rule", "delete", "iif", tap]]],
    [
      "has a rule too many",
      [["ip", "rule", "add", "priority", "1001", "iif", tap, "lookup", "1000008", "protocol", "86"]],
    ],
    ["has another group", [["ip", "link", "set", tap, "group", "3"]]],
    ["lost its own address", [["ip", "address", "delete", "10.0.0.1/32", "dev", tap]]],
    ["lost its neighbour", [["ip", "neighbour", "delete", "10.0.0.11", "dev", tap]]],
    [
      "has a wrong neighbour",
      [
        [
          "ip",
          "neighbour",
          "replace",
          "10.0.0.11",
          "lladdr",
          "02:03:03:03:03:03",
          "dev",
          tap,
          "nud",
          "permanent",
        ],
      ],
    ],
    [
      "has a neighbour too many",
      [["ip", "neighbour", "add", "10.0.0.8", "lladdr", "02:03:03:03:03:03", "dev", tap, "nud", "permanent"]],
    ],
    ["has another MTU", [["ip", "link", "set", tap, "mtu", "1300"]]],
    ["lost its gateway", [["ip", "address", "delete", "10.0.0.1/32", "dev", "vireo-gw"]]],
    ["has a gateway too many", [["ip", "address", "add", "10.7.0.1/32", "dev", "vireo-gw"]]],
    ["lost the gateways' device", [["ip", "link", "delete", "vireo-gw"]]],
    ["answers no ARP", [["sysctl", "-q", "-w", `net.ipv4.conf.${tap}.proxy_arp=0`]]],
    ["looks at no way back", [["sysctl", "-q", "-w", `net.ipv4.conf.${tap}.rp_filter=0`]]],
    ["forgets marks", [["sysctl", "-q", "-w", `net.ipv4.conf.${tap}.src_valid_mark=0`]]],
    ["speaks IPv6", [["sysctl", "-q", "-w", `net.ipv6.conf.${tap}.disable_ipv6=0`]]],
    ["sends redirects", [["sysctl", "-q", "-w", `net.ipv4.conf.${tap}.send_redirects=1`]]],
    ["answers ARP late", [["sysctl", "-q", "-w", `net.ipv4.neigh.${tap}.proxy_delay=80`]]],
    ["is on a node that does not forward", [["sysctl", "-q", "-w", "net.ipv4.ip_forward=0"]]],
  ])("a machine whose tap %s is repaired", async (_what, damage) => {
    const want = { vmUid: ALPHA, interfaces: [interfaceOf(11)] };
    await links.ensure(want, { signal });
    // The numbers of devices that were made anew differ, as does the random address of the bridge.
    const comparable = async (): Promise<string> =>
      (await stateOf(node))
        .replaceAll(/^\d+: /gm, "")
        .replaceAll(/(link\/ether|bridge_id|root_id) \S+ brd \S+|designated_root \S+/g, "")
        .split("\n")
        .sort()
        .join("\n");
    const before = await comparable();
    for (const argv of damage) await node.run(argv);
    // A fresh agent's: a running one believes the kernel's settings for a while.
    await createLinks({ run: node.runCommand }).ensure(want, { signal });
    expect(await comparable()).toBe(before);
    const settings = { ...settingsOf({ kind: "tap", device: tap }), ...settingsOf({ kind: "node" }) };
    for (const [key, value] of Object.entries(settings)) {
      expect(`${key} ${await setting(node, key)}`).toBe(`${key} ${value}`);
    }
  });

  test("an agent killed at any program of ensure leaves what the next one completes or removes", async () => {
    const want = { vmUid: ALPHA, interfaces: [interfaceOf(11)] };
    for (let survived = 0; ; survived += 1) {
      let left = survived;
      const run: RunCommand = (file, args, options) => {
        left -= 1;
        if (left < 0) return Promise.reject(new CommandError("aborted", file, args, {}));
        return node.runCommand(file, args, options);
      };
      const finished = await createLinks({ run })
        .ensure(want, { signal })
        .then(
          () => true,
          () => false,
        );
      await links.setUp({ signal });
      await links.ensure(want, { signal });
      expect(await node.run(["ip", "route", "show", "table", "1000007"])).toContain(`10.0.0.11 dev ${tap}`);
      await links.remove(ALPHA, { signal });
      expect(await node.run(["ip", "-brief", "link", "show", "type", "tun"])).toBe("");
      if (finished) break;
    }
  });

  test("a tap without an alias is removed at the next set-up, a stranger's tap never", async () => {
    await node.run(["ip", "tuntap", "add", "dev", tap, "mode", "tap"]);
    await node.run(["ip", "tuntap", "add", "dev", "tap0", "mode", "tap"]);
    await node.run(["ip", "link", "add", "vtap0", "type", "bridge"]);
    await links.setUp({ signal });
    await links.tearDown({ signal });
    const names = (await node.run(["ip", "-brief", "link", "show"]))
      .split("\n")
      .map((line) => line.split(/\s/)[0]);
    expect(names).not.toContain(tap);
    expect(names).not.toContain("vireo-gw");
    expect(names).toEqual(expect.arrayContaining(["tap0", "vtap0"]));
  });

  test("a device of somebody else with a name of ours is refused and left alone", async () => {
    await node.run(["ip", "link", "add", tap, "type", "bridge"]);
    const before = await stateOf(node);
    const ensuring = links.ensure({ vmUid: ALPHA, interfaces: [interfaceOf(11)] }, { signal });
    await expect(ensuring).rejects.toThrow(ForeignDeviceError);
    await links.remove(ALPHA, { signal });
    expect(await stateOf(node)).toBe(before);
  });

  test("machines that are made and removed at the same time do not lose each other's gateway", async () => {
    const uids = Array.from({ length: 8 }, (_, i) => `${i}0000000-0000-4000-8000-000000000000`);
    await Promise.all(
      uids.map((vmUid, i) => links.ensure({ vmUid, interfaces: [interfaceOf(20 + i)] }, { signal })),
    );
    await Promise.all(uids.slice(1).map((vmUid) => links.remove(vmUid, { signal })));
    expect(await gatewaysOn(node)).toEqual(["10.0.0.1/32"]);
    expect(await links.list({ signal })).toEqual(uids.slice(0, 1));
  });
});

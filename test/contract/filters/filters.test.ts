import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from "@jest/globals";

import type { DesiredFilters, Drops, Filters } from "../../../src/node-agent/filters/index.ts";
import type { NetworkNamespace } from "../../testbed/network-namespace.ts";
import { GUEST_DEVICE } from "../../testbed/packet-guest.ts";
import { waitFor } from "../../testbed/wait.ts";
import { openConversation } from "./conversation.ts";
import { type Argv, backends, connect, echoesAt, openStage, ping, type Stage } from "./stage.ts";
import {
  desired,
  type GuestName,
  guests,
  NODE_ADDRESS,
  OTHER_NODE_ADDRESS,
  type Participant,
  startTopology,
  type Topology,
} from "./topology.ts";

const signal = new AbortController().signal;

/** What happens, whether it is allowed, who does it, and how. */
const flows: readonly (readonly [string, boolean, Participant, Argv])[] = [
  ["a guest pings another guest", true, "alpha", ping("10.0.0.12")],
  ["a guest opens ssh on another guest", true, "alpha", connect("10.0.0.12", 22)],
  ["a guest opens another port of another guest", false, "alpha", connect("10.0.0.12", 80)],
  ["a guest pings a guest of another Network", false, "alpha", ping("10.1.0.13")],
  ["a guest opens ssh on a guest of another Network", false, "gamma", connect("10.0.0.11", 22)],
  ["the world pings a guest", true, "world", ping("10.0.0.11")],
  ["the world opens ssh on a guest", true, "world", connect("10.0.0.11", 22)],
  ["the world opens ssh on a guest of another Network", true, "world", connect("10.1.0.13", 22)],
  ["the world opens another port of a guest", false, "world", connect("10.0.0.11", 80)],
  ["a guest pings the world", true, "alpha", ping("192.0.2.2")],
  ["a guest opens any port of the world", true, "alpha", connect("192.0.2.2", 80)],
  ["a guest pings its gateway", true, "alpha", ping("10.0.0.1")],
  ["a guest pings the gateway of another Network", false, "alpha", ping("10.1.0.1")],
  ["a guest opens ssh on its gateway", false, "alpha", connect("10.0.0.1", 22)],
  ["a guest opens a service of its node", false, "alpha", connect(NODE_ADDRESS, 80)],
  ["a guest pings its node's own address", false, "alpha", ping(NODE_ADDRESS)],
  ["a guest opens a service of another node", false, "alpha", connect(OTHER_NODE_ADDRESS, 22)],
  ["a guest pings another node", false, "alpha", ping(OTHER_NODE_ADDRESS)],
  ["a guest asks for a cloud's metadata", false, "alpha", connect("169.254.169.254", 80)],
  ["the node pings a guest", true, "node", ping("10.0.0.11")],
  ["the node opens any port of a guest", true, "node", connect("10.0.0.11", 80)],
  [
    "another node opens ssh on a guest",
    true,
    "world",
    connect("10.0.0.11", 22, `bind=${OTHER_NODE_ADDRESS}`),
  ],
  ["the world reaches the node as before", true, "world", connect(NODE_ADDRESS, 80)],
];

const only = (...names: readonly GuestName[]): DesiredFilters => ({
  ...desired,
  guests: names.map((name) => guests[name]),
});

describe.each(backends)("filters, with the kernel's own packets and iptables-%s", (backend) => {
  let topology: Topology;
  let stage: Stage;
  let filters: Filters;

  beforeAll(async () => {
    topology = await startTopology();
    stage = openStage(topology, backend);
  });
  afterAll(() => topology.stop());

  beforeEach(async () => {
    filters = stage.freshFilters();
    await filters.sync(desired, { signal });
  });
  afterEach(() => filters.tearDown({ signal }));

  test.each(flows)("%s: %s", async (_what, allowed, from, argv) => {
    expect(await topology[from].succeeds(argv)).toBe(allowed);
  });

  test("without the filter, everything that it refuses is possible", async () => {
    await filters.tearDown({ signal });
    for (const [what, , from, argv] of flows) {
      expect(`${what}: ${await topology[from].succeeds(argv)}`).toBe(`${what}: true`);
    }
  });

  test("a service that is published on a node's address is refused, wherever it is translated to", async () => {
    const { node, alpha, world } = topology;
    const published = connect(NODE_ADDRESS, 30080);
    const toPort = ["-d", NODE_ADDRESS, "-p", "tcp", "--dport", "30080"];
    const translated = ["-j", "DNAT", "--to-destination", "192.0.2.2:80"];
    await stage.iptables("-t", "nat", "-A", "PREROUTING", ...toPort, ...translated);
    try {
      expect(await alpha.succeeds(published)).toBe(false);
      await filters.tearDown({ signal });
      expect(await alpha.succeeds(published)).toBe(true);
    } finally {
      await stage.iptables("-t", "nat", "-F", "PREROUTING");
    }
    expect(await world.succeeds(connect(NODE_ADDRESS, 80))).toBe(true);
    expect(await node.succeeds(ping("192.0.2.2"))).toBe(true);
  });

  test("a guest that sends from another address is not heard, not even by the node", async () => {
    const { alpha, beta, world, node } = topology;
    await alpha.run(["ip", "address", "add", "10.0.0.66/32", "dev", GUEST_DEVICE]);
    try {
      const before = [await echoesAt(world), await echoesAt(node), await echoesAt(beta)];
      for (const target of ["192.0.2.2", "10.0.0.1", "10.0.0.12"]) {
        await alpha.succeeds(ping(target, "-I", "10.0.0.66"));
      }
      expect([await echoesAt(world), await echoesAt(node), await echoesAt(beta)]).toEqual(before);
      await alpha.run(ping("192.0.2.2", "-I", "10.0.0.11"));
      expect(await echoesAt(world)).toBe((before[0] ?? 0) + 1);
      const alphaWithMore = { ...guests.alpha, allowedAddresses: ["10.0.0.66"] };
      await filters.sync({ ...desired, guests: [alphaWithMore, guests.beta] }, { signal });
      await alpha.succeeds(ping("10.0.0.12", "-I", "10.0.0.66"));
      expect(await echoesAt(beta)).toBe((before[2] ?? 0) + 1);
    } finally {
      await alpha.run(["ip", "address", "delete", "10.0.0.66/32", "dev", GUEST_DEVICE]);
    }
  });

  test("a guest that sends from another hardware address is not heard", async () => {
    const { alpha, world } = topology;
    const setAddress = (macAddress: string): Promise<string> =>
      alpha.run(["ip", "link", "set", GUEST_DEVICE, "address", macAddress]);
    const before = await echoesAt(world);
    await setAddress("02:66:66:66:66:66");
    try {
      await alpha.succeeds(ping("192.0.2.2"));
      expect(await echoesAt(world)).toBe(before);
    } finally {
      await setAddress(guests.alpha.macAddress);
    }
    await alpha.run(ping("192.0.2.2"));
    expect(await echoesAt(world)).toBe(before + 1);
  });

  test("a guest that the filter does not know sends and receives nothing", async () => {
    await filters.sync(only("beta"), { signal });
    expect(await topology.alpha.succeeds(ping("192.0.2.2"))).toBe(false);
    expect(await topology.alpha.succeeds(ping("10.0.0.1"))).toBe(false);
    expect(await topology.world.succeeds(connect("10.0.0.11", 22))).toBe(false);
    expect(await topology.world.succeeds(connect("10.0.0.12", 22))).toBe(true);
  });

  test("a connection survives another guest's coming and a repair of the rules", async () => {
    await using conversation = await openConversation(topology.world, "10.0.0.11", 22);
    expect(await conversation.say("one")).toBe("one");
    await filters.sync(only("alpha"), { signal });
    await filters.sync(desired, { signal });
    expect(await conversation.say("two")).toBe("two");
    await stage.iptables("-F", "VIREO-EGRESS");
    await filters.sync(desired, { signal, verify: true });
    expect(await conversation.say("three")).toBe("three");
  });

  test("the world sees guests by the node's address, and not at all where egress is None", async () => {
    const seenFrom = async (): Promise<string> => {
      const answer = await topology.alpha.run([
        "socat",
        "-T1",
        "-",
        "TCP4:192.0.2.2:4444,connect-timeout=1,shut-none",
      ]);
      return answer.trim();
    };
    const telling = "TCP4-LISTEN:4444,fork,reuseaddr";
    await using _listener = await topology.world
      .startDaemon(`peer-${backend}`, ["socat", telling, "SYSTEM:echo $SOCAT_PEERADDR"])
      .then((daemon) => ({ [Symbol.asyncDispose]: () => daemon.stop(0) }));
    await waitFor("the telling port", () => topology.node.succeeds(connect("192.0.2.2", 4444)), {
      intervalMs: 10,
    });
    expect(await seenFrom()).toBe(NODE_ADDRESS);
    const closed = (exceptions: readonly string[]): DesiredFilters => ({
      ...desired,
      networks: [{ vni: 5, cidr: "10.0.0.0/24", egress: "None", egressExceptions: exceptions, peers: [] }],
    });
    await filters.sync(closed([]), { signal });
    await expect(seenFrom()).rejects.toThrow();
    await filters.sync(closed(["10.0.0.11"]), { signal });
    expect(await topology.alpha.succeeds(ping("192.0.2.2"))).toBe(true);
    expect(await topology.beta.succeeds(ping("192.0.2.2"))).toBe(false);
    expect(await topology.alpha.succeeds(ping("10.0.0.12"))).toBe(true);
  });

  test("Networks that route to each other reach each other", async () => {
    const peers = desired.networks.map(({ vni, cidr }) => ({ vni, cidr }));
    const joined = desired.networks.map((network) => ({
      ...network,
      peers: peers.filter(({ vni }) => vni !== network.vni),
    }));
    await filters.sync({ ...desired, networks: joined }, { signal });
    expect(await topology.alpha.succeeds(ping("10.1.0.13"))).toBe(true);
    expect(await topology.gamma.succeeds(connect("10.0.0.11", 22))).toBe(true);
    expect(await topology.gamma.succeeds(connect("10.0.0.11", 80))).toBe(false);
  });

  test("what is refused is counted by its reason, over all changes of the rules", async () => {
    const { alpha, world } = topology;
    const drops = (): Promise<Drops> => filters.observeDrops({ signal });
    const before = await drops();
    await world.succeeds(connect("10.0.0.11", 80));
    await alpha.succeeds(ping("10.1.0.13"));
    await alpha.succeeds(ping(NODE_ADDRESS));
    const { ingress, ...others } = await drops();
    // A connection is tried more than once.
    expect(ingress).toBeGreaterThan(before.ingress);
    expect(others).toMatchObject({
      network: before.network + 1,
      node: before.node + 1,
      egress: before.egress,
    });
    await filters.sync({ ...desired, groups: [] }, { signal });
    await alpha.succeeds(ping("192.0.2.2"));
    expect(await drops()).toMatchObject({ ...others, ingress, egress: before.egress + 1 });
  });

  test("IPv6 does not pass a tap, not even where somebody switched it on", async () => {
    const { node, alpha } = topology;
    const { tap } = guests.alpha;
    await node.run(["sysctl", "-q", "-w", `net.ipv6.conf.${tap}.disable_ipv6=0`]);
    const addresses: readonly [NetworkNamespace, string, string][] = [
      [node, "fd00::1/64", tap],
      [alpha, "fd00::2/64", GUEST_DEVICE],
    ];
    for (const [where, address, device] of addresses) {
      await where.run(["ip", "-6", "address", "add", address, "dev", device, "nodad"]);
    }
    expect(await alpha.succeeds(ping("fd00::1", "-6"))).toBe(false);
    await filters.tearDown({ signal });
    expect(await alpha.succeeds(ping("fd00::1", "-6"))).toBe(true);
    await alpha.run(["ip", "-6", "address", "flush", "dev", GUEST_DEVICE, "scope", "global"]);
    await node.run(["sysctl", "-q", "-w", `net.ipv6.conf.${tap}.disable_ipv6=1`]);
  });
});

import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from "@jest/globals";

import { createFilters, type Filters } from "../../../src/node-agent/filters/index.ts";
import type { CommandOptions, RunCommand } from "../../../src/node-agent/host/command.ts";
import type { NetworkNamespace } from "../../testbed/network-namespace.ts";
import { GUEST_DEVICE } from "../../testbed/packet-guest.ts";
import { openConversation } from "./conversation.ts";
import { NODE_ADDRESS, OTHER_NODE_ADDRESS, startTopology, type Topology } from "./topology.ts";

const signal = new AbortController().signal;

type Argv = readonly [string, ...string[]];
const ping = (address: string, ...options: readonly string[]): Argv => [
  "ping",
  "-c",
  "1",
  "-W",
  "0.7",
  ...options,
  address,
];
/** Opens a TCP connection and closes it. */
const connect = (address: string, port: number, ...options: readonly string[]): Argv => [
  "socat",
  "-u",
  "/dev/null",
  [`TCP4:${address}:${port}`, "connect-timeout=1", ...options].join(","),
];

type Place = "alpha" | "beta" | "world" | "node";
/** What happens, whether it is allowed, who does it, and how. */
const flows: readonly (readonly [string, boolean, Place, Argv])[] = [
  ["a guest pings another guest", true, "alpha", ping("10.0.0.12")],
  ["a guest opens ssh on another guest", true, "alpha", connect("10.0.0.12", 22)],
  ["a guest opens another port of another guest", false, "alpha", connect("10.0.0.12", 80)],
  ["the world pings a guest", true, "world", ping("10.0.0.11")],
  ["the world opens ssh on a guest", true, "world", connect("10.0.0.11", 22)],
  ["the world opens another port of a guest", false, "world", connect("10.0.0.11", 80)],
  ["a guest pings the world", true, "alpha", ping("192.0.2.2")],
  ["a guest opens any port of the world", true, "alpha", connect("192.0.2.2", 80)],
  ["a guest pings its gateway", true, "alpha", ping("10.0.0.1")],
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

/** Echo requests that the namespace has received, whether it could answer them or not. */
const echoesAt = async (namespace: NetworkNamespace): Promise<number> => {
  const counters = await namespace.run(["nstat", "-asz", "IcmpInEchos"]);
  return Number(/IcmpInEchos\s+(\d+)/.exec(counters)?.[1]);
};

/** Backends of iptables; the programs' names follow from them. */
const backends = ["nft", "legacy"] as const;
type Backend = (typeof backends)[number];

const withBackend =
  (run: RunCommand, backend: Backend, record: (file: string, options: CommandOptions) => void): RunCommand =>
  (file, args, options) => {
    record(file, options);
    return run(file.replace(/^(ip6?tables)-/, `$1-${backend}-`), args, options);
  };

describe.each(backends)("filters, with the kernel's own packets and iptables-%s", (backend) => {
  let topology: Topology;
  let filters: Filters;
  let restores: string[];

  const sync = (): Promise<void> => filters.sync([topology.filters.alpha, topology.filters.beta], { signal });
  const tables = async (): Promise<string> => {
    const texts = [];
    for (const program of ["iptables", "ip6tables"]) {
      texts.push(await topology.node.run([`${program}-${backend}-save`, "-t", "filter"]));
    }
    return texts
      .join("")
      .replaceAll(/^#.*\n/gm, "")
      .replaceAll(/\[\d+:\d+\]/g, "");
  };
  const iptables = (...args: readonly string[]): Promise<string> =>
    topology.node.run([`iptables-${backend}`, ...args]);

  beforeAll(async () => {
    topology = await startTopology();
  });
  afterAll(() => topology.stop());

  beforeEach(async () => {
    restores = [];
    const run = withBackend(topology.node.runCommand, backend, (file, { stdin = "" }) => {
      if (file.endsWith("-restore")) restores.push(stdin);
    });
    filters = createFilters({ run, nodeAddresses: () => [NODE_ADDRESS, OTHER_NODE_ADDRESS, "2001:db8::1"] });
    await sync();
    restores = [];
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
    await iptables("-t", "nat", "-A", "PREROUTING", ...toPort, ...translated);
    try {
      expect(await alpha.succeeds(published)).toBe(false);
      await filters.tearDown({ signal });
      expect(await alpha.succeeds(published)).toBe(true);
    } finally {
      await iptables("-t", "nat", "-F", "PREROUTING");
    }
    expect(await world.succeeds(connect(NODE_ADDRESS, 80))).toBe(true);
    expect(await node.succeeds(ping("192.0.2.2"))).toBe(true);
  });

  test("a guest that sends from another address is not heard, not even by the node", async () => {
    const { alpha, world, node } = topology;
    await alpha.run(["ip", "address", "add", "10.0.0.66/32", "dev", GUEST_DEVICE]);
    // rp_filter would drop these as well: here the filter has to do it alone.
    const { tap } = topology.filters.alpha;
    await node.run(["sysctl", "-q", "-w", `net.ipv4.conf.${tap}.rp_filter=0`]);
    try {
      const before = [await echoesAt(world), await echoesAt(node), await echoesAt(topology.beta)];
      for (const target of ["192.0.2.2", "10.0.0.1", "10.0.0.12"]) {
        await alpha.succeeds(ping(target, "-I", "10.0.0.66"));
      }
      expect([await echoesAt(world), await echoesAt(node), await echoesAt(topology.beta)]).toEqual(before);
      await alpha.run(ping("192.0.2.2", "-I", "10.0.0.11"));
      expect(await echoesAt(world)).toBe((before[0] ?? 0) + 1);
    } finally {
      await node.run(["sysctl", "-q", "-w", `net.ipv4.conf.${tap}.rp_filter=1`]);
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
      await setAddress(topology.filters.alpha.macAddress);
    }
    await alpha.run(ping("192.0.2.2"));
    expect(await echoesAt(world)).toBe(before + 1);
  });

  test("a guest that the filter does not know sends and receives nothing", async () => {
    await filters.sync([topology.filters.beta], { signal });
    expect(await topology.alpha.succeeds(ping("192.0.2.2"))).toBe(false);
    expect(await topology.alpha.succeeds(ping("10.0.0.1"))).toBe(false);
    expect(await topology.world.succeeds(connect("10.0.0.11", 22))).toBe(false);
    expect(await topology.world.succeeds(connect("10.0.0.12", 22))).toBe(true);
  });

  test("a connection survives another guest's coming and a repair of the rules", async () => {
    await using conversation = await openConversation(topology.world, "10.0.0.11", 22);
    expect(await conversation.say("one")).toBe("one");
    await filters.sync([topology.filters.alpha], { signal });
    await sync();
    expect(await conversation.say("two")).toBe("two");
    await iptables("-F", "VIREO-EGRESS");
    await sync();
    expect(await conversation.say("three")).toBe("three");
  });

  test("a second pass over the same guests, in any order, changes nothing", async () => {
    const before = await tables();
    await sync();
    await filters.sync([topology.filters.beta, topology.filters.alpha], { signal });
    expect(restores).toEqual([]);
    expect(await tables()).toBe(before);
  });

  test("a guest that leaves costs the chains that name it, and no others", async () => {
    await filters.sync([topology.filters.alpha], { signal });
    const [text = ""] = restores;
    const touched = [...text.matchAll(/^:(\S+) /gm)].map(([, chain = ""]) => chain).toSorted();
    const { tap } = topology.filters.beta;
    expect(touched).toEqual(["VIREO-EGRESS", "VIREO-INGRESS", `VIREO-E-${tap}`, `VIREO-I-${tap}`].toSorted());
    expect(await tables()).not.toContain(tap);
  });

  test.each<[string, readonly (readonly string[])[]]>([
    ["a chain is emptied", [["-F", "VIREO-FORWARD"]]],
    ["a rule is missing", [["-D", "VIREO-FORWARD", "2"]]],
    ["a rule is put in first", [["-I", "VIREO-FORWARD", "1", "-j", "ACCEPT"]]],
    ["a rule is appended", [["-A", "VIREO-INPUT", "-j", "ACCEPT"]]],
    ["a rule is replaced", [["-R", "VIREO-INPUT", "1", "-j", "ACCEPT"]]],
    ["the jump is missing", [["-D", "FORWARD", "1"]]],
    ["a stranger's rule comes before the jump", [["-I", "FORWARD", "1", "-p", "sctp", "-j", "ACCEPT"]]],
    [
      "a chain of an older version is there",
      [
        ["-N", "VIREO-OLD"],
        ["-A", "VIREO-OLD", "-j", "ACCEPT"],
      ],
    ],
    ["everything is gone", [["-F"], ["-X"]]],
  ])("drift is repaired: %s", async (_what, damage) => {
    const before = await tables();
    for (const args of damage) await iptables(...args);
    await sync();
    const after = await tables();
    expect(after.replaceAll(/^-A FORWARD -p sctp -j ACCEPT\n/gm, "")).toBe(before);
    await iptables("-D", "FORWARD", "-p", "sctp", "-j", "ACCEPT").catch(() => "it was not there");
  });

  test("rules of somebody else stay as they are, and nothing of ours stays after the tear-down", async () => {
    await filters.tearDown({ signal });
    const foreign = [
      ["-N", "KUBE-FORWARD"],
      ["-A", "KUBE-FORWARD", "-m", "comment", "--comment", 'it\'s "quoted"', "-j", "ACCEPT"],
      ["-A", "FORWARD", "-j", "KUBE-FORWARD"],
      ["-A", "INPUT", "-s", "203.0.113.0/24", "-j", "DROP"],
    ];
    for (const args of foreign) await iptables(...args);
    const before = await tables();
    await sync();
    await filters.sync([], { signal });
    expect(
      (await tables())
        .split("\n")
        .filter((line) => !line.includes("VIREO-"))
        .join("\n"),
    ).toBe(before);
    await filters.tearDown({ signal });
    expect(await tables()).toBe(before);
    await filters.tearDown({ signal });
    expect(await tables()).toBe(before);
    for (const args of [["-F"], ["-X"]]) await iptables(...args);
  });

  test("the jumps are the first rules, once, after any number of agents", async () => {
    for (let i = 0; i < 3; i += 1) await sync();
    for (const chain of ["FORWARD", "INPUT"]) {
      const rules = (await iptables("-S", chain)).split("\n").filter((line) => line.startsWith("-A"));
      expect(rules).toHaveLength(1);
      expect(rules[0]).toMatch(new RegExp(`-j VIREO-${chain}$`));
    }
  });

  test("IPv6 does not pass a tap, not even where somebody switched it on", async () => {
    const { node, alpha, filters: wanted } = topology;
    const setting = `net.ipv6.conf.${wanted.alpha.tap}.disable_ipv6`;
    await node.run(["sysctl", "-q", "-w", `${setting}=0`]);
    const addresses: readonly [NetworkNamespace, string, string][] = [
      [node, "fd00::1/64", wanted.alpha.tap],
      [alpha, "fd00::2/64", GUEST_DEVICE],
    ];
    for (const [where, address, device] of addresses) {
      await where.run(["ip", "-6", "address", "add", address, "dev", device, "nodad"]);
    }
    expect(await alpha.succeeds(ping("fd00::1", "-6"))).toBe(false);
    await filters.tearDown({ signal });
    expect(await alpha.succeeds(ping("fd00::1", "-6"))).toBe(true);
    await alpha.run(["ip", "-6", "address", "flush", "dev", GUEST_DEVICE, "scope", "global"]);
    await node.run(["sysctl", "-q", "-w", `${setting}=1`]);
  });
});

import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from "@jest/globals";

import { HAIRPIN_TAG, MARK_MASK, MARK_TAG_MASK, REVOKED_BIT } from "../../../src/api/network-identity.ts";
import type { DesiredFilters, FilterRule, Filters } from "../../../src/node-agent/filters/index.ts";
import { openConversation } from "./conversation.ts";
import { type Argv, backends, connect, openStage, ping, type Stage } from "./stage.ts";
import {
  ANYTHING,
  desired,
  guests,
  NODE_ADDRESS,
  type Participant,
  PING,
  startTopology,
  tcp,
  type Topology,
} from "./topology.ts";

const signal = new AbortController().signal;

interface Rules {
  readonly ingress?: readonly FilterRule[];
  readonly egress?: readonly FilterRule[];
}

/** alpha has these rules, beta and gamma let everything pass. */
const withRules = ({ ingress = [], egress = [ANYTHING] }: Rules): DesiredFilters => ({
  ...desired,
  guests: [
    { ...guests.alpha, securityGroups: ["alpha"] },
    { ...guests.beta, securityGroups: ["open"] },
    { ...guests.gamma, securityGroups: ["open"] },
  ],
  groups: [
    { uid: "alpha", ingress, egress, logRefused: true },
    { uid: "open", ingress: [ANYTHING], egress: [ANYTHING], logRefused: false },
  ],
  members: [{ groupUid: "open", vni: 5, addresses: ["10.0.0.12"] }],
});

const cidrs = (blocks: readonly string[], except: readonly string[] = []): FilterRule["remote"] => ({
  kind: "cidrs",
  cidrs: blocks,
  except,
});
const open = { kind: "group", uid: "open" } as const;
const toAlpha = { ping: ping("10.0.0.11"), ssh: connect("10.0.0.11", 22), http: connect("10.0.0.11", 80) };

/** A rule set, who does what, and whether it is allowed. */
const cases: readonly (readonly [string, Rules, Participant, Argv, boolean])[] = [
  ["no rule", {}, "beta", toAlpha.ping, false],
  ["a port", { ingress: [tcp(80)] }, "world", toAlpha.http, true],
  ["a port, and another is opened", { ingress: [tcp(80)] }, "world", toAlpha.ssh, false],
  [
    "a range of ports",
    { ingress: [{ ...tcp(80), ports: { first: 20, last: 90 } }] },
    "beta",
    toAlpha.ssh,
    true,
  ],
  [
    "a reversed range",
    { ingress: [{ ...tcp(80), ports: { first: 90, last: 20 } }] },
    "beta",
    toAlpha.ssh,
    false,
  ],
  ["protocol 0", { ingress: [{ ...ANYTHING, protocol: 0 }] }, "beta", toAlpha.ping, false],
  ["every ICMP", { ingress: [{ ...ANYTHING, protocol: 1 }] }, "beta", toAlpha.ping, true],
  ["ICMP type 255", { ingress: [{ ...PING, icmp: { type: 255 } }] }, "beta", toAlpha.ping, false],
  ["another ICMP code", { ingress: [{ ...PING, icmp: { type: 8, code: 1 } }] }, "beta", toAlpha.ping, false],
  ["a member", { ingress: [{ ...PING, remote: open }] }, "beta", toAlpha.ping, true],
  [
    "a member, and somebody else sends",
    { ingress: [{ ...PING, remote: open }] },
    "world",
    toAlpha.ping,
    false,
  ],
  ["one block", { ingress: [{ ...PING, remote: cidrs(["10.0.0.0/28"]) }] }, "beta", toAlpha.ping, true],
  [
    "one block, from outside",
    { ingress: [{ ...PING, remote: cidrs(["10.0.0.0/28"]) }] },
    "world",
    toAlpha.ping,
    false,
  ],
  ["two blocks", { ingress: [tcp(80, cidrs(["10.9.0.0/16", "192.0.2.0/24"]))] }, "world", toAlpha.http, true],
  [
    "everywhere but one block",
    { ingress: [tcp(80, cidrs(["0.0.0.0/0"], ["192.0.2.0/24"]))] },
    "world",
    toAlpha.http,
    false,
  ],
  [
    "everywhere but one block, from elsewhere",
    { ingress: [tcp(80, cidrs(["0.0.0.0/0"], ["192.0.2.0/24"]))] },
    "beta",
    toAlpha.http,
    true,
  ],
  [
    "a block inside an exception",
    { ingress: [tcp(80, cidrs(["192.0.0.0/16", "192.0.2.2/32"], ["192.0.2.0/24"]))] },
    "world",
    toAlpha.http,
    false,
  ],
  ["nothing to send", { egress: [] }, "alpha", ping("10.0.0.12"), false],
  ["nothing to send, and the gateway", { egress: [] }, "alpha", ping("10.0.0.1"), true],
  ["nothing to send, and it is asked", { egress: [], ingress: [PING] }, "world", toAlpha.ping, true],
  ["to members only", { egress: [{ ...ANYTHING, remote: open }] }, "alpha", connect("10.0.0.12", 80), true],
  [
    "to members only, elsewhere",
    { egress: [{ ...ANYTHING, remote: open }] },
    "alpha",
    ping("192.0.2.2"),
    false,
  ],
  ["one port to the world", { egress: [tcp(80)] }, "alpha", connect("192.0.2.2", 80), true],
  [
    "one port to the world, and another is opened",
    { egress: [tcp(80)] },
    "alpha",
    connect("192.0.2.2", 22),
    false,
  ],
];

describe.each(backends)("security groups, with the kernel's own packets and iptables-%s", (backend) => {
  let topology: Topology;
  let stage: Stage;
  let filters: Filters;

  beforeAll(async () => {
    topology = await startTopology();
    stage = openStage(topology, backend);
    filters = stage.freshFilters();
  });
  afterAll(() => topology.stop());
  beforeEach(async () => {
    await filters.sync(desired, { signal });
  });
  afterEach(() => filters.tearDown({ signal }));

  test.each(cases)("%s: %j from %s", async (_what, rules, from, argv, allowed) => {
    await filters.sync(withRules(rules), { signal });
    expect(await topology[from].succeeds(argv)).toBe(allowed);
  });

  test("a guest in several groups may do what any of them allows", async () => {
    const both = withRules({ ingress: [tcp(80)] });
    const alpha = { ...guests.alpha, securityGroups: ["alpha", "more", "not there"] };
    const more = { uid: "more", ingress: [PING], egress: [], logRefused: false };
    await filters.sync({ ...both, guests: [alpha], groups: [...both.groups, more] }, { signal });
    expect(await topology.world.succeeds(toAlpha.http)).toBe(true);
    expect(await topology.world.succeeds(toAlpha.ping)).toBe(true);
    expect(await topology.world.succeeds(toAlpha.ssh)).toBe(false);
    await filters.sync({ ...both, guests: [{ ...alpha, securityGroups: [] }] }, { signal });
    expect(await topology.world.succeeds(toAlpha.http)).toBe(false);
    expect(await topology.alpha.succeeds(ping("192.0.2.2"))).toBe(false);
  });

  test("who joins a group is let in at once, and who leaves it is not", async () => {
    const wanted = withRules({ ingress: [{ ...PING, remote: open }] });
    const members = (...addresses: readonly string[]): DesiredFilters => ({
      ...wanted,
      members: [{ groupUid: "open", vni: 5, addresses }],
    });
    await filters.sync(members(), { signal });
    expect(await topology.beta.succeeds(toAlpha.ping)).toBe(false);
    await filters.sync(members("10.0.0.12"), { signal });
    expect(await topology.beta.succeeds(toAlpha.ping)).toBe(true);
    await filters.sync(members("10.0.0.99"), { signal });
    expect(await topology.beta.succeeds(toAlpha.ping)).toBe(false);
  });

  test("a connection that is revoked is refused on both sides, and others go on", async () => {
    const { node, world } = topology;
    await using revoked = await openConversation(world, "10.0.0.11", 22);
    await using other = await openConversation(world, "10.0.0.12", 22);
    expect(await revoked.say("one")).toBe("one");
    expect(await other.say("one")).toBe("one");
    const mask = `${REVOKED_BIT}/${REVOKED_BIT}`;
    await node.run(["conntrack", "-U", "-p", "tcp", "-d", "10.0.0.11", "--dport", "22", "--mark", mask]);
    await expect(revoked.say("two")).rejects.toThrow();
    expect(await other.say("two")).toBe("two");
    await using fresh = await openConversation(world, "10.0.0.11", 22);
    expect(await fresh.say("three")).toBe("three");
  });

  test("what comes back to this node by a floating address is judged by the node's address", async () => {
    const fromNode = tcp(80, cidrs([`${NODE_ADDRESS}/32`]));
    // Stands for the room floating: what beta sends to an address of the node goes to alpha.
    const toFloating = ["-i", guests.beta.tap, "-d", "192.0.2.50"];
    const mark = `${HAIRPIN_TAG + 5}/${MARK_MASK}`;
    const mangle = ["-t", "mangle", "-A", "PREROUTING", ...toFloating, "-j", "MARK", "--set-xmark", mark];
    const nat = [
      "-t",
      "nat",
      "-A",
      "PREROUTING",
      ...toFloating,
      "-j",
      "DNAT",
      "--to-destination",
      "10.0.0.11",
    ];
    await stage.iptables(...mangle);
    await stage.iptables(...nat);
    const hairpin = ["-m", "mark", "--mark", `${HAIRPIN_TAG}/${MARK_TAG_MASK}`];
    const snat = ["-j", "SNAT", "--to-source", NODE_ADDRESS];
    await stage.iptables("-t", "nat", "-I", "POSTROUTING", "1", ...hairpin, ...snat);
    const floating = connect("192.0.2.50", 80);
    try {
      for (const [rules, allowed] of [
        [{ ingress: [fromNode] }, true],
        [{ ingress: [tcp(80)] }, true],
        [{ ingress: [tcp(80, open)] }, false],
        [{ ingress: [tcp(80, cidrs(["10.0.0.0/24"]))] }, false],
      ] as const) {
        await filters.sync(withRules(rules), { signal });
        expect([rules, await topology.beta.succeeds(floating)]).toEqual([rules, allowed]);
      }
    } finally {
      await stage.iptables("-t", "mangle", "-F", "PREROUTING");
      await stage.iptables("-t", "nat", "-F", "PREROUTING");
      await stage.iptables("-t", "nat", "-D", "POSTROUTING", ...hairpin, ...snat);
    }
  });
});

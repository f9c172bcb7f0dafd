import { describe, expect, test } from "@jest/globals";
import fc from "fast-check";

import { affectedGuests } from "../../../../src/node-agent/filters/affected.ts";
import { groupEgressChain, groupIngressChain, membersSet } from "../../../../src/node-agent/filters/owner.ts";
import { createRuleWriter, ipv6Rules, type NodeRules } from "../../../../src/node-agent/filters/rules.ts";
import type {
  DesiredFilters,
  FilterGroup,
  FilterNetwork,
  FilterRule,
  GuestFilter,
} from "../../../../src/node-agent/filters/types.ts";

const guestOf = (host: number, securityGroups: readonly string[] = ["web"]): GuestFilter => ({
  vmUid: `${host}1111111-1111-4111-8111-111111111111`,
  namespace: "team",
  name: `web-${host}`,
  tap: `vtap${host}000000000${host}`,
  vni: 5,
  macAddress: `02:00:00:00:00:0${host}`,
  address: `10.0.0.1${host}`,
  allowedAddresses: [],
  gateway: "10.0.0.1",
  securityGroups,
});

const ANYTHING: FilterRule = { protocol: "any", remote: { kind: "any" } };
const groupOf = (uid: string, ingress: readonly FilterRule[], egress = [ANYTHING]): FilterGroup => ({
  uid,
  ingress,
  egress,
  logRefused: false,
});
const blue: FilterNetwork = { vni: 5, cidr: "10.0.0.0/24", egress: "NAT", peers: [] };
const red: FilterNetwork = { vni: 6, cidr: "10.1.0.0/24", egress: "NAT", peers: [] };

const [one, two] = [guestOf(1), guestOf(2)];

const base: DesiredFilters = {
  guests: [one],
  networks: [blue],
  groups: [groupOf("web", [{ protocol: 6, ports: { first: 22, last: 22 }, remote: { kind: "any" } }])],
  members: [],
  nodeAddresses: ["192.0.2.1"],
  tunnelAddress: "192.0.2.1",
  vxlanPort: 14_789,
};

const ipv4Rules = (desired: DesiredFilters): NodeRules => createRuleWriter()(desired);

type Table = keyof NodeRules["tables"];
const chainOf = (desired: DesiredFilters, table: Table, chain: string): readonly string[] | undefined =>
  ipv4Rules(desired).tables[table]?.chains.get(chain);
const allRules = (desired: DesiredFilters): readonly string[] =>
  Object.values(ipv4Rules(desired).tables).flatMap(({ chains }) => [...chains.values()].flat());

/** What the group allows in. */
const ingressOf = (rule: FilterRule, desired = base): readonly string[] | undefined =>
  chainOf({ ...desired, groups: [groupOf("web", [rule])] }, "filter", groupIngressChain("web", 5));

/** All of the list, in any order, and some of it twice. */
const anyOrder = <T>(list: readonly T[]): fc.Arbitrary<T[]> =>
  fc
    .tuple(fc.shuffledSubarray([...list], { minLength: list.length }), fc.subarray([...list]))
    .map((parts) => parts.flat());

describe("the rules for IPv4", () => {
  test("look at the sender first, then at what is revoked, and then let answers pass", () => {
    expect(chainOf(base, "filter", "VIREO-FORWARD")).toEqual([
      "-i vtap+ -j VIREO-SENDER",
      "-i vtap+ -m connmark --mark 0x800000/0x800000 -p tcp -j REJECT --reject-with tcp-reset",
      "-i vtap+ -m connmark --mark 0x800000/0x800000 -j DROP",
      "-o vtap+ -m connmark --mark 0x800000/0x800000 -p tcp -j REJECT --reject-with tcp-reset",
      "-o vtap+ -m connmark --mark 0x800000/0x800000 -j DROP",
      "-i vtap+ -m conntrack --ctstate INVALID,UNTRACKED -j DROP",
      "-o vtap+ -m conntrack --ctstate INVALID,UNTRACKED -j DROP",
      "-i vtap+ -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT",
      "-o vtap+ -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT",
      "-i vtap+ -d 169.254.0.0/16 -j DROP",
      "-i vtap+ -m set --match-set vireo-nodes dst -j DROP",
      "-i vtap+ -j VIREO-ISOLATION",
      "-i vvx+ -j VIREO-ISOLATION",
      "-i vtap+ -j VIREO-EGRESS",
      "-o vtap+ -j VIREO-INGRESS",
      "-i vvx+ -o vvx+ -j ACCEPT",
      "-i vvx+ -m conntrack --ctstate NEW,INVALID,UNTRACKED -j DROP",
    ]);
    expect(chainOf(base, "filter", "VIREO-INPUT")?.[0]).toBe("-i vtap+ -j VIREO-SENDER");
  });

  test("lead to the chains of a tap, and refuse every other tap", () => {
    const chain = (name: string) => chainOf(base, "filter", `VIREO-${name}`);
    const tap = "vtap10000000001";
    expect(chain("SENDER")).toEqual([
      "-p udp -m udp --sport 67 -j DROP",
      "-i vtap1+ -g VIREO-SENDER-1",
      "-j DROP",
    ]);
    expect(chain("SENDER-1")).toEqual([`-i ${tap} -g VIREO-S-${tap}`, "-j DROP"]);
    expect(chain("EGRESS")).toEqual(["-i vtap1+ -g VIREO-EGRESS-1", "-j DROP"]);
    expect(chain("INGRESS")).toEqual([
      "-o vtap+ -m mark --mark 0x57000000/0xff000000 -g VIREO-HAIRPIN",
      "-o vtap1+ -g VIREO-INGRESS-1",
      "-o vtap+ -j DROP",
      "-j ACCEPT",
    ]);
    expect(chain(`S-${tap}`)).toEqual([
      "-m mac ! --mac-source 02:00:00:00:00:01 -j DROP",
      "-s 10.0.0.11 -j RETURN",
      "-j DROP",
    ]);
    expect(chain(`I-${tap}`)).toEqual([`-j ${groupIngressChain("web", 5)}`, "-j DROP"]);
    expect(chain(`E-${tap}`)).toEqual([`-j ${groupEgressChain("web", 5)}`, "-j DROP"]);
  });

  test("let a guest send from the addresses that it is allowed, and from nothing that is no address", () => {
    const guest = { ...one, allowedAddresses: ["10.0.0.100", "0.0.0.0/0", "any"] };
    expect(chainOf({ ...base, guests: [guest] }, "filter", `VIREO-S-${one.tap}`)).toEqual([
      "-m mac ! --mac-source 02:00:00:00:00:01 -j DROP",
      "-s 10.0.0.100 -j RETURN",
      "-s 10.0.0.11 -j RETURN",
      "-j DROP",
    ]);
  });

  test("keep a Network's packets and connections apart from others", () => {
    const peered = {
      ...base,
      networks: [
        { ...blue, peers: [red] },
        { ...red, peers: [blue] },
      ],
    };
    expect(chainOf(peered, "raw", "VIREO-NET-5")).toEqual([
      "-j MARK --set-xmark 0x56000005/0xff003fff",
      "-d 10.0.0.1 -j CT --zone-orig 5",
      "-s 10.0.0.0/24 -d 10.0.0.0/24 -j CT --zone 5",
      "-s 10.0.0.0/24 -d 10.1.0.0/24 -j CT --zone 5",
      "-s 10.1.0.0/24 -d 10.0.0.0/24 -j CT --zone 5",
      "-s 10.0.0.0/24 -j CT --zone-orig 5",
    ]);
    expect(chainOf(peered, "raw", "VIREO-NET-6")).toContain("-s 10.1.0.0/24 -d 10.0.0.0/24 -j CT --zone 5");
    expect(chainOf(peered, "filter", "VIREO-NET-5")).toEqual([
      "-m devgroup --dst-group 0x560005 -j RETURN",
      "-m devgroup --dst-group 0x560006 -j RETURN",
      "-o vtap+ -j DROP",
      "-o vvx+ -j DROP",
    ]);
  });

  test("let nothing out of a Network without egress but what has a floating address", () => {
    const closed = { ...blue, egress: "None" as const, egressExceptions: ["10.0.0.11", "0.0.0.0/0"] };
    expect(chainOf({ ...base, networks: [closed] }, "filter", "VIREO-NET-5")?.slice(-2)).toEqual([
      "-s 10.0.0.11 -j RETURN",
      "-i vtap+ -j DROP",
    ]);
    const nat = chainOf({ ...base, networks: [closed, red] }, "nat", "VIREO-POSTROUTING") ?? [];
    expect(nat.filter((rule) => rule.includes("MASQUERADE"))).toEqual([
      "-s 10.1.0.0/24 -m mark --mark 0x56000006/0xff003fff -j MASQUERADE",
    ]);
  });

  test("let a guest that has just come go on with no connection as if it were the node's", () => {
    const chain = (newcomers?: DesiredFilters["newcomers"]) =>
      chainOf({ ...base, newcomers }, "mangle", "VIREO-POSTROUTING") ?? [];
    const one = { vni: 5, address: "10.0.0.11" };
    expect(chain([one, one]).slice(chain().length)).toEqual([
      "! -o vtap+ -s 10.0.0.11 -p tcp -m mark --mark 0x56000005/0xff003fff -m conntrack --ctstate NEW -m tcp ! --tcp-flags FIN,SYN,RST,ACK SYN -j DROP",
    ]);
  });

  test("know no tunnel while the node has no address for it", () => {
    const without = { ...base, tunnelAddress: undefined };
    expect(allRules(without).filter((rule) => /14789|SNAT/.test(rule))).toEqual([]);
    expect(allRules(base).filter((rule) => /14789|SNAT/.test(rule))).toHaveLength(3);
  });

  test("do not depend on the order of anything, nor on repetition", () => {
    const guests = [1, 2, 3, 4].map((host) => guestOf(host, ["web", "db"]));
    const groups = [
      ...base.groups,
      groupOf("db", [
        ANYTHING,
        { protocol: 6, remote: { kind: "group", uid: "web" } },
        {
          protocol: 6,
          remote: { kind: "cidrs", cidrs: ["10.0.0.0/8", "11.0.0.0/8"], except: ["10.1.0.0/16"] },
        },
      ]),
    ];
    const members = [{ groupUid: "web", vni: 5, addresses: guests.map(({ address }) => address) }];
    const rich = { ...base, guests, groups, members, networks: [blue, red] };
    const wanted = ipv4Rules(rich);
    fc.assert(
      fc.property(
        anyOrder(guests),
        anyOrder(groups),
        anyOrder([blue, red]),
        anyOrder(members),
        (someGuests, someGroups, networks, someMembers) => {
          const shuffled = {
            ...rich,
            guests: someGuests,
            groups: someGroups,
            networks,
            members: someMembers,
          };
          const { tables, sets } = ipv4Rules(shuffled);
          expect(tables).toEqual(wanted.tables);
          expect(sets).toEqual(wanted.sets);
        },
      ),
    );
  });

  test("are the same from a writer that remembers others, and are kept where nothing has changed", () => {
    const rich = fc.record({
      guests: fc.subarray([1, 2, 3].map((host) => guestOf(host, ["web", "db"]))),
      groups: fc.subarray([...base.groups, groupOf("db", [ANYTHING])]),
      tunnelAddress: fc.constantFrom("192.0.2.1", undefined),
      nodeAddresses: fc.subarray(["192.0.2.1", "192.0.2.2"]),
    });
    fc.assert(
      fc.property(fc.array(rich, { minLength: 1 }), (passes) => {
        const write = createRuleWriter();
        for (const pass of passes) {
          const desired = { ...base, ...pass };
          const written = write(desired);
          expect(written).toEqual(ipv4Rules(desired));
          const again = write(structuredClone(desired)).tables.filter?.chains ?? new Map();
          for (const [chain, rules] of written.tables.filter?.chains ?? []) {
            if (/^VIREO-(S[IEH]|[SEIH])-/.test(chain)) expect(again.get(chain)).toBe(rules);
          }
        }
      }),
    );
  });

  test("let nothing pass when there is no guest", () => {
    const nobody = { ...base, guests: [] };
    expect(chainOf(nobody, "filter", "VIREO-EGRESS")).toEqual(["-j DROP"]);
    expect(chainOf(nobody, "filter", "VIREO-SENDER")).toContain("-j DROP");
    expect([...ipv4Rules(nobody).sets.keys()]).toEqual(["vireo-nodes"]);
  });

  test("have names that iptables and ipset take: up to 28 characters, and up to 31", () => {
    const { tables, sets } = ipv4Rules({
      ...base,
      guests: [one, two],
      networks: [{ ...blue, vni: 16_383 }, blue],
    });
    for (const { chains } of Object.values(tables)) {
      for (const chain of chains.keys()) expect(chain.length).toBeLessThanOrEqual(28);
    }
    for (const name of sets.keys()) expect(name.length).toBeLessThanOrEqual(31);
  });

  test("put only IPv4 addresses into the set of nodes", () => {
    const nodeAddresses = ["2001:db8::1", "", "0x7f.1", "node-1", "010.0.0.1", "192.0.2.1"];
    const entries = ipv4Rules({ ...base, nodeAddresses }).sets.get("vireo-nodes")?.entries;
    expect([...(entries ?? [])]).toEqual(["192.0.2.1"]);
  });

  test("are not made for two guests on one tap", () => {
    const twin = { ...two, tap: one.tap };
    expect(() => ipv4Rules({ ...base, guests: [one, twin] })).toThrow(
      /tap vtap10000000001 is wanted in two ways/,
    );
  });

  test.each<[keyof GuestFilter, string]>([
    ["tap", "vtap0 -j ACCEPT\n-A FORWARD"],
    ["tap", "vtap+ "],
    ["macAddress", "02:00:00:00:00:01 -j ACCEPT"],
    ["address", "0.0.0.0/0"],
    ["address", '10.0.0.1"'],
    ["address", "any"],
    ["gateway", "10.0.0.1\nCOMMIT"],
  ])("are not made of a hostile %s: %j", (field, value) => {
    expect(() => ipv4Rules({ ...base, guests: [{ ...one, [field]: value }] })).toThrow(RangeError);
  });

  test("log what is refused with the guest's name, cut to what iptables takes", () => {
    const name = "a-machine-with-a-rather-long-name";
    const groups = [{ ...groupOf("web", []), logRefused: true }];
    const logged = { ...base, guests: [{ ...one, name }], groups };
    expect(chainOf(logged, "filter", `VIREO-I-${one.tap}`)).toEqual([
      `-j ${groupIngressChain("web", 5)}`,
      '-m limit --limit 1/second --limit-burst 10 -j LOG --log-prefix "vireo:team/a-machine-with-a- "',
      "-j DROP",
    ]);
    expect(() => ipv4Rules({ ...logged, guests: [{ ...one, name: 'x" -j ACCEPT' }] })).toThrow(RangeError);
  });
});

describe("a rule of a group", () => {
  const cidrs = (blocks: readonly string[], except: readonly string[] = []): FilterRule => ({
    protocol: "any",
    remote: { kind: "cidrs", cidrs: blocks, except },
  });

  test.each<[string, FilterRule, readonly string[]]>([
    ["anything", ANYTHING, ["-j ACCEPT"]],
    ["a protocol", { ...ANYTHING, protocol: 47 }, ["-p 47 -j ACCEPT"]],
    ["protocol 0, which iptables takes for all", { ...ANYTHING, protocol: 0 }, []],
    ["a protocol that there is not", { ...ANYTHING, protocol: 256 }, []],
    [
      "ports",
      { ...ANYTHING, protocol: 17, ports: { first: 0, last: 65_535 } },
      ["-p 17 -m udp --dport 0:65535 -j ACCEPT"],
    ],
    ["a reversed range of ports", { ...ANYTHING, protocol: 6, ports: { first: 2, last: 1 } }, []],
    ["ports above all", { ...ANYTHING, protocol: 6, ports: { first: 1, last: 65_536 } }, []],
    ["ports of a protocol without", { ...ANYTHING, protocol: 47, ports: { first: 1, last: 2 } }, []],
    ["ports of any protocol", { ...ANYTHING, ports: { first: 1, last: 2 } }, []],
    [
      "a kind of ICMP",
      { ...ANYTHING, protocol: 1, icmp: { type: 3, code: 4 } },
      ["-p 1 -m icmp --icmp-type 3/4 -j ACCEPT"],
    ],
    ["ICMP type 255, which iptables takes for all", { ...ANYTHING, protocol: 1, icmp: { type: 255 } }, []],
    ["ICMP of another protocol", { ...ANYTHING, protocol: 6, icmp: { type: 3 } }, []],
    ["a block", cidrs(["192.0.2.0/24"]), ["-s 192.0.2.0/24 -j ACCEPT"]],
    ["a block with host bits", cidrs(["192.0.2.7/24"]), ["-s 192.0.2.0/24 -j ACCEPT"]],
    ["one address", cidrs(["192.0.2.7/32"]), ["-s 192.0.2.7 -j ACCEPT"]],
    ["all addresses", cidrs(["0.0.0.0/0", "10.0.0.0/8"]), ["-j ACCEPT"]],
    ["no block", cidrs([]), []],
    ["a block that is none", cidrs(["192.0.2.0/33", "-j ACCEPT"]), []],
    ["a block inside its exception", cidrs(["10.1.0.0/16"], ["10.0.0.0/8"]), []],
    ["an exception that is none", cidrs(["10.1.0.0/16"], ["10.1.0.0/33"]), []],
    ["everything but everything", cidrs(["0.0.0.0/0"], ["0.0.0.0/0"]), []],
    ["an exception elsewhere", cidrs(["10.0.0.0/8"], ["192.0.2.0/24"]), ["-s 10.0.0.0/8 -j ACCEPT"]],
  ])("allows %s", (_what, rule, expected) => {
    expect(ingressOf(rule)).toEqual(expected);
  });

  test("has a set of blocks when there are several or exceptions, with all addresses in two halves", () => {
    const rule = cidrs(["0.0.0.0/0", "10.9.0.0/16"], ["10.0.0.0/8"]);
    const desired = { ...base, groups: [groupOf("web", [rule])] };
    const [name, set] = [...ipv4Rules(desired).sets].find(([key]) => key.startsWith("vireo-n-")) ?? [];
    expect(ingressOf(rule)).toEqual([`-m set --match-set ${name} src -j ACCEPT`]);
    expect(set).toEqual({
      type: "hash:net",
      entries: new Set(["0.0.0.0/1", "128.0.0.0/1", "10.0.0.0/8 nomatch"]),
    });
  });

  test("has the members that guests of the Network may see", () => {
    const rule: FilterRule = { protocol: "any", remote: { kind: "group", uid: "db" } };
    const members = [
      { groupUid: "db", vni: 5, addresses: ["10.0.0.20", "not an address"] },
      { groupUid: "db", vni: 6, addresses: ["10.1.0.20"] },
    ];
    const desired = { ...base, groups: [groupOf("web", [rule])], members };
    const name = membersSet("db", 5);
    expect(ingressOf(rule)).toEqual([`-m set --match-set ${name} src -j ACCEPT`]);
    expect(ipv4Rules(desired).sets.get(name)).toEqual({ type: "hash:ip", entries: new Set(["10.0.0.20"]) });
    expect(ipv4Rules(desired).sets.has(membersSet("db", 6))).toBe(false);
  });
});

describe("the guests that a change concerns", () => {
  const rule: FilterRule = { protocol: "any", remote: { kind: "group", uid: "db" } };
  const rules = ipv4Rules({
    ...base,
    guests: [guestOf(1, ["web"]), guestOf(2, ["db"]), { ...guestOf(3, ["web"]), vni: 6 }],
    networks: [blue, red],
    groups: [groupOf("web", [rule]), groupOf("db", [])],
  });
  const uid = (host: number): string => guestOf(host).vmUid;
  const chain = (name: string) => ({ table: "filter" as const, chain: name });

  test.each<[string, readonly string[], readonly string[], readonly number[]]>([
    ["nothing", [], [], []],
    ["a tap's chain", [`VIREO-E-${guestOf(2).tap}`], [], [2]],
    ["a group's chain", [groupIngressChain("web", 5)], [], [1]],
    ["the members of a group", [], [membersSet("db", 6)], [3]],
    ["a Network's neighbours", ["VIREO-NET-5"], [], [1, 2]],
    ["what all pass", ["VIREO-FORWARD"], [], [1, 2, 3]],
    ["a dispatch", ["VIREO-EGRESS"], [], []],
  ])("are, of %s: %j %j", (_what, chains, sets, hosts) => {
    expect(affectedGuests(rules, chains.map(chain), sets)).toEqual(hosts.map(uid));
  });
});

test("the rules for IPv6 let nothing from or to a guest pass", () => {
  const rules = [...(ipv6Rules.filter?.chains.values() ?? [])].flat();
  expect(rules.every((rule) => rule.endsWith("-j DROP"))).toBe(true);
  expect(rules).toHaveLength(6);
});

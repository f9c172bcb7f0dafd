import { afterAll, beforeAll, describe, expect, test } from "@jest/globals";

import { addressSlices } from "../../src/api/address-slice.ts";
import { floatingIpPools } from "../../src/api/floating-ip-pool.ts";
import { floatingIps } from "../../src/api/floating-ip.ts";
import type { CustomResource } from "../../src/api/kind.ts";
import { networks } from "../../src/api/network.ts";
import { securityGroups } from "../../src/api/security-group.ts";
import { virtualMachines } from "../../src/api/virtual-machine.ts";
import { refusalOf } from "./support/api-client.ts";
import { startTestCluster, type TestCluster } from "./support/cluster.ts";
import { type Json, type JsonObject, mergePatch, validManifest } from "./support/manifests.ts";
import { type BadSpec, longName, outcomeOf, tryToCreate } from "./support/refusals.ts";

/**
 * What a user may get wrong in what becomes rules, routes and addresses of a
 * node. Every refusal must name the field.
 */

let cluster: TestCluster;

beforeAll(async () => {
  cluster = await startTestCluster();
});

afterAll(() => cluster.stop());

/** What would be an option, a command or another rule if it came to iptables or a shell as it is. */
const INJECTIONS: readonly string[] = [
  "-j ACCEPT",
  "web -j ACCEPT",
  "--dport",
  "a;reboot",
  "$(id)",
  "a\nCOMMIT",
  "!web",
];

const blocks = (count: number): readonly string[] =>
  Array.from({ length: count }, (_, i) => `10.${Math.floor(i / 256)}.${i % 256}.0/24`);

const ingress = (rule: JsonObject): JsonObject => ({ ingress: [rule] });
const remote = (peer: JsonObject): JsonObject => ingress({ remote: peer });
const tcp = (ports: JsonObject): JsonObject => ingress({ protocol: "tcp", ...ports });
const rules = (count: number): readonly JsonObject[] =>
  Array.from({ length: count }, (_, i) => ({ protocol: "tcp", port: i + 1 }));

const RULE = "spec.ingress[0]";
const REMOTE = "spec.ingress[0].remote";

const badSecurityGroups: readonly BadSpec[] = [
  ["port 0", tcp({ port: 0 }), `${RULE}.port`],
  ["port 65536", tcp({ port: 65_536 }), `${RULE}.port`],
  ["a negative port", tcp({ port: -1 }), `${RULE}.port`],
  ["half a port", tcp({ port: 80.5 }), `${RULE}.port`],
  ["a port in quotes", tcp({ port: "80" }), `${RULE}.port`],
  ["a range of ports as a word", tcp({ port: "80:90" }), `${RULE}.port`],
  ["a range of ports that ends before it begins", tcp({ port: 90, endPort: 80 }), `${RULE}.endPort`],
  ["the end of a range without its beginning", tcp({ endPort: 80 }), `${RULE}.endPort`],
  ["a range that ends with port 65536", tcp({ port: 1, endPort: 65_536 }), `${RULE}.endPort`],
  ["a port without a protocol", ingress({ port: 80 }), `${RULE}.port`],
  ["a port of icmp", ingress({ protocol: "icmp", port: 8 }), `${RULE}.port`],
  ["a port of another protocol", ingress({ protocol: "47", port: 8 }), `${RULE}.port`],
  ["protocol 256", ingress({ protocol: "256" }), `${RULE}.protocol`],
  ["a negative protocol", ingress({ protocol: "-1" }), `${RULE}.protocol`],
  ["a protocol with a zero in front", ingress({ protocol: "06" }), `${RULE}.protocol`],
  ["a protocol that is a number", ingress({ protocol: 6 }), `${RULE}.protocol`],
  ["a protocol in capitals", ingress({ protocol: "TCP" }), `${RULE}.protocol`],
  ["no protocol, in quotes", ingress({ protocol: "" }), `${RULE}.protocol`],
  ["a protocol with a newline at its end", ingress({ protocol: "tcp\n" }), `${RULE}.protocol`],
  ["all but a protocol", ingress({ protocol: "!tcp" }), `${RULE}.protocol`],
  ["icmp of tcp", ingress({ protocol: "tcp", icmp: { type: 8 } }), `${RULE}.icmp`],
  ["icmp of any protocol", ingress({ icmp: { type: 8 } }), `${RULE}.icmp`],
  ["icmp without a type", ingress({ protocol: "icmp", icmp: { code: 0 } }), `${RULE}.icmp.type`],
  ["an icmp type of 256", ingress({ protocol: "icmp", icmp: { type: 256 } }), `${RULE}.icmp.type`],
  ["an icmp type as a name", ingress({ protocol: "icmp", icmp: { type: "echo" } }), `${RULE}.icmp.type`],
  ["an icmp code of 256", ingress({ protocol: "1", icmp: { type: 8, code: 256 } }), `${RULE}.icmp.code`],
  ["a peer that is nobody", remote({}), REMOTE],
  ["a peer that is both blocks and a group", remote({ cidrs: ["10.0.0.0/8"], group: "web" }), REMOTE],
  ["a peer that is a word", ingress({ remote: "10.0.0.0/8" }), REMOTE],
  ["an empty list of blocks", remote({ cidrs: [] }), `${REMOTE}.cidrs`],
  ["a block with host bits", remote({ cidrs: ["10.0.0.0/8", "203.0.113.7/24"] }), `${REMOTE}.cidrs`],
  ["an address without its prefix length", remote({ cidrs: ["10.0.0.1"] }), `${REMOTE}.cidrs`],
  ["a prefix length of 33", remote({ cidrs: ["10.0.0.0/33"] }), `${REMOTE}.cidrs`],
  ["a netmask for a prefix length", remote({ cidrs: ["10.0.0.0/255.0.0.0"] }), `${REMOTE}.cidrs`],
  ["a block of IPv6", remote({ cidrs: ["::/0"] }), `${REMOTE}.cidrs`],
  ["a block of IPv4 written as IPv6", remote({ cidrs: ["::ffff:10.0.0.0/104"] }), `${REMOTE}.cidrs`],
  ["a block with zeros in front", remote({ cidrs: ["010.0.0.0/8"] }), `${REMOTE}.cidrs`],
  ["a block with a space", remote({ cidrs: ["10.0.0.0/8 "] }), `${REMOTE}.cidrs`],
  ["two blocks in one", remote({ cidrs: ["10.0.0.0/8,11.0.0.0/8"] }), `${REMOTE}.cidrs`],
  ["a host name for a block", remote({ cidrs: ["example.com"] }), `${REMOTE}.cidrs`],
  ["a block named twice", remote({ cidrs: ["10.0.0.0/8", "10.0.0.0/8"] }), `${REMOTE}.cidrs`],
  ["129 blocks", remote({ cidrs: blocks(129) }), `${REMOTE}.cidrs`],
  ["ten thousand blocks", remote({ cidrs: blocks(10_000) }), `${REMOTE}.cidrs`],
  ["65 exceptions", remote({ cidrs: ["10.0.0.0/8"], except: blocks(65) }), `${REMOTE}.except`],
  [
    "an exception with host bits",
    remote({ cidrs: ["10.0.0.0/8"], except: ["10.0.0.1/8"] }),
    `${REMOTE}.except`,
  ],
  ["an exception without blocks", remote({ group: "web", except: ["10.0.0.0/8"] }), `${REMOTE}.except`],
  ["a group of another namespace", remote({ group: "other/web" }), `${REMOTE}.group`],
  ["a group without a name", remote({ group: "" }), `${REMOTE}.group`],
  ["a group whose name is too long", remote({ group: longName(254) }), `${REMOTE}.group`],
  ["65 rules", { ingress: rules(65) }, "spec.ingress"],
  ["65 rules for what is sent", { egress: rules(65) }, "spec.egress"],
  ["a rule that is a word", { ingress: ["tcp/80"] }, "spec.ingress"],
  ["rules that are no list", { ingress: { protocol: "tcp" } }, "spec.ingress"],
  ["a bad rule after good ones", { ingress: [...rules(2), { port: 80 }] }, "spec.ingress[2].port"],
  ["a bad rule for what is sent", { egress: [{ protocol: "tcp", port: 0 }] }, "spec.egress[0].port"],
  ["a description of 257 characters", { description: "é".repeat(257) }, "spec.description"],
  [
    "a rule's description of 257 characters",
    ingress({ description: "é".repeat(257) }),
    `${RULE}.description`,
  ],
  ["logging as a word", { logRefused: "yes" }, "spec.logRefused"],
  ["a misspelt direction", { outgress: [] }, "spec.outgress"],
  ["a misspelt port", tcp({ portt: 80 }), `${RULE}.portt`],
  ["a rule that denies", ingress({ action: "Deny" }), `${RULE}.action`],
  ...INJECTIONS.flatMap((text): readonly BadSpec[] => [
    [`a peer called ${JSON.stringify(text)}`, remote({ group: text }), `${REMOTE}.group`],
    [`a block called ${JSON.stringify(text)}`, remote({ cidrs: [text] }), `${REMOTE}.cidrs`],
    [`a protocol called ${JSON.stringify(text)}`, ingress({ protocol: text }), `${RULE}.protocol`],
  ]),
];

const badPools: readonly BadSpec[] = [
  ["no blocks", { cidrs: null }, "spec.cidrs"],
  ["an empty list of blocks", { cidrs: [] }, "spec.cidrs"],
  ["17 blocks", { cidrs: blocks(17) }, "spec.cidrs"],
  ["a block with host bits", { cidrs: ["203.0.113.1/28"] }, "spec.cidrs[0]"],
  ["a block larger than /16", { cidrs: ["203.0.0.0/15"] }, "spec.cidrs[0]"],
  ["an address without its prefix length", { cidrs: ["203.0.113.1"] }, "spec.cidrs"],
  ["loopback addresses", { cidrs: ["127.0.0.0/24"] }, "spec.cidrs[0]"],
  ["link-local addresses", { cidrs: ["169.254.169.254/32"] }, "spec.cidrs[0]"],
  ["multicast addresses", { cidrs: ["224.0.0.0/24"] }, "spec.cidrs[0]"],
  ["no address at all", { cidrs: ["0.0.0.0/32"] }, "spec.cidrs[0]"],
  ["a block of IPv6", { cidrs: ["2001:db8::/120"] }, "spec.cidrs"],
  ["a block named twice", { cidrs: ["203.0.113.0/28", "203.0.113.0/28"] }, "spec.cidrs"],
  ["an exclusion that is a block", { exclude: ["203.0.113.0/30"] }, "spec.exclude"],
  ["an exclusion that is a name", { exclude: ["router"] }, "spec.exclude"],
  ["65 exclusions", { exclude: Array.from({ length: 65 }, (_, i) => `203.0.113.${i}`) }, "spec.exclude"],
  ...INJECTIONS.map((text): BadSpec => [
    `a block called ${JSON.stringify(text)}`,
    { cidrs: [text] },
    "spec.cidrs",
  ]),
];

const badFloatingIps: readonly BadSpec[] = [
  ["no pool", { pool: null }, "spec.pool"],
  ["a pool that is a path", { pool: "../public" }, "spec.pool"],
  ["an address of IPv6", { address: "2001:db8::1" }, "spec.address"],
  ["an address with a prefix length", { address: "203.0.113.5/32" }, "spec.address"],
  ["an address with zeros in front", { address: "203.0.113.005" }, "spec.address"],
  ["an address with a newline at its end", { address: "203.0.113.5\n" }, "spec.address"],
  ["neither targets nor a selector", { targets: null }, "spec"],
  ["both targets and a selector", { selector: { app: "web" } }, "spec"],
  ["an empty list of targets", { targets: [] }, "spec.targets"],
  ["17 targets", { targets: Array.from({ length: 17 }, (_, i) => `web-${i}`) }, "spec.targets"],
  ["a target of another namespace", { targets: ["other/web-0"] }, "spec.targets[0]"],
  ["a selector whose key has a space", { targets: null, selector: { "a b": "c" } }, "spec.selector"],
  ["a failback that does not exist", { failback: "Always" }, "spec.failback"],
  ...INJECTIONS.flatMap((text): readonly BadSpec[] => [
    [`an address called ${JSON.stringify(text)}`, { address: text }, "spec.address"],
    [`a target called ${JSON.stringify(text)}`, { targets: [text] }, "spec.targets[0]"],
  ]),
];

const [listed] = (validManifest(addressSlices, "a")["spec"] as { machines: readonly JsonObject[] }).machines;

const entry = (changes: JsonObject): JsonObject => ({ machines: [mergePatch(listed, changes)] });

const badAddressSlices: readonly BadSpec[] = [
  ["nothing", { network: null, machines: null }, "spec"],
  ["machines of no network", { network: null }, "spec"],
  ["a network without machines", { machines: null, nodes: [] }, "spec"],
  ["both machines and nodes", { nodes: [{ name: "node-a", addresses: [] }] }, "spec"],
  ["an address of IPv6", entry({ address: "fd00::1" }), "spec.machines[0].address"],
  [
    "a node's address with a prefix length",
    entry({ nodeAddress: "192.0.2.1/24" }),
    "spec.machines[0].nodeAddress",
  ],
  ["a group with an option", entry({ securityGroups: ["-j ACCEPT"] }), "spec.machines[0].securityGroups"],
  ["a machine that is no uid", entry({ uid: "web-0" }), "spec.machines[0].uid"],
  [
    "one address twice",
    { machines: [mergePatch(listed, {}), mergePatch(listed, { name: "web-1" })] },
    "spec.machines",
  ],
  [
    "101 machines",
    { machines: Array.from({ length: 101 }, (_, i) => mergePatch(listed, { address: `10.0.1.${i}` })) },
    "spec.machines",
  ],
  [
    "101 nodes",
    {
      network: null,
      machines: null,
      nodes: Array.from({ length: 101 }, (_, i) => ({ name: `node-${i}`, addresses: [] })),
    },
    "spec.nodes",
  ],
];

const allowed = (...addresses: readonly Json[]): JsonObject => ({
  networks: [{ name: "default", allowedAddresses: addresses }],
});

const ADDRESSES = "spec.networks[0].allowedAddresses";

const badMachines: readonly BadSpec[] = [
  ["groups that are no list", { securityGroups: "web" }, "spec.securityGroups"],
  ["a group named twice", { securityGroups: ["web", "web"] }, "spec.securityGroups"],
  ["17 groups", { securityGroups: Array.from({ length: 17 }, (_, i) => `g${i}`) }, "spec.securityGroups"],
  ["a group of another namespace", { securityGroups: ["other/web"] }, "spec.securityGroups"],
  ["an allowed block", allowed("10.0.0.0/24"), ADDRESSES],
  ["every address allowed", allowed("0.0.0.0/0"), ADDRESSES],
  ["an allowed address of IPv6", allowed("fd00::1"), ADDRESSES],
  ["an allowed address that is a number", allowed(167_772_165), ADDRESSES],
  ["an allowed address named twice", allowed("10.0.0.9", "10.0.0.9"), ADDRESSES],
  ["nine allowed addresses", allowed(...Array.from({ length: 9 }, (_, i) => `10.0.0.${i + 10}`)), ADDRESSES],
  ...INJECTIONS.flatMap((text): readonly BadSpec[] => [
    [`a group called ${JSON.stringify(text)}`, { securityGroups: [text] }, "spec.securityGroups"],
    [`an allowed address called ${JSON.stringify(text)}`, allowed(text), ADDRESSES],
  ]),
];

const badNetworks: readonly BadSpec[] = [
  ["a way out that does not exist", { egress: "Masquerade" }, "spec.egress"],
  ["reachable as a word", { reachableFromNodes: "no" }, "spec.reachableFromNodes"],
  ["a route to itself written twice", { routesTo: ["other", "other"] }, "spec.routesTo"],
  ["17 routes", { routesTo: Array.from({ length: 17 }, (_, i) => `n${i}`) }, "spec.routesTo"],
  ["a route to a block", { routesTo: ["10.1.0.0/24"] }, "spec.routesTo"],
];

const badSpecs: readonly (readonly [CustomResource, readonly BadSpec[]])[] = [
  [securityGroups, badSecurityGroups],
  [floatingIpPools, badPools],
  [floatingIps, badFloatingIps],
  [addressSlices, badAddressSlices],
  [virtualMachines, badMachines],
  [networks, badNetworks],
];

describe.each(badSpecs.map(([resource, rows]) => [resource.kind, resource, rows] as const))(
  "a %s is refused with",
  (_kind, resource, rows) => {
    test.each(rows)("%s", async (_sentence, patch, field) => {
      const manifest = mergePatch(validManifest(resource, "bad"), { spec: patch });
      expect(outcomeOf(await tryToCreate(cluster, resource, manifest), field)).toBe(`refused for ${field}`);
    });
  },
);

const fullRule = (index: number): JsonObject => ({
  description: "😀".repeat(256),
  protocol: "tcp",
  port: index + 1,
  endPort: 65_535,
  remote: { cidrs: blocks(128), except: blocks(64) },
});

const fullRules = Array.from({ length: 64 }, (_, index) => fullRule(index));

const goodSpecs: readonly (readonly [string, CustomResource, JsonObject])[] = [
  ["no rules at all", securityGroups, { ingress: [], egress: null }],
  ["nothing that may be sent", securityGroups, { egress: [] }],
  [
    "all protocols by number",
    securityGroups,
    { ingress: ["0", "1", "99", "255"].map((protocol) => ({ protocol })) },
  ],
  ["a port of protocol 6", securityGroups, ingress({ protocol: "6", port: 80, endPort: 80 })],
  ["an icmp type of protocol 1", securityGroups, ingress({ protocol: "1", icmp: { type: 0 } })],
  ["everybody and one address", securityGroups, remote({ cidrs: ["0.0.0.0/0", "255.255.255.255/32"] })],
  ["a description in every script", securityGroups, { description: `${"😀".repeat(250)}日本é\n\t"` }],
  ["as many rules and blocks as there may be", securityGroups, { ingress: fullRules, egress: fullRules }],
  ["one address", floatingIpPools, { cidrs: ["203.0.113.7/32"] }],
  [
    "16 groups and 8 addresses",
    virtualMachines,
    {
      securityGroups: Array.from({ length: 16 }, (_, i) => `g${i}`),
      ...allowed(...Array.from({ length: 8 }, (_, i) => `10.0.0.${i + 10}`)),
    },
  ],
  [
    "100 machines in 16 groups each",
    addressSlices,
    {
      machines: Array.from({ length: 100 }, (_, i) =>
        mergePatch(listed, {
          address: `10.0.1.${i}`,
          securityGroups: Array.from({ length: 16 }, (__, group) => `${longName(250)}-${group}`),
        }),
      ),
    },
  ],
];

describe("the API server takes", () => {
  test.each(goodSpecs.map((row) => [row[0], row[1].kind, row] as const))(
    "%s of a %s",
    async (_sentence, _kind, [, resource, patch]) => {
      const manifest = mergePatch(validManifest(resource, "good"), { spec: patch });
      expect(refusalOf(await tryToCreate(cluster, resource, manifest))).toBeUndefined();
    },
  );
});

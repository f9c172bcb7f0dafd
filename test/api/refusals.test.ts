import { afterAll, beforeAll, describe, expect, test } from "@jest/globals";

import { flavors } from "../../src/api/flavor.ts";
import { hypervisors } from "../../src/api/hypervisor.ts";
import { images } from "../../src/api/image.ts";
import { kinds } from "../../src/api/index.ts";
import { keyPairs } from "../../src/api/key-pair.ts";
import type { CustomResource } from "../../src/api/kind.ts";
import { networks } from "../../src/api/network.ts";
import { floatingIps } from "../../src/api/floating-ip.ts";
import { securityGroups } from "../../src/api/security-group.ts";
import { virtualMachines } from "../../src/api/virtual-machine.ts";
import { MERGE_PATCH, refusalOf, type Reply } from "./support/api-client.ts";
import { create, startTestCluster, type TestCluster } from "./support/cluster.ts";
import { type JsonObject, mergePatch, validManifest } from "./support/manifests.ts";
import { type BadSpec, longName, outcomeOf, tryToCreate } from "./support/refusals.ts";

/**
 * What a user may get wrong. Every refusal must name the field, so that the
 * person who reads it knows where to look.
 */

let cluster: TestCluster;

beforeAll(async () => {
  cluster = await startTestCluster();
});

afterAll(() => cluster.stop());

const TRAVERSAL = "../../etc/passwd";
const XML = "a'/><script>";
const KEY = "AAAAC3NzaC1lZDI1NTE5AAAAIGk";

const badVirtualMachines: readonly BadSpec[] = [
  ["neither a flavor nor a disk", { flavor: null, disk: null }, "spec"],
  ["an empty flavor", { flavor: "" }, "spec.flavor"],
  ["a flavor that is a number", { flavor: 3 }, "spec.flavor"],
  ["a flavor that is a path", { flavor: TRAVERSAL }, "spec.flavor"],
  ["a flavor in capitals", { flavor: "Small" }, "spec.flavor"],
  ["a flavor with a newline at its end", { flavor: "small\n" }, "spec.flavor"],
  ["a flavor of 254 characters", { flavor: longName(254) }, "spec.flavor"],
  ["neither an image nor a source", { image: null }, "spec"],
  ["an image with XML in its name", { image: XML }, "spec.image"],
  ["an image with a letter of another script that looks like an a", { image: "d\u0435bian" }, "spec.image"],
  ["key pairs that are no list", { keyPairs: "me" }, "spec.keyPairs"],
  ["a key pair with a space", { keyPairs: ["a b"] }, "spec.keyPairs"],
  ["a key pair named twice", { keyPairs: ["me", "me"] }, "spec.keyPairs"],
  ["17 key pairs", { keyPairs: Array.from({ length: 17 }, (_, i) => `k${i}`) }, "spec.keyPairs"],
  ["no networks", { networks: null }, "spec.networks"],
  ["an empty list of networks", { networks: [] }, "spec.networks"],
  ["nine networks", { networks: Array.from({ length: 9 }, (_, i) => ({ name: `n${i}` })) }, "spec.networks"],
  ["a network named twice", { networks: [{ name: "a" }, { name: "a" }] }, "spec.networks[1]"],
  [
    "an allowed address that is a name",
    { networks: [{ name: "a", allowedAddresses: ["vip"] }] },
    "spec.networks[0].allowedAddresses[0]",
  ],
  [
    "an allowed block",
    { networks: [{ name: "a", allowedAddresses: ["10.0.0.0/28"] }] },
    "spec.networks[0].allowedAddresses[0]",
  ],
  [
    "nine allowed addresses",
    { networks: [{ name: "a", allowedAddresses: Array.from({ length: 9 }, (_, i) => `10.0.0.${i}`) }] },
    "spec.networks[0].allowedAddresses",
  ],
  ["networks that are names", { networks: ["default"] }, "spec.networks"],
  ["a network without its name", { networks: [{}] }, "spec.networks[0].name"],
  ["a network with a quote", { networks: [{ name: 'a"b' }] }, "spec.networks[0].name"],
  ["a run strategy that does not exist", { runStrategy: "Manual" }, "spec.runStrategy"],
  ["a run strategy in small letters", { runStrategy: "always" }, "spec.runStrategy"],
  ["a negative grace period", { terminationGracePeriodSeconds: -1 }, "spec.terminationGracePeriodSeconds"],
  [
    "a grace period of a day",
    { terminationGracePeriodSeconds: 86_400 },
    "spec.terminationGracePeriodSeconds",
  ],
  [
    "a grace period with a unit",
    { terminationGracePeriodSeconds: "60s" },
    "spec.terminationGracePeriodSeconds",
  ],
  [
    "a grace period of half a second",
    { terminationGracePeriodSeconds: 0.5 },
    "spec.terminationGracePeriodSeconds",
  ],
  ["a host name with a dot", { hostname: "web.example" }, "spec.hostname"],
  ["a host name with an underscore", { hostname: "web_1" }, "spec.hostname"],
  ["a host name that starts with a dash", { hostname: "-web" }, "spec.hostname"],
  ["a host name of 64 characters", { hostname: longName(64) }, "spec.hostname"],
  ["a host name with a newline inside", { hostname: "web\nroot" }, "spec.hostname"],
  ["user data from two places", { cloudInit: { userDataSecretRef: { name: "web" } } }, "spec.cloudInit"],
  ["user data with NUL", { cloudInit: { userData: "#!/bin/sh\u0000" } }, "spec.cloudInit.userData"],
  ["user data that is too long", { cloudInit: { userData: longName(65_537) } }, "spec.cloudInit.userData"],
  [
    "user data that was written as YAML",
    { cloudInit: { userData: { packages: [] } } },
    "spec.cloudInit.userData",
  ],
  ["firmware that does not exist", { firmware: "OpenFirmware" }, "spec.firmware"],
  ["an empty availability zone", { availabilityZone: "" }, "spec.availabilityZone"],
  ["an availability zone with a slash", { availabilityZone: "a/b" }, "spec.availabilityZone"],
  ["a node selector that is a list", { nodeSelector: ["disk=fast"] }, "spec.nodeSelector"],
  ["a node selector with a boolean", { nodeSelector: { fast: true } }, "spec.nodeSelector"],
  ["a node selector whose key has a space", { nodeSelector: { "a b": "c" } }, "spec.nodeSelector"],
  ["a node selector whose key ends with a newline", { nodeSelector: { "a\n": "c" } }, "spec.nodeSelector"],
  ["a node selector whose key is too long", { nodeSelector: { [longName(64)]: "c" } }, "spec.nodeSelector"],
  ["a node selector whose value has a comma", { nodeSelector: { a: "b,c" } }, "spec.nodeSelector"],
  [
    "a node selector of 17 labels",
    { nodeSelector: Object.fromEntries(Array.from({ length: 17 }, (_, i) => [`k${i}`, "v"])) },
    "spec.nodeSelector",
  ],
  ["a misspelt field", { flavour: "small" }, "spec.flavour"],
  ["a misspelt field inside", { cloudInit: { userdata: "" } }, "spec.cloudInit.userdata"],
];

const badImages: readonly BadSpec[] = [
  ["no source", { source: null }, "spec.source"],
  ["an empty source", { source: { url: null } }, "spec.source"],
  ["a source with both url and file", { source: { file: "a.qcow2" } }, "spec.source"],
  ["a url of a local file", { source: { url: "file:///etc/passwd" } }, "spec.source.url"],
  ["a url that ends with a newline", { source: { url: "http://a/b\n" } }, "spec.source.url"],
  ["a url with a space", { source: { url: "http://a/b c" } }, "spec.source.url"],
  ["a url with a no-break space", { source: { url: "http://a/\u00a0" } }, "spec.source.url"],
  ["a url with a backslash", { source: { url: "http://a\\@b/" } }, "spec.source.url"],
  ["a url with a password", { source: { url: "https://me:secret@a/b" } }, "spec.source.url"],
  ["a url with a fragment", { source: { url: "https://a/b#c" } }, "spec.source.url"],
  ["a url without a host", { source: { url: "https:///b" } }, "spec.source.url"],
  ["a url that is too long", { source: { url: `http://a/${longName(2040)}` } }, "spec.source.url"],
  ["a file in another directory", { source: { url: null, file: TRAVERSAL } }, "spec.source.file"],
  ["a file in the root directory", { source: { url: null, file: "/disk.raw" } }, "spec.source.file"],
  ["a hidden file", { source: { url: null, file: ".bashrc" } }, "spec.source.file"],
  ["a file that looks like an option", { source: { url: null, file: "--help" } }, "spec.source.file"],
  ["an empty file name", { source: { url: null, file: "" } }, "spec.source.file"],
  ["a file name of 256 characters", { source: { url: null, file: longName(256) } }, "spec.source.file"],
  ["no format", { format: null }, "spec.format"],
  ["a format that is not supported", { format: "vmdk" }, "spec.format"],
  ["a compression that is not supported", { compression: "Bzip2" }, "spec.compression"],
  ["a checksum without its algorithm", { checksum: "0".repeat(64) }, "spec.checksum"],
  ["a checksum by MD5", { checksum: `md5:${"0".repeat(32)}` }, "spec.checksum"],
  ["a checksum that is too short", { checksum: `sha512:${"0".repeat(64)}` }, "spec.checksum"],
  ["a checksum in capitals", { checksum: `sha256:${"A".repeat(64)}` }, "spec.checksum"],
  ["a minimum disk with a fraction", { minimumDisk: "1.5Gi" }, "spec.minimumDisk"],
  ["a minimum disk over 64Ti", { minimumDisk: "65Ti" }, "spec.minimumDisk"],
  ["a minimum memory that is a number", { minimumMemory: 268_435_456 }, "spec.minimumMemory"],
  ["a minimum memory that overflows", { minimumMemory: "999999999999999T" }, "spec.minimumMemory"],
];

const badFlavors: readonly BadSpec[] = [
  ["no virtual CPUs", { vcpus: 0 }, "spec.vcpus"],
  ["257 virtual CPUs", { vcpus: 257 }, "spec.vcpus"],
  ["half a virtual CPU", { vcpus: 0.5 }, "spec.vcpus"],
  ["virtual CPUs in quotes", { vcpus: "2" }, "spec.vcpus"],
  ["no memory", { memory: null }, "spec.memory"],
  ["memory as a bare number, which may be meant in MiB", { memory: 512 }, "spec.memory"],
  ["memory of less than 64Mi", { memory: "63Mi" }, "spec.memory"],
  ["memory that is not a whole number of MiB", { memory: "512M" }, "spec.memory"],
  ["memory in a unit that does not exist", { memory: "512MB" }, "spec.memory"],
  ["memory with an exponent", { memory: "1e9" }, "spec.memory"],
  ["memory with a zero in front", { memory: "0512Mi" }, "spec.memory"],
  ["memory of 17Ti", { memory: "17Ti" }, "spec.memory"],
  ["memory with a newline at its end", { memory: "512Mi\n" }, "spec.memory"],
  ["no disk", { disk: null }, "spec.disk"],
  ["a negative disk", { disk: "-1Gi" }, "spec.disk"],
  ["a disk of 65Ti", { disk: "65Ti" }, "spec.disk"],
];

const badKeyPairs: readonly BadSpec[] = [
  ["neither a public key nor generate", { publicKey: null }, "spec"],
  ["both a public key and generate", { generate: { secretName: "me" } }, "spec"],
  ["a private key", { publicKey: "-----BEGIN OPENSSH PRIVATE KEY-----" }, "spec.publicKey"],
  ["two public keys", { publicKey: `ssh-ed25519 ${KEY} a\nssh-ed25519 ${KEY} b` }, "spec.publicKey"],
  ["a public key with a newline at its end", { publicKey: `ssh-ed25519 ${KEY}\n` }, "spec.publicKey"],
  ["a public key with options", { publicKey: `command="sh" ssh-ed25519 ${KEY}` }, "spec.publicKey"],
  ["a public key of type DSA", { publicKey: `ssh-dss ${KEY}` }, "spec.publicKey"],
  ["a public key with a control character", { publicKey: `ssh-ed25519 ${KEY} \u001b[31m` }, "spec.publicKey"],
  ["a public key that is too long", { publicKey: `ssh-rsa ${longName(8192)}` }, "spec.publicKey"],
  ["a Secret without a name", { publicKey: null, generate: {} }, "spec.generate.secretName"],
  [
    "a Secret that is a path",
    { publicKey: null, generate: { secretName: "../x" } },
    "spec.generate.secretName",
  ],
];

const badNetworks: readonly BadSpec[] = [
  ["no CIDR", { cidr: null }, "spec.cidr"],
  ["an address for a CIDR", { cidr: "10.0.0.0" }, "spec.cidr"],
  ["a CIDR with host bits", { cidr: "10.0.0.1/24" }, "spec.cidr"],
  ["a CIDR of IPv6", { cidr: "fd00::/64" }, "spec.cidr"],
  ["a CIDR of one address", { cidr: "10.0.0.0/32" }, "spec.cidr"],
  ["a CIDR larger than /8", { cidr: "8.0.0.0/7" }, "spec.cidr"],
  ["a CIDR with zeros in front", { cidr: "10.0.0.0/024" }, "spec.cidr"],
  ["a CIDR with octal digits", { cidr: "010.0.0.0/24" }, "spec.cidr"],
  ["the loopback network", { cidr: "127.0.0.0/8" }, "spec.cidr"],
  ["a network around the link-local one", { cidr: "169.0.0.0/8" }, "spec.cidr"],
  ["a multicast network", { cidr: "239.0.0.0/16" }, "spec.cidr"],
  ["a gateway outside", { gateway: "10.0.1.1" }, "spec.gateway"],
  ["the network's own address as its gateway", { gateway: "10.0.0.0" }, "spec.gateway"],
  ["a gateway of IPv6", { gateway: "fd00::1" }, "spec.gateway"],
  ["a gateway of IPv4 written as IPv6", { gateway: "::ffff:10.0.0.1" }, "spec.gateway"],
  ["a gateway with a newline at its end", { gateway: "10.0.0.1\n" }, "spec.gateway"],
  ["a gateway that is a list", { gateway: ["10.0.0.1"] }, "spec.gateway"],
  ["a name server that is a list", { dnsServers: [["9.9.9.9"]] }, "spec.dnsServers"],
  ["a name server that is a name", { dnsServers: ["dns.example"] }, "spec.dnsServers"],
  ["four name servers", { dnsServers: ["1.1.1.1", "1.0.0.1", "8.8.8.8", "9.9.9.9"] }, "spec.dnsServers"],
  ["packets that are too small", { mtu: 500 }, "spec.mtu"],
  ["packets that are too large", { mtu: 65_536 }, "spec.mtu"],
  ["a reserved address outside", { reservedAddresses: ["10.0.1.5"] }, "spec.reservedAddresses"],
  [
    "a reserved address named twice",
    { reservedAddresses: ["10.0.0.5", "10.0.0.5"] },
    "spec.reservedAddresses",
  ],
  ["an egress that does not exist", { egress: "Masquerade" }, "spec.egress"],
  ["an egress in small letters", { egress: "nat" }, "spec.egress"],
  ["reachability in words", { reachableFromNodes: "yes" }, "spec.reachableFromNodes"],
  ["a peer that is no list", { routesTo: "other" }, "spec.routesTo"],
  ["a peer that is a path", { routesTo: [TRAVERSAL] }, "spec.routesTo[0]"],
  ["a peer named twice", { routesTo: ["other", "other"] }, "spec.routesTo[1]"],
  ["17 peers", { routesTo: Array.from({ length: 17 }, (_, i) => `n${i}`) }, "spec.routesTo"],
];

const badHypervisors: readonly BadSpec[] = [
  ["unschedulable as a word", { unschedulable: "yes" }, "spec.unschedulable"],
  ["an overcommit as a ratio", { cpuOvercommitPercent: 1.5 }, "spec.cpuOvercommitPercent"],
  ["an overcommit that is too small", { cpuOvercommitPercent: 9 }, "spec.cpuOvercommitPercent"],
  ["an overcommit that is too large", { memoryOvercommitPercent: 1001 }, "spec.memoryOvercommitPercent"],
  ["a misspelt field", { unschedulabel: true }, "spec.unschedulabel"],
];

const badSpecs: readonly (readonly [CustomResource, readonly BadSpec[]])[] = [
  [virtualMachines, badVirtualMachines],
  [images, badImages],
  [flavors, badFlavors],
  [keyPairs, badKeyPairs],
  [networks, badNetworks],
  [hypervisors, badHypervisors],
];

const withDefaultSpec: ReadonlySet<CustomResource> = new Set<CustomResource>([hypervisors, securityGroups]);

describe.each(kinds.map((kind) => [kind.kind, kind] as const))("a %s", (_kind, resource) => {
  test("is taken when every field is right", async () => {
    expect(refusalOf(await tryToCreate(cluster, resource, validManifest(resource, "good")))).toBeUndefined();
  });

  test("is refused without a spec, unless that has a default", async () => {
    const { spec: _, ...manifest } = validManifest(resource, "bare");
    const refusal = refusalOf(await tryToCreate(cluster, resource, manifest));
    expect(refusal?.fields.includes("spec") ?? false).toBe(!withDefaultSpec.has(resource));
  });

  test.each(["../a", "UPPER", "a b", "a\n", "a'b", "ü", longName(254)])(
    "is refused with the name %j",
    async (name) => {
      const reply = await tryToCreate(cluster, resource, validManifest(resource, name));
      expect(outcomeOf(reply, "metadata.name")).toBe("refused for metadata.name");
    },
  );

  test("is taken with a name of 253 characters", async () => {
    const manifest = validManifest(resource, `${longName(250)}.ab`);
    expect(refusalOf(await tryToCreate(cluster, resource, manifest))).toBeUndefined();
  });
});

describe.each(badSpecs.map(([resource, rows]) => [resource.kind, resource, rows] as const))(
  "a %s is refused with",
  (_kind, resource, rows) => {
    test.each(rows)("%s", async (_sentence, patch, field) => {
      const manifest = validManifest(resource, "bad");
      const reply = await tryToCreate(cluster, resource, mergePatch(manifest, { spec: patch }));
      expect(outcomeOf(reply, field)).toBe(`refused for ${field}`);
    });
  },
);

const forbiddenChanges: readonly (readonly [CustomResource, string, JsonObject, string])[] = [
  [virtualMachines, "another image", { image: "fedora" }, "spec.image"],
  [virtualMachines, "other key pairs", { keyPairs: [] }, "spec.keyPairs"],
  [virtualMachines, "another network", { networks: [{ name: "other" }] }, "spec.networks"],
  [virtualMachines, "another host name", { hostname: "db" }, "spec.hostname"],
  [virtualMachines, "no host name any more", { hostname: null }, "spec.hostname"],
  [virtualMachines, "other user data", { cloudInit: { userData: "" } }, "spec.cloudInit"],
  [virtualMachines, "no cloud-init any more", { cloudInit: null }, "spec.cloudInit"],
  [virtualMachines, "other firmware", { firmware: "BIOS" }, "spec.firmware"],
  [virtualMachines, "the default firmware", { firmware: null }, "spec.firmware"],
  [images, "another checksum", { checksum: null }, "spec"],
  [images, "another minimum disk", { minimumDisk: "3Gi" }, "spec"],
  [flavors, "more memory", { memory: "1Gi" }, "spec"],
  [flavors, "more virtual CPUs", { vcpus: 4 }, "spec"],
  [keyPairs, "another key", { publicKey: `ssh-ed25519 ${KEY}` }, "spec"],
  [networks, "a larger CIDR", { cidr: "10.0.0.0/16" }, "spec.cidr"],
  [networks, "another gateway", { gateway: "10.0.0.3" }, "spec.gateway"],
  [networks, "no gateway any more", { gateway: null }, "spec.gateway"],
  [
    virtualMachines,
    "other allowed addresses",
    { networks: [{ name: "default", allowedAddresses: ["10.0.0.66"] }] },
    "spec.networks",
  ],
  [floatingIps, "another pool", { pool: "other" }, "spec.pool"],
  [floatingIps, "another address", { address: "203.0.113.6" }, "spec.address"],
  [floatingIps, "no address any more", { address: null }, "spec.address"],
];

const allowedChanges: readonly (readonly [CustomResource, string, JsonObject])[] = [
  [virtualMachines, "flavor", { flavor: "large" }],
  [virtualMachines, "run strategy", { runStrategy: "Halted" }],
  [virtualMachines, "grace period", { terminationGracePeriodSeconds: 0 }],
  [virtualMachines, "zone and node selector", { availabilityZone: null, nodeSelector: { a: "b" } }],
  [virtualMachines, "list of groups", { securityGroups: ["web", "ops"] }],
  [virtualMachines, "list of groups that is empty", { securityGroups: [] }],
  [securityGroups, "list of rules", { ingress: [], egress: null, logRefused: false }],
  [floatingIps, "list of targets", { targets: ["web-1"], failback: "Never" }],
  [floatingIps, "way to choose machines", { targets: null, selector: { app: "web" } }],
  [networks, "way out", { egress: "NAT", reachableFromNodes: true, routesTo: [] }],
  [networks, "name servers", { dnsServers: [] }],
  [networks, "reserved addresses", { reservedAddresses: [] }],
  [hypervisors, "cordon and overcommit", { unschedulable: false, cpuOvercommitPercent: 100 }],
];

const named = (resource: CustomResource): string =>
  `${cluster.namespace}-fixed-${resource.definition.singular}`;

const tryToChange = (resource: CustomResource, patch: JsonObject): Promise<Reply> =>
  cluster.administrator.call({
    method: "PATCH",
    path: `${cluster.pathOf(resource, named(resource))}?dryRun=All`,
    contentType: MERGE_PATCH,
    body: { spec: patch },
  });

describe("after an object was made", () => {
  beforeAll(async () => {
    for (const kind of kinds) await create(cluster, kind, validManifest(kind, named(kind)));
  });

  afterAll(async () => {
    for (const kind of kinds) {
      await cluster.administrator.call({ method: "DELETE", path: cluster.pathOf(kind, named(kind)) });
    }
  });

  test.each(forbiddenChanges.map(([kind, ...row]) => [kind.kind, row[0], kind, row] as const))(
    "a %s does not take %s",
    async (_kind, _sentence, resource, [, patch, field]) => {
      const reply = await tryToChange(resource, patch);
      expect(outcomeOf(reply, field)).toBe(`refused for ${field}`);
    },
  );

  test.each(allowedChanges.map(([kind, ...row]) => [kind.kind, row[0], kind, row] as const))(
    "a %s takes another %s",
    async (_kind, _sentence, resource, [, patch]) => {
      expect(refusalOf(await tryToChange(resource, patch))).toBeUndefined();
    },
  );
});

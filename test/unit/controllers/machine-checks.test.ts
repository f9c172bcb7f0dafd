import { describe, expect, test } from "@jest/globals";
import type { SecurityGroup } from "../../../src/api/security-group.ts";
import { findViolations, type Prerequisite } from "../../../src/controllers/virtual-machine/checks.ts";
import type { UnplacedFacts } from "../../../src/controllers/virtual-machine/observe.ts";
import { unplacedFacts } from "./machine-facts.ts";
import {
  cachedImage,
  flavorWith,
  imageWith,
  keyPairWith,
  machineWith,
  networkWith,
  numberedNetwork,
  securityGroupWith,
  uidOf,
} from "./objects.ts";

type Case = readonly [string, Partial<UnplacedFacts>, Prerequisite, string];

const noNetwork = {
  name: "lan",
  network: undefined,
  freeAddress: undefined,
  macAddress: "02:00:00:00:00:01",
  allowedAddresses: [],
  takenAddresses: [],
};

const lan = { ...noNetwork, network: numberedNetwork(), freeAddress: "10.0.0.2" };

const groups: Readonly<Record<string, SecurityGroup>> = { web: securityGroupWith() };

const failed = (reason: "Corrupt" | "AddressRefused" | "NotFound" | "FetchFailed", node = "node-1") => ({
  node,
  image: cachedImage({ state: "Failed", reason, message: "It is broken." }),
});

const held = (virtualSizeBytes: number) => ({ node: "node-2", image: cachedImage({ virtualSizeBytes }) });

const cases: readonly Case[] = [
  [
    "an image that does not exist",
    { image: undefined },
    "ImageReady",
    "missing ImageNotFound: Image tiny does not exist in namespace default. Make it there.",
  ],
  [
    "an image that no node can follow",
    { image: imageWith({ source: { url: "https://[" } }) },
    "ImageReady",
    "lasting ImageInvalid: Image tiny: spec.source.url is not a URL: https://[. Make a machine with another image.",
  ],
  [
    "an image that a node refused for what it is",
    { imageReports: [failed("Corrupt")] },
    "ImageReady",
    "lasting Corrupt: Image tiny was refused by node node-1: It is broken. Make a machine with another image.",
  ],
  [
    "an image whose URL is not found",
    { imageReports: [failed("NotFound")] },
    "ImageReady",
    "lasting NotFound: Image tiny was refused by node node-1: It is broken. Make a machine with another image.",
  ],
  [
    "a flavor that does not exist",
    { flavor: undefined },
    "FlavorReady",
    "missing FlavorNotFound: Flavor small does not exist. Make it; flavors are cluster-wide.",
  ],
  [
    "a flavor that cannot be counted",
    { flavor: flavorWith({ memory: "99999999T" }) },
    "FlavorReady",
    'lasting FlavorInvalid: Flavor small: spec.memory: "99999999T" is more than Vireo can count. Choose another flavor.',
  ],
  [
    "a disk smaller than the image asks for",
    { image: imageWith({ minimumDisk: "1025Mi" }) },
    "FlavorReady",
    "lasting DiskTooSmall: Flavor small has a root disk of 1024 MiB, and Image tiny needs 1025 MiB. Choose a larger flavor, or set spec.disk.",
  ],
  [
    "less memory than the image asks for",
    { image: imageWith({ minimumMemory: "513M" }), flavor: flavorWith({ memory: "489Mi" }) },
    "FlavorReady",
    "lasting MemoryTooSmall: Flavor small has memory of 489 MiB, and Image tiny needs 490 MiB. Choose a larger flavor, or set spec.memory.",
  ],
  [
    "a disk that the image does not fit in, as a node found out",
    { imageReports: [held(2 ** 30 + 1)] },
    "FlavorReady",
    "lasting DiskTooSmall: Flavor small has a root disk of 1024 MiB, and Image tiny needs 1025 MiB. Choose a larger flavor, or set spec.disk.",
  ],
  [
    "a key pair that does not exist",
    { keyPairs: [{ name: "me", keyPair: undefined }] },
    "KeyPairsReady",
    "missing KeyPairNotFound: KeyPair me does not exist in namespace default. Make it there.",
  ],
  [
    "several key pairs that do not exist",
    {
      keyPairs: [
        { name: "me", keyPair: undefined },
        { name: "you", keyPair: undefined },
      ],
    },
    "KeyPairsReady",
    "missing KeyPairNotFound: KeyPairs me, you do not exist in namespace default. Make them there.",
  ],
  [
    "a key pair that is yet to be generated",
    { keyPairs: [{ name: "me", keyPair: keyPairWith({ generate: { secretName: "key" } }) }] },
    "KeyPairsReady",
    "missing KeyPairNotReady: KeyPair me has no key yet; its status says why.",
  ],
  [
    "a key pair with a broken key",
    { keyPairs: [{ name: "me", keyPair: keyPairWith({ publicKey: "ssh-ed25519 AAAA" }) }] },
    "KeyPairsReady",
    "lasting KeyPairInvalid: KeyPair me: the key in spec.publicKey ends too early: was it cut off? Make a machine with another key pair.",
  ],
  [
    "a network that does not exist",
    { networks: [noNetwork] },
    "NetworkReady",
    "missing NetworkNotFound: Network lan does not exist. Make it; networks are cluster-wide.",
  ],
  [
    "a network that overlaps an older one",
    {
      allNetworks: [
        numberedNetwork(),
        networkWith({}, { name: "old", uid: uidOf("old"), creationTimestamp: "2025-01-01T00:00:00Z" }),
      ],
    },
    "NetworkReady",
    "lasting CIDROverlap: Network lan: 10.0.0.0/24 overlaps 10.0.0.0/24 of the older Network old, and nodes can have a route to one of them only. Set spec.reachableFromNodes of this Network or of that one to false.",
  ],
  [
    "a network without a free address",
    {
      networks: [{ ...noNetwork, network: numberedNetwork({ cidr: "10.0.0.0/30" }) }],
      allNetworks: [],
    },
    "NetworkReady",
    "passing AddressesExhausted: Network lan has no free address: all 1 are given out. Delete machines that are not needed, or make a machine in another network.",
  ],
  [
    "a network that has no number yet",
    { networks: [{ ...lan, network: networkWith() }] },
    "NetworkReady",
    "missing NetworkNotReady: Network lan has no number yet; its status says why.",
  ],
  [
    "a network whose number is that of an older one",
    {
      networks: [{ ...lan, network: numberedNetwork({ reachableFromNodes: false }) }],
      allNetworks: [
        numberedNetwork({}, { name: "old", uid: uidOf("old"), creationTimestamp: "2025-01-01T00:00:00Z" }),
      ],
    },
    "NetworkReady",
    "missing NetworkNotReady: Network lan has no number yet; its status says why.",
  ],
  ...[
    ["10.0.1.9", "is not in 10.0.0.0/24 of Network lan"],
    ["10.0.0.0", "is the network address of Network lan"],
    ["10.0.0.1", "is the gateway of Network lan"],
    ["10.0.0.255", "is the broadcast address of Network lan"],
  ].map(([address = "", problem = ""]): Case => [
    `an allowed address that ${problem}`,
    { networks: [{ ...lan, allowedAddresses: ["10.0.0.9", address] }] },
    "NetworkReady",
    `lasting InvalidAllowedAddress: spec.networks: allowed address ${address} ${problem}. Make a machine with other allowedAddresses.`,
  ]),
  [
    "an allowed address that another machine was given",
    { networks: [{ ...lan, allowedAddresses: ["10.0.0.9"], takenAddresses: ["10.0.0.9"] }] },
    "NetworkReady",
    "passing AllowedAddressTaken: spec.networks: allowed address 10.0.0.9 of Network lan was given to another machine. Delete that one, or make a machine with an address that is reserved in the Network (spec.reservedAddresses).",
  ],
  [
    "security groups that do not exist, but for the one that is made",
    { securityGroups: ["web", "default", "db", "ssh"].map((name) => ({ name, group: groups[name] })) },
    "SecurityGroupsReady",
    "missing SecurityGroupNotFound: SecurityGroups db, ssh do not exist in namespace default. Make them there, or take the name out of spec.securityGroups.",
  ],
  [
    "a security group that does not exist",
    { securityGroups: [{ name: "db", group: undefined }] },
    "SecurityGroupsReady",
    "missing SecurityGroupNotFound: SecurityGroup db does not exist in namespace default. Make it there, or take the name out of spec.securityGroups.",
  ],
];

describe("A machine is not placed for", () => {
  test.each(cases)("%s", (_, changes, condition, expected) => {
    const violations = [...findViolations(unplacedFacts(changes))].map(
      ([type, { kind, reason, message }]) => [type, `${kind} ${reason}: ${message}`] as const,
    );
    expect(violations).toEqual([[condition, expected]]);
  });
});

describe("Nothing is said against", () => {
  test.each<[string, Partial<UnplacedFacts>]>([
    ["a machine that has everything", {}],
    ["a machine without key pairs", { machine: machineWith({ keyPairs: [] }), keyPairs: [] }],
    ["an image that one node refuses and another holds", { imageReports: [failed("Corrupt"), held(1)] }],
    ["an image that a node may not fetch: another may", { imageReports: [failed("AddressRefused")] }],
    [
      "an image whose file one node does not have: another may",
      { image: imageWith({ source: { file: "tiny.qcow2" } }), imageReports: [failed("NotFound")] },
    ],
    ["an image that cannot be fetched just now", { imageReports: [failed("FetchFailed")] }],
    ["an image that just fits", { image: imageWith({ minimumDisk: "1Gi" }), imageReports: [held(2 ** 30)] }],
    [
      "two machines with the same key",
      { keyPairs: ["a", "b"].map((name) => ({ name, keyPair: keyPairWith() })) },
    ],
  ])("%s", (_, changes) => {
    expect([...findViolations(unplacedFacts(changes))]).toEqual([]);
  });
});

test("every prerequisite tells of its own first problem", () => {
  const violations = findViolations(
    unplacedFacts({
      image: undefined,
      flavor: undefined,
      keyPairs: [{ name: "me", keyPair: undefined }],
      networks: [noNetwork],
    }),
  );
  expect([...violations].map(([type, { reason }]) => `${type} ${reason}`)).toEqual([
    "ImageReady ImageNotFound",
    "FlavorReady FlavorNotFound",
    "KeyPairsReady KeyPairNotFound",
    "NetworkReady NetworkNotFound",
  ]);
});

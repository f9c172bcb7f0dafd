import { describe, expect, test } from "@jest/globals";
import type { SecurityGroup } from "../../../src/api/security-group.ts";
import { findViolations, type Prerequisite } from "../../../src/controllers/virtual-machine/checks.ts";
import type { VolumeUse } from "../../../src/controllers/virtual-machine/attachments.ts";
import type { UnplacedFacts } from "../../../src/controllers/virtual-machine/observe.ts";
import { unplacedFacts } from "./machine-facts.ts";
import {
  cachedImage,
  flavorWith,
  guestOn,
  hypervisorWith,
  imageWith,
  keyPairWith,
  lostHypervisor,
  machineCopying,
  machineWith,
  networkWith,
  numberedNetwork,
  placedMachine,
  readyCondition,
  securityGroupWith,
  uidOf,
  volumeOf,
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

const volume = (
  name: string,
  status: Parameters<typeof volumeOf>[2] = {},
  holder = machineWith(),
  isShared = false,
): VolumeUse => ({ name, volume: volumeOf(name, holder, status), isShared });

/** A machine whose root disk is to be a copy of that of machine golden, on node-1. */
const copying = {
  machine: machineCopying("golden"),
  image: undefined,
  source: {
    kind: "machine",
    name: "golden",
    machine: placedMachine(
      {
        guest: guestOn(),
        conditions: [{ ...readyCondition("True", "RootDiskReady"), type: "StorageReady" }],
      },
      { name: "golden", uid: uidOf("golden") },
    ),
    node: hypervisorWith(),
  },
} as const;

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
  ...[
    ["10.0.1.9", "is not in 10.0.0.0/24 of Network lan."],
    ["10.0.0.1", "is the gateway of Network lan."],
    ["10.0.0.255", "is the broadcast address of Network lan."],
    ["10.0.0.77", "is reserved in Network lan (spec.reservedAddresses)."],
  ].map(([address = "", problem = ""]): Case => [
    `an address of its own that ${problem}`,
    {
      networks: [
        {
          ...lan,
          network: numberedNetwork({ reservedAddresses: ["10.0.0.77"] }),
          wantedAddress: address,
          freeAddress: address,
        },
      ],
    },
    "NetworkReady",
    `lasting InvalidAddress: spec.networks: address ${address} ${problem} Make a machine with another address.`,
  ]),
  [
    "an address of its own that another machine has",
    { networks: [{ ...lan, wantedAddress: "10.0.0.9", freeAddress: undefined }] },
    "NetworkReady",
    "passing AddressTaken: spec.networks: address 10.0.0.9 of Network lan was given to another machine, or machines may share it (allowedAddresses). The machine waits until it is free; or make a machine with another address.",
  ],
  [
    "an image of another namespace that does not exist there, or that it may not use",
    { machine: machineWith({ imageNamespace: "golden" }), image: undefined },
    "ImageReady",
    "missing ImageNotFound: Image tiny does not exist in namespace golden, or namespace default may not use it (spec.visibility, spec.sharedWith).",
  ],
  [
    "an image that is still being made out of a disk",
    { image: imageWith({ source: { virtualMachine: "hello" } }) },
    "ImageReady",
    "missing ImageNotReady: Image tiny has not been made yet; its status says why.",
  ],
  [
    "a disk to be copied that is not there",
    { ...copying, source: { ...copying.source, machine: undefined } },
    "ImageReady",
    "missing SourceNotFound: VirtualMachine golden does not exist in this namespace. Make it there.",
  ],
  [
    "a disk to be copied whose node is lost",
    { ...copying, source: { ...copying.source, node: lostHypervisor() } },
    "ImageReady",
    "passing SourceOnLostNode: VirtualMachine golden is on node node-1, which gives no sign of life. Wait for the node, or name another source.",
  ],
  [
    "a root disk that is smaller than the one that it is a copy of",
    { ...copying, flavor: flavorWith({ disk: "512Mi" }) },
    "FlavorReady",
    "lasting DiskTooSmall: Flavor small has a root disk of 512 MiB, and the disk that it is a copy of has 1024 MiB. Choose a larger flavor, or set spec.disk.",
  ],
  [
    "an inline disk that the image does not fit in",
    { machine: machineWith({ disk: "2Gi" }), image: imageWith({ minimumDisk: "3Gi" }) },
    "FlavorReady",
    "lasting DiskTooSmall: The machine has a root disk of 2048 MiB, and Image tiny needs 3072 MiB. Set spec.disk to more.",
  ],
  [
    "CPUs that are laid out otherwise than it has room for",
    { machine: machineWith({ maxVcpus: 4, cpu: { topology: { sockets: 1, cores: 2, threads: 1 } } }) },
    "FlavorReady",
    "lasting TopologyMismatch: spec.cpu.topology lays out 2 virtual CPUs (sockets times cores times threads), and spec.maxVcpus is 4. Make them the same.",
  ],
  [
    "a Volume that does not exist",
    { volumes: [{ name: "data", volume: undefined, isShared: false }] },
    "VolumesReady",
    "missing VolumeNotFound: Volume data does not exist in namespace default. Make it there, or take it out of spec.volumes.",
  ],
  [
    "a Volume that another machine has",
    { volumes: [volume("data", {}, machineWith({}, { name: "other", uid: uidOf("other") }))] },
    "VolumesReady",
    "passing VolumeInUse: Volume data is in use by VirtualMachine other. Take it out of that machine's spec.volumes first, or take it out of spec.volumes.",
  ],
  [
    "Volumes of two nodes",
    { volumes: [volume("data", { nodeName: "node-1" }), volume("logs", { nodeName: "node-2" })] },
    "VolumesReady",
    "lasting VolumesOnDifferentNodes: Volume data is on node node-1, and Volume logs on node node-2; a machine is on one. Name disks of one node.",
  ],
  [
    "a Volume of another node than the disk that is copied",
    { ...copying, volumes: [volume("data", { nodeName: "node-2" })] },
    "VolumesReady",
    "lasting VolumesOnDifferentNodes: The disk that its root disk is a copy of is on node node-1, and Volume data on node node-2; a machine is on one. Name disks of one node.",
  ],
  [
    "a CD-ROM that is no raw image",
    { cdroms: [{ name: "iso", image: imageWith({}, { name: "iso" }), reports: [] }] },
    "ImageReady",
    "lasting CdromFormat: spec.cdroms: Image iso has format qcow2, and a CD-ROM is an image of format raw. Name another image.",
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
    ["a copy of a disk that is there", copying],
    [
      "an address of its own that is free",
      { networks: [{ ...lan, wantedAddress: "10.0.0.9", freeAddress: "10.0.0.9" }] },
    ],
    [
      "Volumes of one node, of none, and of another that this one can read",
      {
        volumes: [
          volume("a", { nodeName: "node-1" }),
          volume("b"),
          volume("c", { nodeName: "node-2" }, machineWith(), true),
        ],
      },
    ],
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

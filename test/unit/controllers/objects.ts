import { createHash } from "node:crypto";
import type { AddressSlice } from "../../../src/api/address-slice.ts";
import type { Condition } from "../../../src/api/condition.ts";
import type { Flavor } from "../../../src/api/flavor.ts";
import type { CachedImageStatus, Hypervisor, HypervisorStatus } from "../../../src/api/hypervisor.ts";
import type { Image } from "../../../src/api/image.ts";
import type { KeyPair } from "../../../src/api/key-pair.ts";
import type { ObjectMeta } from "../../../src/api/meta.ts";
import type { Network } from "../../../src/api/network.ts";
import type { SecurityGroup } from "../../../src/api/security-group.ts";
import type { VirtualMachineSnapshot } from "../../../src/api/virtual-machine-snapshot.ts";
import { GUEST_FINALIZER, type VirtualMachine } from "../../../src/api/virtual-machine.ts";
import type { Volume } from "../../../src/api/volume.ts";

/** Objects for tests: complete, and different where the test says so. */

export const NOW = new Date("2026-02-03T04:05:06Z");

/** The same name gives the same uid. */
export const uidOf = (name: string): string => {
  const hex = createHash("sha256").update(name).digest("hex");
  return `${hex.slice(0, 8)}-${hex.slice(8, 12)}-4${hex.slice(13, 16)}-8${hex.slice(17, 20)}-${hex.slice(20, 32)}`;
};

type Meta = Partial<ObjectMeta>;

const clusterMeta = (name: string, meta: Meta): ObjectMeta => ({
  name,
  uid: uidOf(name),
  resourceVersion: "1",
  generation: 1,
  creationTimestamp: "2026-01-01T00:00:00Z",
  ...meta,
});

const namespacedMeta = (name: string, meta: Meta): ObjectMeta => ({
  ...clusterMeta(name, meta),
  namespace: meta.namespace ?? "default",
});

const apiVersion = "vireo.dev/v1alpha1";

export const readyCondition = (
  status: Condition["status"],
  reason: string,
  message = "Because.",
): Condition => ({
  type: "Ready",
  status,
  reason,
  message,
  observedGeneration: 1,
  lastTransitionTime: "2026-01-01T00:00:00Z",
});

export const flavorWith = (spec: Partial<Flavor["spec"]> = {}, meta: Meta = {}): Flavor => ({
  apiVersion,
  kind: "Flavor",
  metadata: clusterMeta("small", meta),
  spec: { vcpus: 1, memory: "512Mi", disk: "1Gi", ...spec },
});

export const imageWith = (spec: Partial<Image["spec"]> = {}, meta: Meta = {}): Image => ({
  apiVersion,
  kind: "Image",
  metadata: namespacedMeta("tiny", meta),
  spec: {
    source: { url: "https://images.example.com/tiny.qcow2" },
    format: "qcow2",
    compression: "None",
    visibility: "Private",
    sharedWith: [],
    ...spec,
  },
});

export const PUBLIC_KEY =
  "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIAABAgMEBQYHCAkKCwwNDg8QERITFBUWFxgZGhscHR4f me@example.com";

export const keyPairWith = (
  spec: KeyPair["spec"] = { publicKey: PUBLIC_KEY },
  meta: Meta = {},
  status?: KeyPair["status"],
): KeyPair => ({
  apiVersion,
  kind: "KeyPair",
  metadata: namespacedMeta("me", meta),
  spec,
  ...(status !== undefined && { status }),
});

export const networkWith = (spec: Partial<Network["spec"]> = {}, meta: Meta = {}): Network => ({
  apiVersion,
  kind: "Network",
  metadata: clusterMeta("lan", meta),
  spec: {
    cidr: "10.0.0.0/24",
    dnsServers: [],
    mtu: 1450,
    reservedAddresses: [],
    egress: "NAT",
    reachableFromNodes: true,
    routesTo: [],
    ...spec,
  },
});

/** A Network that machines can be placed in. */
export const numberedNetwork = (spec: Partial<Network["spec"]> = {}, meta: Meta = {}, vni = 1): Network => ({
  ...networkWith(spec, meta),
  status: { vni },
});

export const securityGroupWith = (
  spec: Partial<SecurityGroup["spec"]> = {},
  meta: Meta = {},
): SecurityGroup => ({
  apiVersion,
  kind: "SecurityGroup",
  metadata: namespacedMeta("web", meta),
  spec: { ingress: [], logRefused: false, ...spec },
});

export const addressSliceWith = (
  name: string,
  spec: AddressSlice["spec"],
  meta: Meta = {},
): AddressSlice => ({ apiVersion, kind: "AddressSlice", metadata: clusterMeta(name, meta), spec });

export const hypervisorWith = (
  status: Partial<HypervisorStatus> = {},
  meta: Meta = {},
  spec: Partial<Hypervisor["spec"]> = {},
): Hypervisor => ({
  apiVersion,
  kind: "Hypervisor",
  metadata: clusterMeta("node-1", meta),
  spec: {
    unschedulable: false,
    drain: false,
    maxParallelMigrations: 2,
    outOfService: false,
    cpuOvercommitPercent: 100,
    memoryOvercommitPercent: 100,
    ...spec,
  },
  status: {
    conditions: [readyCondition("True", "AgentReady")],
    acceleration: "kvm",
    firmwares: ["BIOS"],
    capacity: { cpus: 8, memoryMiB: 8192, diskMiB: 100_000 },
    ...status,
  },
});

export const lostHypervisor = (name = "node-1"): Hypervisor =>
  hypervisorWith({ conditions: [readyCondition("Unknown", "HeartbeatLost")] }, { name, uid: uidOf(name) });

export const cachedImage = (status: Partial<CachedImageStatus> = {}): CachedImageStatus => ({
  uid: uidOf("tiny"),
  state: "Ready",
  ...status,
});

export const machineWith = (
  spec: Partial<VirtualMachine["spec"]> = {},
  meta: Meta = {},
  status?: VirtualMachine["status"],
): VirtualMachine => ({
  apiVersion,
  kind: "VirtualMachine",
  metadata: namespacedMeta("hello", meta),
  spec: {
    flavor: "small",
    image: "tiny",
    keyPairs: ["me"],
    networks: [{ name: "lan", allowedAddresses: [] }],
    securityGroups: [],
    runStrategy: "Always",
    terminationGracePeriodSeconds: 60,
    firmware: "BIOS",
    tpm: false,
    rootDisk: { pool: "local" },
    volumes: [],
    cdroms: [],
    graphics: ["VNC"],
    hostDevices: [],
    ...spec,
  },
  ...(status !== undefined && { status }),
});

/** A machine that starts as a copy of another one's root disk instead of as an image. */
export const machineCopying = (virtualMachine: string, meta: Meta = {}): VirtualMachine => {
  const machine = machineWith({ source: { virtualMachine } }, meta);
  const { image: _, ...spec } = machine.spec;
  return { ...machine, spec };
};

export const volumeWith = (
  spec: Partial<Volume["spec"]> = {},
  meta: Meta = {},
  status?: Volume["status"],
): Volume => ({
  apiVersion,
  kind: "Volume",
  metadata: namespacedMeta("data", meta),
  spec: { size: "1Gi", pool: "local", deletionPolicy: "Delete", ...spec },
  ...(status !== undefined && { status }),
});

/** A Volume that is reserved for the machine. */
export const volumeOf = (
  name: string,
  { metadata }: VirtualMachine,
  status: Volume["status"] = {},
  spec: Partial<Volume["spec"]> = {},
): Volume =>
  volumeWith(
    spec,
    { name, uid: uidOf(name) },
    { attachedTo: { name: metadata.name, uid: metadata.uid }, ...status },
  );

export const snapshotWith = (
  status: VirtualMachineSnapshot["status"] = {},
  meta: Meta = {},
): VirtualMachineSnapshot => ({
  apiVersion,
  kind: "VirtualMachineSnapshot",
  metadata: namespacedMeta("before", meta),
  spec: { virtualMachine: "hello", includeMemory: false, quiesce: "IfPossible" },
  status,
});

type Allocation = NonNullable<NonNullable<VirtualMachine["status"]>["allocation"]>;

export const allocationWith = (
  address = "10.0.0.2",
  flavor: Partial<Allocation["flavor"]> = {},
): Allocation => ({
  flavor: { name: "small", vcpus: 1, memoryMiB: 512, diskMiB: 1024, ...flavor },
  image: {
    name: "tiny",
    uid: uidOf("tiny"),
    format: "qcow2",
    compression: "None",
    url: "https://images.example.com/tiny.qcow2",
  },
  interfaces: [
    {
      network: "lan",
      macAddress: "02:00:00:00:00:01",
      address,
      prefixLength: 24,
      gateway: "10.0.0.1",
      dnsServers: [],
      mtu: 1450,
      vni: 1,
      allowedAddresses: [],
    },
  ],
  sshPublicKeys: [PUBLIC_KEY],
});

/** A machine on node-1. */
export const placedMachine = (
  status: Partial<NonNullable<VirtualMachine["status"]>> = {},
  meta: Meta = {},
): VirtualMachine =>
  machineWith(
    {},
    { finalizers: [GUEST_FINALIZER], ...meta },
    { nodeName: "node-1", allocation: allocationWith(), ...status },
  );

/** What the agent of node-1 says of a guest. */
export const guestOn = (
  nodeName = "node-1",
): NonNullable<NonNullable<VirtualMachine["status"]>["guest"]> => ({
  nodeName,
  powerState: "Running",
  restarts: 0,
});

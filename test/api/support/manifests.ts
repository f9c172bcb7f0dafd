import { apiVersionOf, type Resource } from "../../../src/api/resource.ts";

export type Json = null | boolean | number | string | readonly Json[] | { readonly [name: string]: Json };
export type JsonObject = { readonly [name: string]: Json };

const NOW = "2026-11-23T10:20:30Z";
const UID = "145484f2-8d1a-4016-aef2-d8fe7e21ccff";
const CHECKSUM = `sha256:${"0123456789abcdef".repeat(4)}`;

/** A spec of each kind that the API server takes, with every optional field set. */
const specs: Readonly<Record<string, JsonObject>> = {
  VirtualMachine: {
    flavor: "small",
    image: "debian",
    keyPairs: ["me"],
    networks: [{ name: "default", address: "10.0.0.5", allowedAddresses: ["10.0.0.9"], bootOrder: 3 }],
    securityGroups: ["web"],
    vcpus: 2,
    maxVcpus: 4,
    memory: "512Mi",
    maxMemory: "1Gi",
    disk: "10Gi",
    rootDisk: { pool: "fast", bootOrder: 1 },
    volumes: [{ name: "data", bus: "SCSI", bootOrder: 2 }],
    cdroms: [{ image: "installer", bootOrder: 4 }],
    tpm: true,
    cpu: { model: "EPYC", topology: { sockets: 1, cores: 2, threads: 2 } },
    hugePages: { pageSize: "2Mi" },
    graphics: ["VNC", "SPICE"],
    hostDevices: [],
    runStrategy: "Always",
    terminationGracePeriodSeconds: 30,
    hostname: "web",
    cloudInit: {
      userData: "#cloud-config\npackages: [nginx]\n",
      networkDataSecretRef: { name: "web-network", key: "networkdata" },
    },
    firmware: "UEFI",
    availabilityZone: "north",
    nodeSelector: { "example.com/disk": "fast" },
  },
  Volume: {
    size: "10Gi",
    pool: "fast",
    source: { snapshot: "before", disk: "data" },
    deletionPolicy: "Retain",
  },
  VirtualMachineSnapshot: { virtualMachine: "web", includeMemory: true, quiesce: "Required" },
  VirtualMachineRestore: { virtualMachine: "web", snapshot: "before", powerState: "Running" },
  VirtualMachineMigration: {
    virtualMachine: "web",
    targetNode: "node-b",
    bandwidthMiBps: 100,
    maxDowntimeMilliseconds: 500,
    autoConverge: false,
    timeoutSeconds: 600,
  },
  Image: {
    source: { url: "https://images.example.com/debian.qcow2?build=1" },
    format: "qcow2",
    compression: "Xz",
    checksum: CHECKSUM,
    visibility: "Shared",
    sharedWith: ["shop"],
    minimumDisk: "2Gi",
    minimumMemory: "256Mi",
  },
  Flavor: { vcpus: 2, maxVcpus: 4, memory: "512Mi", maxMemory: "1Gi", disk: "10Gi" },
  KeyPair: { publicKey: "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIGk me@example.com" },
  Network: {
    cidr: "10.0.0.0/24",
    gateway: "10.0.0.1",
    dnsServers: ["9.9.9.9"],
    mtu: 1400,
    reservedAddresses: ["10.0.0.2"],
    egress: "None",
    reachableFromNodes: false,
    routesTo: ["other"],
  },
  SecurityGroup: {
    description: "what serves the web",
    ingress: [
      {
        description: "everybody",
        protocol: "tcp",
        port: 80,
        endPort: 81,
        remote: { cidrs: ["0.0.0.0/0"], except: ["192.0.2.0/24"] },
      },
      { protocol: "icmp", icmp: { type: 8, code: 0 } },
      { protocol: "udp", port: 53, remote: { group: "dns" } },
    ],
    egress: [{ protocol: "132" }],
    logRefused: true,
  },
  FloatingIP: { pool: "public", address: "203.0.113.5", targets: ["web-0", "web-1"], failback: "Prefer" },
  FloatingIPPool: { cidrs: ["203.0.113.0/28"], exclude: ["203.0.113.1"] },
  AddressSlice: {
    network: "default",
    machines: [
      {
        address: "10.0.0.5",
        nodeName: "node-a",
        nodeAddress: "192.0.2.1",
        namespace: "shop",
        name: "web-0",
        uid: UID,
        securityGroups: ["web"],
      },
    ],
  },
  Hypervisor: {
    unschedulable: true,
    drain: true,
    maxParallelMigrations: 4,
    outOfService: true,
    cpuOvercommitPercent: 200,
    memoryOvercommitPercent: 110,
  },
};

const common: JsonObject = {
  observedGeneration: 1,
  conditions: [
    {
      type: "Ready",
      status: "True",
      observedGeneration: 1,
      lastTransitionTime: NOW,
      reason: "Running",
      message: "the guest runs",
    },
  ],
};

/** A status of each kind with every field set. */
const statuses: Readonly<Record<string, JsonObject>> = {
  VirtualMachine: {
    ...common,
    printableStatus: "Running",
    nodeName: "node-a",
    allocation: {
      flavor: { name: "small", vcpus: 1, maxVcpus: 4, memoryMiB: 128, maxMemoryMiB: 256, diskMiB: 1024 },
      image: {
        name: "debian",
        uid: UID,
        format: "qcow2",
        compression: "Xz",
        url: "https://images.example.com/debian.qcow2",
        file: "debian.qcow2",
        nodeName: "node-a",
        checksum: CHECKSUM,
      },
      source: { machineUid: UID, snapshotUid: UID },
      pool: "fast",
      volumes: [{ name: "data", uid: UID }],
      cdroms: [{ name: "installer", uid: UID, format: "raw", compression: "None", file: "installer.iso" }],
      interfaces: [
        {
          network: "default",
          macAddress: "52:54:00:12:34:56",
          address: "10.0.0.5",
          prefixLength: 24,
          gateway: "10.0.0.1",
          dnsServers: ["9.9.9.9"],
          mtu: 1450,
          vni: 1,
          allowedAddresses: ["10.0.0.9"],
        },
      ],
      sshPublicKeys: ["ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIGk me"],
    },
    guest: {
      nodeName: "node-a",
      powerState: "Running",
      startedAt: NOW,
      shutdownRequestedAt: NOW,
      livenessFailure: "connection refused",
      pauseRequested: true,
      restartRequestedAt: NOW,
      vcpus: 2,
      memoryMiB: 256,
      volumes: [{ name: "data", uid: UID, state: "Detaching" }],
      restarts: 1,
      lastExit: { reason: "Crashed", at: NOW, message: "the guest panicked" },
    },
    pendingChanges: [{ path: "vcpus", current: "2", desired: "1" }],
  },
  Volume: {
    ...common,
    phase: "InUse",
    nodeName: "node-a",
    allocation: { source: { volumeUid: UID, snapshotUid: UID } },
    attachedTo: { name: "web", uid: UID },
    sizeMiB: 10_240,
    format: "qcow2",
    progressPercent: 50,
  },
  VirtualMachineSnapshot: {
    ...common,
    phase: "Ready",
    nodeName: "node-a",
    machineUid: UID,
    takenAt: NOW,
    consistency: "Quiesced",
    memory: true,
    memoryBytes: 1_000_000,
    disks: [{ name: "data", volumeUid: UID, sizeMiB: 10_240, usedBytes: 1000 }],
    progressPercent: 50,
  },
  VirtualMachineRestore: {
    ...common,
    phase: "Succeeded",
    nodeName: "node-a",
    machineUid: UID,
    snapshotUid: UID,
    startedAt: NOW,
    completedAt: NOW,
  },
  VirtualMachineMigration: {
    ...common,
    phase: "Succeeded",
    machineUid: UID,
    sourceNode: "node-a",
    targetNode: "node-b",
    live: true,
    progress: { percent: 100, remainingMiB: 0, iteration: 3 },
    downtimeMilliseconds: 90,
    targetReady: true,
    startedAt: NOW,
    completedAt: NOW,
  },
  Image: {
    ...common,
    nodes: ["node-a"],
    sizeBytes: 1_000_000,
    virtualSizeBytes: 2_000_000,
    checksum: CHECKSUM,
    origin: { nodeName: "node-a", disk: { volumeUid: UID } },
  },
  Flavor: common,
  KeyPair: {
    ...common,
    publicKey: "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIGk me",
    fingerprint: `SHA256:${"a".repeat(43)}`,
  },
  Network: { ...common, gateway: "10.0.0.1", vni: 1, addresses: { capacity: 253, allocated: 1 } },
  SecurityGroup: {
    ...common,
    members: 1,
    rules: 4,
    nodes: [{ name: "node-a", generation: 1, programmedAt: NOW }],
  },
  FloatingIP: {
    ...common,
    address: "203.0.113.5",
    claim: { machine: "web-0", machineUid: UID, nodeName: "node-a", address: "10.0.0.5", vni: 1 },
    holder: { nodeName: "node-a", since: NOW },
    failovers: 1,
  },
  FloatingIPPool: { ...common, addresses: { capacity: 15, allocated: 1 } },
  Hypervisor: {
    ...common,
    acceleration: "tcg",
    architecture: "x86_64",
    firmwares: ["BIOS"],
    zone: "north",
    addresses: ["192.0.2.1"],
    tunnelAddress: "192.0.2.1",
    securityGroups: [{ uid: UID, namespace: "shop", name: "web", generation: 1, programmedAt: NOW }],
    capacity: { cpus: 8, memoryMiB: 16_384, diskMiB: 100_000 },
    storagePools: [{ name: "fast", shared: true, wipe: "Zero", capacityMiB: 100_000, availableMiB: 50_000 }],
    retainedVolumes: [{ uid: UID, namespace: "shop", name: "data", pool: "fast", sizeMiB: 1024 }],
    agentEndpoint: "192.0.2.1:10900",
    tpm: true,
    versions: { libvirt: "11.3.0", hypervisor: "10.0.2 (Debian 1:10.0.2+ds-2)", agent: "0.1.0" },
    images: [
      {
        uid: UID,
        state: "Failed",
        reason: "ChecksumMismatch",
        message: "another file",
        sizeBytes: 1,
        virtualSizeBytes: 2,
        checksum: CHECKSUM,
      },
    ],
  },
};

/** A status that the API server takes. */
export const validStatus = (resource: Resource): JsonObject => statuses[resource.kind] ?? {};

/** A manifest that the API server takes. */
export const validManifest = (resource: Resource, name: string): JsonObject => ({
  apiVersion: apiVersionOf(resource),
  kind: resource.kind,
  metadata: { name },
  spec: specs[resource.kind] ?? {},
});

const isObject = (value: Json | undefined): value is JsonObject =>
  typeof value === "object" && value !== null && !Array.isArray(value);

/** RFC 7386: members of the patch replace or join those of the target, null takes one away. */
export const mergePatch = (target: Json | undefined, patch: JsonObject): JsonObject => {
  const base = isObject(target) ? target : {};
  const changed = Object.entries(patch).flatMap(([name, value]) => {
    if (value === null) return [];
    return [[name, isObject(value) ? mergePatch(base[name], value) : value] as const];
  });
  const kept = Object.entries(base).filter(([name]) => !(name in patch));
  return Object.fromEntries([...kept, ...changed]);
};

import { z } from "zod";
import { conditions } from "./condition.ts";
import {
  checksum,
  diskReference,
  ipv4Address,
  macAddress,
  mebibytes,
  objectName,
  objectUid,
  observedGeneration,
  text,
  timestamp,
} from "./fields.ts";
import { imageCompressions, imageFile, imageFormats, imageUrl } from "./image.ts";
import { sshPublicKey } from "./key-pair.ts";
import { defineKind, type ObjectOf } from "./kind.ts";
import { MAX_VNI } from "./network-identity.ts";
import { storagePoolName } from "./storage-pool.ts";
import { MAX_CDROMS, MAX_NETWORKS, MAX_VOLUMES, spec } from "./virtual-machine-spec.ts";

export { firmwares, runStrategies, type Firmware, type RunStrategy } from "./virtual-machine-spec.ts";

/** Held while anything of the machine may exist on a node, so that its addresses are not given away too early. */
export const GUEST_FINALIZER = "vireo.dev/guest";

const networkInterface = z.object({
  network: objectName.describe("Name of the Network."),
  macAddress: macAddress.describe("Hardware address of the guest's network card."),
  address: ipv4Address.describe("Address of the guest."),
  prefixLength: z.int().min(1).max(32).describe("Prefix length of the network."),
  gateway: ipv4Address.describe("The guest's default router."),
  dnsServers: z
    .array(ipv4Address)
    .max(3)
    .describe("Name servers that the guest is told to use.")
    .meta({ "x-kubernetes-list-type": "atomic" }),
  mtu: z.int().min(576).max(9000).describe("Largest packet in bytes."),
  vni: z.int().min(1).max(MAX_VNI).describe("Number of the network between nodes."),
  allowedAddresses: z
    .array(ipv4Address)
    .max(8)
    .describe("Further addresses that the guest may send from.")
    .meta({ "x-kubernetes-list-type": "set" }),
});

/** An Image as a node needs it; frozen, so that the disk on it stays the same whatever becomes of the Image. */
export const allocatedImage = z.object({
  name: objectName.describe("Name of the Image."),
  uid: objectUid.describe("UID of the Image."),
  format: z.enum(imageFormats).describe("Format of the disk image."),
  compression: z.enum(imageCompressions).describe("How the whole file is compressed."),
  url: imageUrl.optional().describe("Address that nodes download it from."),
  file: imageFile.optional().describe("Name of the file in the nodes' import directory."),
  nodeName: objectName
    .optional()
    .describe("Name of the node that made it out of a disk, and that other nodes fetch it from."),
  checksum: checksum.optional().describe("Digest that the file must have."),
});

const allocation = z.object({
  flavor: z
    .object({
      name: objectName.optional().describe("Name of the Flavor, if the machine has one."),
      vcpus: z.int().min(1).max(256).describe("Virtual CPUs."),
      maxVcpus: z
        .int()
        .min(1)
        .max(256)
        .optional()
        .describe("How many virtual CPUs the running guest can be given. Absent: vcpus."),
      memoryMiB: mebibytes.min(1).describe("Memory in MiB."),
      maxMemoryMiB: mebibytes
        .min(1)
        .optional()
        .describe("How much memory the running guest can be given, in MiB. Absent: memoryMiB."),
      diskMiB: mebibytes.min(1).describe("Root disk in MiB."),
    })
    .describe("The size that the machine was given on its node: what it asks for, as far as there was room."),
  image: allocatedImage
    .optional()
    .describe(
      "The image as it was when the machine was placed. Absent when the root disk is a copy of a disk.",
    ),
  source: diskReference
    .optional()
    .describe("The disk that the root disk is a copy of. Absent when it starts as an image."),
  pool: storagePoolName.optional().describe("Storage pool of the root disk. Absent: local."),
  interfaces: z
    .array(networkInterface)
    .max(MAX_NETWORKS)
    .describe("Network interfaces, with addresses that the machine keeps until it is deleted.")
    .meta({ "x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["network"] }),
  sshPublicKeys: z
    .array(sshPublicKey)
    .max(16)
    .describe("Public keys of the KeyPairs as they were when the machine was placed.")
    .meta({ "x-kubernetes-list-type": "atomic" }),
  volumes: z
    .array(
      z.object({
        name: objectName.describe("Name of the Volume."),
        uid: objectUid.describe("UID of the Volume."),
      }),
    )
    .max(MAX_VOLUMES)
    .optional()
    .describe(
      "Volumes that the machine has: those of its spec that nobody else has and that its node can reach. A guest that runs goes on without the others; it is not started before all that its spec names are here. See condition VolumesReady.",
    )
    .meta({ "x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["name"] }),
  cdroms: z
    .array(allocatedImage)
    .max(MAX_CDROMS)
    .optional()
    .describe(
      "Images that the guest has as CD-ROMs, as they were when they were put in. As with volumes, a start waits for all that the spec names; see condition ImageReady.",
    )
    .meta({ "x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["name"] }),
});

export const powerStates = ["Running", "Paused", "ShutOff", "Crashed"] as const;
export type PowerState = (typeof powerStates)[number];

export const exitReasons = [
  "GuestShutdown",
  "Stopped",
  "Crashed",
  "LivenessProbeFailed",
  "StartFailed",
  "Unknown",
] as const;
export type ExitReason = (typeof exitReasons)[number];

export const volumeAttachmentStates = ["Attached", "Detaching"] as const;

const guest = z.object({
  nodeName: objectName.describe("Name of the node whose agent wrote this."),
  powerState: z.enum(powerStates).describe("What libvirt says of the guest."),
  startedAt: timestamp.optional().describe("When the guest was last switched on."),
  shutdownRequestedAt: timestamp
    .optional()
    .describe(
      "When the power button was pressed: the grace period counts from here. Absent unless the guest is being shut down.",
    ),
  livenessFailure: text(1024)
    .optional()
    .describe(
      "What the liveness probe saw when it gave the guest up: its power is being cut. Absent otherwise.",
    ),
  pauseRequested: z
    .boolean()
    .optional()
    .describe(
      "Whether somebody paused the guest (subresource pause). It stays paused until it is unpaused or stopped.",
    ),
  restartRequestedAt: timestamp
    .optional()
    .describe(
      "When somebody asked for a restart (subresource restart): the guest is being shut down, and is then started again whatever its run strategy.",
    ),
  vcpus: z.int().min(1).max(256).optional().describe("Virtual CPUs that the running guest has been given."),
  memoryMiB: mebibytes.optional().describe("Memory that the running guest has, in MiB."),
  volumes: z
    .array(
      z.object({
        name: objectName.describe("Name of the Volume."),
        uid: objectUid.describe("UID of the Volume."),
        state: z
          .enum(volumeAttachmentStates)
          .describe(
            "Attached: the guest has it. Detaching: the guest was asked to let go of it and has not done so yet.",
          ),
      }),
    )
    .max(2 * MAX_VOLUMES)
    .optional()
    .describe("Volumes that the guest has. A Volume that is here is in use.")
    .meta({ "x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["uid"] }),
  restarts: z
    .int()
    .min(0)
    .max(2 ** 31 - 1)
    .describe(
      "How often the guest was started again after it had ended by itself, counted since it last ran for ten minutes.",
    ),
  lastExit: z
    .object({
      reason: z
        .enum(exitReasons)
        .describe(
          "How the guest ended. GuestShutdown: it powered itself off. Stopped: it was told to. Crashed: it failed. LivenessProbeFailed: its power was cut, because it was no longer alive. StartFailed: it could not be started. Unknown: nobody saw.",
        ),
      at: timestamp.describe("When the agent saw it."),
      message: text(1024).optional().describe("What libvirt said, if it said anything."),
    })
    .optional()
    .describe("The last end of the guest."),
});

/** What `kubectl get vm` shows in one word. */
export const printableStatuses = [
  "Pending",
  "Provisioning",
  "Starting",
  "Running",
  "Paused",
  "Restoring",
  "Stopping",
  "Stopped",
  "Succeeded",
  "CrashLoopBackOff",
  "Failed",
  "Terminating",
  "Unknown",
] as const;
export type PrintableStatus = (typeof printableStatuses)[number];

const status = z
  .object({
    observedGeneration,
    printableStatus: z
      .enum(printableStatuses)
      .optional()
      .describe("The state of the machine in one word, for people. Programs read the conditions."),
    nodeName: objectName.optional().describe("Name of the node that the machine was placed on."),
    allocation: allocation
      .optional()
      .describe(
        "What the controller chose for the machine when it was placed. It stays the same until the machine is deleted, but for flavor, volumes and cdroms, which follow the spec.",
      ),
    guest: guest.optional().describe("What the node's agent observes of the guest."),
    pendingChanges: z
      .array(
        z.object({
          path: text(253).min(1).describe("What differs, as a path into the spec, for example vcpus."),
          current: text(253).describe("What the running guest has."),
          desired: text(253).describe("What it will have after the next start."),
        }),
      )
      .max(32)
      .optional()
      .describe("What of the spec the running guest gets only by a restart; see condition RestartRequired.")
      .meta({ "x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["path"] }),
    conditions,
  })
  .describe("What the controller chose for the machine, and what the node's agent observes of it.");

export type VirtualMachineAllocation = z.output<typeof allocation>;
export type AllocatedImage = z.output<typeof allocatedImage>;
export type AllocatedInterface = z.output<typeof networkInterface>;
export type GuestStatus = z.output<typeof guest>;

/**
 * Condition types of a VirtualMachine and who writes them.
 *
 * controller: ImageReady, FlavorReady, KeyPairsReady, NetworkReady, SecurityGroupsReady, VolumesReady,
 * Scheduled, and ResizePending (the machine does not have the size that its spec asks for; absent otherwise).
 * node agent: StorageReady, RestartRequired (absent when nothing waits for a restart), and Released
 * (nothing of a deleted machine is left on the node).
 * Ready, Reconciling and Stalled (kstatus) belong, with observedGeneration and
 * printableStatus, to the agent from its first status on, and to the controller
 * before that and while the node does not answer.
 */
export const virtualMachineConditions = [
  "Ready",
  "Reconciling",
  "Stalled",
  "ImageReady",
  "FlavorReady",
  "KeyPairsReady",
  "NetworkReady",
  "SecurityGroupsReady",
  "VolumesReady",
  "Scheduled",
  "ResizePending",
  "StorageReady",
  "RestartRequired",
  "Released",
] as const;
export type VirtualMachineCondition = (typeof virtualMachineConditions)[number];

export const virtualMachines = defineKind({
  kind: "VirtualMachine",
  plural: "virtualmachines",
  singular: "virtualmachine",
  shortNames: ["vm"],
  scope: "Namespaced",
  description:
    "A virtual machine. It is Ready when it is as its spec says, also when the spec says that it is to be halted.",
  spec,
  status,
  selectableFields: [".status.nodeName"],
  columns: [
    { name: "STATUS", type: "string", jsonPath: ".status.printableStatus", description: "State in one word" },
    {
      name: "READY",
      type: "string",
      jsonPath: ".status.conditions[?(@.type=='Ready')].status",
      description: "Whether the machine is as its spec says",
    },
    { name: "NODE", type: "string", jsonPath: ".status.nodeName", description: "Node" },
    {
      name: "IP",
      type: "string",
      jsonPath: ".status.allocation.interfaces[0].address",
      description: "First address",
    },
    { name: "FLAVOR", type: "string", jsonPath: ".spec.flavor", description: "Flavor", priority: 1 },
    { name: "IMAGE", type: "string", jsonPath: ".spec.image", description: "Image", priority: 1 },
    {
      name: "STRATEGY",
      type: "string",
      jsonPath: ".spec.runStrategy",
      description: "Run strategy",
      priority: 1,
    },
    {
      name: "REASON",
      type: "string",
      jsonPath: ".status.conditions[?(@.type=='Ready')].reason",
      description: "Why it is or is not ready",
      priority: 1,
    },
    { name: "AGE", type: "date", jsonPath: ".metadata.creationTimestamp", description: "Age" },
  ],
});

export type VirtualMachine = ObjectOf<typeof virtualMachines>;

import { z } from "zod";
import { conditions } from "./condition.ts";
import {
  checksum,
  dnsLabel,
  ipv4Address,
  labelSelector,
  labelValue,
  macAddress,
  mebibytes,
  objectName,
  objectUid,
  observedGeneration,
  rules,
  text,
  timestamp,
  unchangeableMember,
} from "./fields.ts";
import { imageCompressions, imageFile, imageFormats, imageUrl } from "./image.ts";
import { sshPublicKey } from "./key-pair.ts";
import { defineKind, type ObjectOf } from "./kind.ts";
import { MAX_VNI } from "./network-identity.ts";
import { livenessProbe, readinessProbe } from "./probe.ts";

export const runStrategies = ["Always", "RerunOnFailure", "Once", "Halted"] as const;
export type RunStrategy = (typeof runStrategies)[number];

export const firmwares = ["BIOS", "UEFI"] as const;
export type Firmware = (typeof firmwares)[number];

/** Held while anything of the machine may exist on a node, so that its addresses are not given away too early. */
export const GUEST_FINALIZER = "vireo.dev/guest";

const immutableFields = [
  "flavor",
  "image",
  "keyPairs",
  "networks",
  "hostname",
  "cloudInit",
  "firmware",
] as const;

const userData = text(65_536)
  .refine((value) => !value.includes("\u0000"), "must not contain NUL")
  .meta({
    maxLength: 65_536,
    ...rules({ rule: String.raw`!self.contains('\u0000')`, message: "must not contain NUL" }),
  });

const spec = z
  .object({
    flavor: objectName.describe(
      "Name of the Flavor, which says how many virtual CPUs, how much memory and how large a root disk the machine has.",
    ),
    image: objectName.describe("Name of the Image in this namespace that the root disk starts as."),
    keyPairs: z
      .array(objectName)
      .max(16)
      .default([])
      .describe("Names of KeyPairs in this namespace whose holders may log in by ssh.")
      .meta({ "x-kubernetes-list-type": "set" }),
    networks: z
      .array(
        z
          .object({
            name: objectName.describe("Name of the Network."),
            allowedAddresses: z
              .array(ipv4Address)
              .max(8)
              .default([])
              .describe(
                "Further addresses of the Network that the machine may send from and is reached by, for example one that it shares with another machine (VRRP with unicast peers). Of the machines that list the same address, the first by name that is Ready has it. Reserve it in the Network, so that it is not given to a machine.",
              )
              .meta({ "x-kubernetes-list-type": "set" }),
          })
          .describe("A network."),
      )
      .min(1)
      .max(1)
      .describe(
        "The networks that the machine has an interface in, each with an address that it keeps for its whole life. Exactly one in this version.",
      )
      .meta({ "x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["name"] }),
    securityGroups: z
      .array(objectName)
      .max(16)
      .default([])
      .describe(
        "Names of SecurityGroups in this namespace. The machine may do what any of them allows; a change holds at once. Default: the group named default.",
      )
      .meta({ "x-kubernetes-list-type": "set" }),
    runStrategy: z
      .enum(runStrategies)
      .default("Always")
      .describe(
        "When the machine runs. Always: it is started again whenever it stops. RerunOnFailure: it is started again when it crashes, but not when the guest powers itself off. Once: it is never started again after it has ended. Halted: it is shut down, and keeps its disk and address.",
      ),
    terminationGracePeriodSeconds: z
      .int()
      .min(0)
      .max(3600)
      .default(60)
      .describe(
        "Seconds that the guest has to shut down once its power button (ACPI) is pressed. Then its power is cut; with 0 at once.",
      ),
    hostname: dnsLabel
      .optional()
      .describe(
        "Host name of the guest. Default: the machine's name with dashes for dots, cut to 63 characters.",
      ),
    cloudInit: z
      .object({
        userData: userData.describe(
          'User data for cloud-init, passed on as it is: "#cloud-config" and YAML, a "#!" script, or MIME multi-part. At most 65536 characters. Not for secrets: whoever may read the machine may read them.',
        ),
      })
      .optional()
      .describe(
        "What cloud-init is to do in the guest when it boots for the first time (NoCloud data source).",
      ),
    firmware: z
      .enum(firmwares)
      .default("BIOS")
      .describe("Firmware that the guest boots with: BIOS, or UEFI without Secure Boot."),
    livenessProbe: livenessProbe.optional(),
    readinessProbe: readinessProbe.optional(),
    availabilityZone: labelValue
      .min(1)
      .optional()
      .describe(
        "Runs the machine only on nodes of this zone (status.zone of the Hypervisor). It counts when a node is chosen; a later change moves nothing.",
      ),
    nodeSelector: labelSelector
      .optional()
      .describe(
        "Runs the machine only on nodes whose Hypervisor has all of these labels. It counts when a node is chosen; a later change moves nothing.",
      ),
  })
  .describe("What the machine is to be. Only users write here; what the system chooses is in status.")
  .meta(
    rules(
      ...immutableFields.map((field) =>
        unchangeableMember(
          field,
          `${field} cannot be changed after the machine was made; make another machine`,
        ),
      ),
    ),
  );

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

const allocation = z.object({
  flavor: z
    .object({
      name: objectName.describe("Name of the Flavor."),
      vcpus: z.int().min(1).max(256).describe("Virtual CPUs."),
      memoryMiB: mebibytes.min(1).describe("Memory in MiB."),
      diskMiB: mebibytes.min(1).describe("Root disk in MiB."),
    })
    .describe("The flavor as it was when the machine was placed."),
  image: z
    .object({
      name: objectName.describe("Name of the Image."),
      uid: objectUid.describe("UID of the Image."),
      format: z.enum(imageFormats).describe("Format of the disk image."),
      compression: z.enum(imageCompressions).describe("How the whole file is compressed."),
      url: imageUrl.optional().describe("Address that nodes download it from."),
      file: imageFile.optional().describe("Name of the file in the nodes' import directory."),
      checksum: checksum.optional().describe("Digest that the file must have."),
    })
    .describe("The image as it was when the machine was placed."),
  interfaces: z
    .array(networkInterface)
    .max(8)
    .describe("Network interfaces, with addresses that the machine keeps until it is deleted.")
    .meta({ "x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["network"] }),
  sshPublicKeys: z
    .array(sshPublicKey)
    .max(16)
    .describe("Public keys of the KeyPairs as they were when the machine was placed.")
    .meta({ "x-kubernetes-list-type": "atomic" }),
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
        "What the controller chose for the machine when it was placed. It stays the same until the machine is deleted.",
      ),
    guest: guest.optional().describe("What the node's agent observes of the guest."),
    conditions,
  })
  .describe("What the controller chose for the machine, and what the node's agent observes of it.");

export type VirtualMachineAllocation = z.output<typeof allocation>;
export type AllocatedInterface = z.output<typeof networkInterface>;
export type GuestStatus = z.output<typeof guest>;

/**
 * Condition types of a VirtualMachine and who writes them.
 *
 * controller: ImageReady, FlavorReady, KeyPairsReady, NetworkReady, SecurityGroupsReady, Scheduled.
 * node agent: StorageReady, and Released (nothing of a deleted machine is left on the node).
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
  "Scheduled",
  "StorageReady",
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

import { z } from "zod";
import { conditions } from "./condition.ts";
import {
  byteCount,
  checksum,
  dnsLabel,
  ipv4Address,
  labelValue,
  mebibytes,
  objectName,
  objectUid,
  observedGeneration,
  text,
  timestamp,
  versionText,
} from "./fields.ts";
import { imageRefusals } from "./image.ts";
import { defineKind, type ObjectOf } from "./kind.ts";
import { storagePool, storagePoolName } from "./storage-pool.ts";
import { firmwares } from "./virtual-machine-spec.ts";

export const accelerations = ["kvm", "tcg"] as const;
export type Acceleration = (typeof accelerations)[number];

/** Namespace of the heartbeat Leases; one per node, with the node's name. */
export const SYSTEM_NAMESPACE = "vireo-system";

export const cachedImageStates = ["Fetching", "Ready", "Failed"] as const;

const spec = z
  .object({
    unschedulable: z
      .boolean()
      .default(false)
      .describe("Whether the node is cordoned: no new machine is placed on it. Those that are on it stay."),
    drain: z
      .boolean()
      .default(false)
      .describe(
        "Whether the node is to be emptied: its machines are migrated to other nodes, a few at a time. No new machine is placed on it meanwhile.",
      ),
    maxParallelMigrations: z
      .int()
      .min(1)
      .max(100)
      .default(2)
      .describe("How many machines may leave or enter the node at the same time."),
    outOfService: z
      .boolean()
      .default(false)
      .describe(
        "Set it only when the node is certainly switched off, by hand or by a fencing tool: its machines whose disks are all in shared storage pools are then started on other nodes. A node that still ran them would destroy their disks.",
      ),
    cpuOvercommitPercent: z
      .int()
      .min(10)
      .max(10_000)
      .default(400)
      .describe(
        "Virtual CPUs that may be given to machines, in percent of the node's processors. 400 gives four for each.",
      ),
    memoryOvercommitPercent: z
      .int()
      .min(10)
      .max(1000)
      .default(100)
      .describe(
        "Memory that may be given to machines, in percent of the memory that the node has for guests. Over 100 the node can run out of it.",
      ),
  })
  .describe("How the administrator wants the node to be used. The agent does not write here.")
  .prefault({});

const cachedImage = z.object({
  uid: objectUid.describe("UID of the Image."),
  state: z
    .enum(cachedImageStates)
    .describe("Fetching: being downloaded and checked. Ready: machines can use it. Failed: see reason."),
  reason: z
    .enum([...imageRefusals, "FetchFailed", "NoSpace"])
    .optional()
    .describe(
      "Why it failed. FetchFailed and NoSpace are tried again; after any other reason only another Image helps.",
    ),
  message: text(1024).optional().describe("What went wrong, in a sentence."),
  sizeBytes: byteCount.optional().describe("Bytes that it takes on the node's disk."),
  virtualSizeBytes: byteCount.optional().describe("Bytes of the disk that a guest sees."),
  checksum: checksum.optional().describe("SHA-256 of the file as it was served to this node."),
});

const retainedVolume = z.object({
  uid: objectUid.describe("UID of the deleted Volume: what source.retained of a new one names."),
  namespace: dnsLabel.describe("Namespace that it was in. Only there can the data be taken over."),
  name: objectName.describe("Name that it had."),
  pool: storagePoolName.describe("Storage pool that has the data."),
  sizeMiB: mebibytes.describe("Size of the disk in MiB."),
});

const enforcedGroup = z.object({
  uid: objectUid.describe("UID of the SecurityGroup."),
  namespace: objectName.describe("Namespace of the SecurityGroup."),
  name: objectName.describe("Name of the SecurityGroup."),
  generation: z
    .int()
    .min(0)
    .max(Number.MAX_SAFE_INTEGER)
    .describe("The metadata.generation whose rules are in force."),
  programmedAt: timestamp.describe("When they were put in force."),
});

const status = z
  .object({
    observedGeneration,
    conditions,
    acceleration: z
      .enum(accelerations)
      .optional()
      .describe(
        "kvm: guests run on the processor. tcg: guests are emulated, about ten times slower. The agent finds out by running a guest, not by looking for /dev/kvm.",
      ),
    architecture: z
      .string()
      .max(32)
      .regex(/^[a-z0-9_]+$/)
      .optional()
      .describe("Processor architecture in libvirt's words, for example x86_64."),
    firmwares: z
      .array(z.enum(firmwares))
      .max(2)
      .optional()
      .describe("Firmware that guests can boot with here.")
      .meta({ "x-kubernetes-list-type": "set" }),
    zone: labelValue.min(1).optional().describe("Availability zone, as the agent was configured."),
    addresses: z
      .array(ipv4Address)
      .max(16)
      .optional()
      .describe("Addresses of the node.")
      .meta({ "x-kubernetes-list-type": "set" }),
    tunnelAddress: ipv4Address
      .optional()
      .describe("Address of the node that other nodes send the packets of machines to (VXLAN)."),
    securityGroups: z
      .array(enforcedGroup)
      .max(1000)
      .optional()
      .describe("SecurityGroups that machines of the node are in, and which version of each is in force.")
      .meta({ "x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["uid"] }),
    capacity: z
      .object({
        cpus: z.int().min(0).max(65_536).describe("Processors that the node has."),
        memoryMiB: mebibytes.describe(
          "Memory for guests in MiB: what the node has, less what it keeps for itself.",
        ),
        diskMiB: mebibytes.describe("Size of the file system that holds the root disks, in MiB."),
      })
      .optional()
      .describe("What the node has for guests, before any overcommit."),
    storagePools: z
      .array(storagePool)
      .max(16)
      .optional()
      .describe("Storage pools that the node has.")
      .meta({ "x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["name"] }),
    retainedVolumes: z
      .array(retainedVolume)
      .max(512)
      .optional()
      .describe("Data of deleted Volumes that the node keeps, since their deletionPolicy was Retain.")
      .meta({ "x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["uid"] }),
    agentEndpoint: z
      .string()
      .max(21)
      .regex(/^[0-9]{1,3}(\.[0-9]{1,3}){3}:[0-9]{1,5}$/)
      .optional()
      .describe(
        "Address and port at which the node's agent serves consoles and the copies of disks to those who have a certificate of this cluster.",
      ),
    selfFencing: z
      .object({
        graceSeconds: z
          .int()
          .min(1)
          .max(86_400)
          .describe(
            "Seconds without an acknowledged heartbeat after which the agent lets the watchdog run out.",
          ),
        timeoutSeconds: z
          .int()
          .min(1)
          .max(86_400)
          .describe("Seconds after which the watchdog then resets the node."),
      })
      .optional()
      .describe(
        "There while a watchdog resets the node when its agent has lost the API server, or has died. After that its machines whose disks are all in shared storage pools are started on other nodes.",
      ),
    tpm: z.boolean().optional().describe("Whether guests can have a TPM here (swtpm is installed)."),
    versions: z
      .object({
        libvirt: versionText.optional().describe("Version of libvirt."),
        hypervisor: versionText.optional().describe("Version of QEMU."),
        agent: versionText.optional().describe("Version of Vireo's node agent."),
      })
      .optional()
      .describe("The programs that run guests on the node."),
    images: z
      .array(cachedImage)
      .max(256)
      .optional()
      .describe("Images that the node holds, is fetching, or has refused.")
      .meta({ "x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["uid"] }),
  })
  .describe("What the node's agent reports of the node.");

export type EnforcedGroup = z.output<typeof enforcedGroup>;
export type RetainedVolume = z.output<typeof retainedVolume>;
export type CachedImageStatus = z.output<typeof cachedImage>;
export type HypervisorStatus = z.output<typeof status>;

export const hypervisors = defineKind({
  kind: "Hypervisor",
  plural: "hypervisors",
  singular: "hypervisor",
  shortNames: ["hv"],
  scope: "Cluster",
  description:
    "A node that runs virtual machines. Its agent makes the object and reports in it; the agent's heartbeat is the Lease of the same name in vireo-system. Delete the Hypervisor only when the node is gone for good: deleted machines then no longer wait for it.",
  spec,
  status,
  columns: [
    {
      name: "READY",
      type: "string",
      jsonPath: ".status.conditions[?(@.type=='Ready')].status",
      description: "Whether the node takes machines",
    },
    { name: "CORDONED", type: "boolean", jsonPath: ".spec.unschedulable", description: "No new machines" },
    { name: "ACCELERATION", type: "string", jsonPath: ".status.acceleration", description: "kvm or tcg" },
    { name: "CPUS", type: "integer", jsonPath: ".status.capacity.cpus", description: "Processors" },
    {
      name: "MEMORY-MIB",
      type: "integer",
      jsonPath: ".status.capacity.memoryMiB",
      description: "Memory for guests",
    },
    { name: "ZONE", type: "string", jsonPath: ".status.zone", description: "Availability zone", priority: 1 },
    {
      name: "LIBVIRT",
      type: "string",
      jsonPath: ".status.versions.libvirt",
      description: "libvirt",
      priority: 1,
    },
    {
      name: "QEMU",
      type: "string",
      jsonPath: ".status.versions.hypervisor",
      description: "QEMU",
      priority: 1,
    },
    { name: "AGE", type: "date", jsonPath: ".metadata.creationTimestamp", description: "Age" },
  ],
});

export type Hypervisor = ObjectOf<typeof hypervisors>;

import { z } from "zod";
import { conditions } from "./condition.ts";
import { byteCount, checksum, ipv4Address, observedGeneration } from "./fields.ts";
import { imageRefusals } from "./image.ts";
import { defineKind, type ObjectOf } from "./kind.ts";
import { firmwares } from "./virtual-machine.ts";

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
      .describe("Place no new machines here. Machines that are here stay."),
    cpuOvercommitPercent: z
      .int()
      .min(10)
      .max(10_000)
      .default(400)
      .describe(
        "Virtual CPUs that may be given out, in percent of the node's CPUs. 400 gives out four times as many.",
      ),
    memoryOvercommitPercent: z
      .int()
      .min(10)
      .max(1000)
      .default(100)
      .describe("Memory that may be given out, in percent of the node's memory that is left for guests."),
  })
  .describe("How the administrator wants the node to be used.")
  .prefault({});

const cachedImage = z.object({
  uid: z.uuid().max(36).describe("UID of the Image."),
  state: z.enum(cachedImageStates).describe("Fetching, Ready (checked and in use or cached), or Failed."),
  reason: z
    .enum([...imageRefusals, "FetchFailed", "NoSpace"])
    .optional()
    .describe("Why it failed. FetchFailed and NoSpace are tried again; the others need another Image."),
  message: z.string().max(1024).optional().describe("What went wrong, in a sentence."),
  sizeBytes: byteCount.optional().describe("Bytes on the node's disk."),
  virtualSizeBytes: byteCount.optional().describe("Bytes of the disk that a guest sees."),
  checksum: checksum.optional().describe("SHA-256 of the file as it was served."),
});

const status = z.object({
  observedGeneration,
  conditions,
  acceleration: z
    .enum(accelerations)
    .optional()
    .describe(
      "kvm: guests run on the hardware. tcg: guests are emulated, ten times slower. Found out by running a guest, not by looking for /dev/kvm.",
    ),
  architecture: z
    .string()
    .max(32)
    .optional()
    .describe("Processor architecture in libvirt's words, for example x86_64."),
  firmwares: z
    .array(z.enum(firmwares))
    .max(2)
    .optional()
    .describe("Firmware that guests can be booted with here.")
    .meta({ "x-kubernetes-list-type": "set" }),
  zone: z.string().max(63).optional().describe("Availability zone, from the agent's configuration."),
  addresses: z
    .array(ipv4Address)
    .max(16)
    .optional()
    .describe("Addresses of the node.")
    .meta({ "x-kubernetes-list-type": "set" }),
  capacity: z
    .object({
      cpus: z.int().min(0).describe("Processors that the node has."),
      memoryMiB: z
        .int()
        .min(0)
        .describe("Memory for guests in MiB: what the node has, less what is reserved for itself."),
      diskMiB: z.int().min(0).describe("Size of the file system that holds root disks, in MiB."),
    })
    .optional()
    .describe("What the node has for guests, before overcommit."),
  versions: z
    .object({
      libvirt: z.string().max(64).optional(),
      hypervisor: z.string().max(64).optional().describe("Version of QEMU."),
      agent: z.string().max(64).optional(),
    })
    .optional()
    .describe("What runs on the node."),
  images: z
    .array(cachedImage)
    .max(256)
    .optional()
    .describe("Images that the node holds, fetches or has refused.")
    .meta({ "x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["uid"] }),
});

export type CachedImageStatus = z.output<typeof cachedImage>;
export type HypervisorStatus = z.output<typeof status>;

export const hypervisors = defineKind({
  kind: "Hypervisor",
  plural: "hypervisors",
  singular: "hypervisor",
  shortNames: ["hv"],
  scope: "Cluster",
  description:
    "A node that runs virtual machines. Its agent makes this object and reports here; the heartbeat is the Lease of the same name in vireo-system. Delete it when the machine is gone for good.",
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

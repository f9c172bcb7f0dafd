import { z } from "zod";
import { conditions } from "./condition.ts";
import {
  diskReference,
  dnsLabel,
  exactlyOneOf,
  mayOnlyGrow,
  mebibytes,
  objectName,
  objectUid,
  observedGeneration,
  rules,
  unchangeableMember,
  wholeMebibytes,
} from "./fields.ts";
import { defineKind, type ObjectOf } from "./kind.ts";
import { storagePoolName } from "./storage-pool.ts";
import { allocatedImage } from "./virtual-machine.ts";

export const deletionPolicies = ["Delete", "Retain"] as const;
export type DeletionPolicy = (typeof deletionPolicies)[number];

/** Keeps a Volume until no machine uses it and its node has done with its data as deletionPolicy says. */
export const VOLUME_FINALIZER = "vireo.dev/volume";

const source = z
  .object({
    image: objectName.optional().describe("Name of an Image."),
    snapshot: objectName
      .optional()
      .describe("Name of a VirtualMachineSnapshot in this namespace; see disk for which of its disks."),
    volume: objectName
      .optional()
      .describe("Name of a Volume in this namespace: its content at this moment is copied."),
    retained: objectUid
      .optional()
      .describe(
        "UID of a deleted Volume of this namespace whose data were retained: they become this Volume's.",
      ),
    imageNamespace: dnsLabel
      .optional()
      .describe("Namespace of the Image, which must be Public or Shared with this one. Default: this one."),
    disk: objectName
      .optional()
      .describe("Name of the Volume in the snapshot. Default: the machine's root disk."),
  })
  .describe("What the Volume starts as: exactly one of image, snapshot, volume and retained.")
  .meta(
    rules(
      exactlyOneOf("image", "snapshot", "volume", "retained"),
      {
        rule: "!has(self.imageNamespace) || has(self.image)",
        message: "imageNamespace goes with image",
        fieldPath: ".imageNamespace",
      },
      {
        rule: "!has(self.disk) || has(self.snapshot)",
        message: "disk goes with snapshot",
        fieldPath: ".disk",
      },
    ),
  );

const spec = z
  .object({
    size: wholeMebibytes("1Mi", "64Ti", mayOnlyGrow("a volume cannot shrink")).describe(
      "Size of the disk that the guest sees, for example 10Gi. It can grow, also while a guest uses it, and never shrinks.",
    ),
    pool: storagePoolName
      .default("local")
      .describe("Storage pool of the nodes that the data are kept in. It cannot be changed."),
    source: source.optional().describe("What the Volume starts as. Default: empty. It cannot be changed."),
    deletionPolicy: z
      .enum(deletionPolicies)
      .default("Delete")
      .describe(
        "What happens to the data when the Volume is deleted. Delete: they are removed. Retain: they stay on the node, and a new Volume of this namespace can take them over by the UID of this one (source.retained).",
      ),
  })
  .describe("What the Volume is to be.")
  .meta(
    rules(
      ...["pool", "source"].map((member) =>
        unchangeableMember(member, `${member} cannot be changed; make another Volume`),
      ),
    ),
  );

/**
 * Pending: no node yet, since no machine has named it. Provisioning: its node
 * makes it. Available: no machine has it. InUse: a machine has it. Failed: it
 * could not be made. Unknown: its node does not answer.
 */
export const volumePhases = ["Pending", "Provisioning", "Available", "InUse", "Failed", "Unknown"] as const;
export type VolumePhase = (typeof volumePhases)[number];

const status = z
  .object({
    observedGeneration,
    conditions,
    phase: z
      .enum(volumePhases)
      .optional()
      .describe("Where the Volume stands, in one word, for people. Programs read the conditions."),
    nodeName: objectName
      .optional()
      .describe(
        "Name of the node that has the data, or for a shared pool the node that works on them. A Volume gets its node when the first machine names it, or with its source.",
      ),
    allocation: z
      .object({
        image: allocatedImage.optional().describe("The image that it starts as."),
        source: diskReference.optional().describe("The disk that it starts as a copy of."),
        retainedUid: objectUid.optional().describe("UID of the deleted Volume whose data it takes over."),
      })
      .optional()
      .describe("What the controller resolved the source to. Absent for a Volume that starts empty."),
    attachedTo: z
      .object({
        name: objectName.describe("Name of the VirtualMachine."),
        uid: objectUid.describe("UID of the VirtualMachine."),
      })
      .optional()
      .describe("The machine that the Volume is reserved for: no other one gets it."),
    sizeMiB: mebibytes.optional().describe("Size that the disk has by now, in MiB."),
    format: z.enum(["qcow2"]).optional().describe("Format of the file on the node."),
    progressPercent: z
      .int()
      .min(0)
      .max(100)
      .optional()
      .describe("How much of the source has been copied. Absent when nothing is being copied."),
  })
  .describe("Where the Volume is, and what it is like.");

/**
 * Condition types of a Volume and who writes them.
 *
 * node agent: Ready (the data are there and as large as asked for), Reconciling,
 * Stalled; the controller says them, with phase and observedGeneration, while
 * there is no node, until the node's first word, and while it does not answer.
 * Released (node agent): the node has done with the data of a deleted Volume.
 * InUse (controller), only of a deleted Volume. True: it is needed, and stays as
 * it is. False: nobody will get it any more, and its node does with the data as
 * deletionPolicy says; not before.
 */
export const volumeConditions = ["Ready", "Reconciling", "Stalled", "InUse", "Released"] as const;

export const volumes = defineKind({
  kind: "Volume",
  plural: "volumes",
  singular: "volume",
  shortNames: ["vol"],
  scope: "Namespaced",
  description:
    "A disk that outlives machines. A machine that names it in spec.volumes has it; one machine at a time. A Volume that a machine has is not deleted before the machine lets go of it.",
  spec,
  status,
  selectableFields: [".status.nodeName"],
  columns: [
    { name: "PHASE", type: "string", jsonPath: ".status.phase", description: "Where it stands" },
    {
      name: "READY",
      type: "string",
      jsonPath: ".status.conditions[?(@.type=='Ready')].status",
      description: "Whether the data are there, as large as asked for",
    },
    { name: "SIZE", type: "string", jsonPath: ".spec.size", description: "Size" },
    {
      name: "MACHINE",
      type: "string",
      jsonPath: ".status.attachedTo.name",
      description: "Machine that has it",
    },
    { name: "NODE", type: "string", jsonPath: ".status.nodeName", description: "Node" },
    { name: "POOL", type: "string", jsonPath: ".spec.pool", description: "Storage pool", priority: 1 },
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

export type Volume = ObjectOf<typeof volumes>;

import { z } from "zod";
import { conditions } from "./condition.ts";
import {
  byteCount,
  mebibytes,
  objectName,
  objectUid,
  observedGeneration,
  rules,
  timestamp,
  unchangeable,
} from "./fields.ts";
import { defineKind, type ObjectOf } from "./kind.ts";
import { MAX_VOLUMES } from "./virtual-machine-spec.ts";

/** How many snapshots of one machine there can be at a time: each is a layer that its guest reads through. */
export const MAX_SNAPSHOTS = 64;

/** Keeps a snapshot until its node has merged or removed what only it needed. */
export const SNAPSHOT_FINALIZER = "vireo.dev/snapshot";

export const quiescePolicies = ["IfPossible", "Required", "Never"] as const;
export type QuiescePolicy = (typeof quiescePolicies)[number];

const spec = z
  .object({
    virtualMachine: objectName.describe("Name of the VirtualMachine in this namespace."),
    includeMemory: z
      .boolean()
      .default(false)
      .describe(
        "Whether the memory of the running guest is kept too, so that a restore goes on from this very moment. It takes as much space as the guest's memory. Of a guest that is off there is none, and the snapshot is one of its disks.",
      ),
    quiesce: z
      .enum(quiescePolicies)
      .default("IfPossible")
      .describe(
        "Whether the guest writes its files out and holds still for that moment, which its QEMU guest agent does. IfPossible: when the agent answers; status.consistency tells. Required: otherwise the snapshot fails. Never: the disks are as after a power cut. It does not matter with includeMemory.",
      ),
  })
  .describe("Which machine, and how.")
  .meta(rules(unchangeable("a snapshot cannot be changed; make another one")));

export const snapshotPhases = ["Pending", "InProgress", "Ready", "Failed", "Deleting", "Unknown"] as const;
export type SnapshotPhase = (typeof snapshotPhases)[number];

export const consistencies = ["Online", "Quiesced", "Offline"] as const;
export type SnapshotConsistency = (typeof consistencies)[number];

const disk = z.object({
  name: objectName.describe("Name of the Volume, or root, which no Volume of a machine is called."),
  volumeUid: objectUid.optional().describe("UID of the Volume. Absent for the root disk."),
  sizeMiB: mebibytes.describe("Size of the disk in MiB."),
  usedBytes: byteCount.optional().describe("Bytes that only this snapshot's state of the disk takes."),
});

const status = z
  .object({
    observedGeneration,
    conditions,
    phase: z
      .enum(snapshotPhases)
      .optional()
      .describe("Where the snapshot stands, in one word, for people. Programs read the conditions."),
    nodeName: objectName.optional().describe("Name of the node that has the machine, and so the snapshot."),
    machineUid: objectUid
      .optional()
      .describe("UID of the machine. Another machine of the same name has nothing to do with the snapshot."),
    takenAt: timestamp.optional().describe("The moment that the snapshot shows."),
    consistency: z
      .enum(consistencies)
      .optional()
      .describe(
        "Online: the guest ran, and the disks are as after a power cut. Quiesced: the guest's file systems were frozen. Offline: the guest was off.",
      ),
    memory: z
      .boolean()
      .optional()
      .describe("Whether the snapshot has the guest's memory: a restore can go on from this moment."),
    memoryBytes: byteCount.optional().describe("Bytes that the memory takes."),
    disks: z
      .array(disk)
      .max(MAX_VOLUMES + 1)
      .optional()
      .describe("The disks in the snapshot.")
      .meta({ "x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["name"] }),
    progressPercent: z
      .int()
      .min(0)
      .max(100)
      .optional()
      .describe("How far the merge that a deletion causes has come. Absent when there is none."),
  })
  .describe("What the snapshot shows.");

/**
 * Condition types of a snapshot and who writes them.
 *
 * node agent: Ready, Reconciling, Stalled; the controller says them, with phase
 * and observedGeneration, until the node's first word and while it does not answer.
 * Released (node agent): nothing that only a deleted snapshot needed is left.
 * InUse (controller), only of a deleted snapshot. True: a restore or a copy
 * needs it. False: nobody does any more, and its node gives it up; not before.
 */
export const snapshotConditions = ["Ready", "Reconciling", "Stalled", "InUse", "Released"] as const;

export const virtualMachineSnapshots = defineKind({
  kind: "VirtualMachineSnapshot",
  plural: "virtualmachinesnapshots",
  singular: "virtualmachinesnapshot",
  shortNames: ["vmsnapshot"],
  scope: "Namespaced",
  description:
    "The state of all disks of a machine at one moment, and if asked for its memory. It stays when the machine is deleted, and new machines can be made of it.",
  spec,
  status,
  selectableFields: [".status.nodeName"],
  columns: [
    {
      name: "MACHINE",
      type: "string",
      jsonPath: ".spec.virtualMachine",
      description: "Machine",
    },
    { name: "PHASE", type: "string", jsonPath: ".status.phase", description: "Where it stands" },
    {
      name: "READY",
      type: "string",
      jsonPath: ".status.conditions[?(@.type=='Ready')].status",
      description: "Whether it can be restored and copied",
    },
    {
      name: "CONSISTENCY",
      type: "string",
      jsonPath: ".status.consistency",
      description: "Online, Quiesced or Offline",
    },
    { name: "MEMORY", type: "boolean", jsonPath: ".status.memory", description: "Whether it has the memory" },
    { name: "TAKEN", type: "date", jsonPath: ".status.takenAt", description: "The moment it shows" },
    { name: "NODE", type: "string", jsonPath: ".status.nodeName", description: "Node", priority: 1 },
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

export type VirtualMachineSnapshot = ObjectOf<typeof virtualMachineSnapshots>;

import { z } from "zod";
import { conditions } from "./condition.ts";
import {
  mebibytes,
  objectName,
  objectUid,
  observedGeneration,
  rules,
  timestamp,
  unchangeable,
} from "./fields.ts";
import { defineKind, type ObjectOf } from "./kind.ts";

/** Keeps a migration until the machine is on exactly one node. */
export const MIGRATION_FINALIZER = "vireo.dev/migration";

/** Condition type: see migrationConditions. */
export const RELEASED = "Released";

/** Keeps a migration until the node that the machine is not on holds nothing of it: only the migration says that it is to. */
export const LEFTOVERS_FINALIZER = "vireo.dev/migration-leftovers";

const spec = z
  .object({
    virtualMachine: objectName.describe("Name of the VirtualMachine in this namespace."),
    targetNode: objectName
      .optional()
      .describe("Name of the node that it moves to. Default: the scheduler chooses one."),
    bandwidthMiBps: z
      .int()
      .min(1)
      .max(1_000_000)
      .optional()
      .describe("Most MiB that are sent in a second. Default: no limit."),
    maxDowntimeMilliseconds: z
      .int()
      .min(1)
      .max(2_000_000)
      .default(300)
      .describe(
        "How long the guest may stand still at the end, in milliseconds, besides the time that the two nodes take to change over. The migration goes on until what is left can be sent in a tenth of this; a guest that writes its memory too fast for that is allowed more and more of it.",
      ),
    autoConverge: z
      .boolean()
      .default(true)
      .describe(
        "Whether a guest that writes its memory faster than it can be sent is slowed down until the migration ends.",
      ),
    timeoutSeconds: z
      .int()
      .min(10)
      .max(86_400)
      .default(3600)
      .describe("A migration that takes longer is given up; the machine stays where it is."),
  })
  .describe("Which machine moves, and how. Delete the object to cancel; the machine then stays where it is.")
  .meta(rules(unchangeable("a migration cannot be changed; delete it and make another one")));

/**
 * The phases are what decides where the machine runs; they change by
 * compare-and-swap only. Pending: not accepted, or waits for its turn.
 * Preparing: the target makes room. Copying: the guest runs on the source.
 * Switching: the source's guest stands still, and only the target may let it go
 * on. Succeeded: it is on the target. Failed, Cancelled: it is on the source.
 */
export const migrationPhases = [
  "Pending",
  "Preparing",
  "Copying",
  "Switching",
  "Succeeded",
  "Failed",
  "Cancelled",
] as const;
export type MigrationPhase = (typeof migrationPhases)[number];

const status = z
  .object({
    observedGeneration,
    conditions,
    phase: z.enum(migrationPhases).optional().describe("Where the migration stands."),
    machineUid: objectUid.optional().describe("UID of the machine."),
    sourceNode: objectName.optional().describe("Name of the node that it leaves."),
    targetNode: objectName.optional().describe("Name of the node that it moves to."),
    live: z
      .boolean()
      .optional()
      .describe("Whether the guest ran while it was moved. One that is off has only its disks moved."),
    progress: z
      .object({
        percent: z.int().min(0).max(100).describe("How much of memory and disks has been sent."),
        remainingMiB: mebibytes.describe("What is left, in MiB."),
        iteration: z
          .int()
          .min(0)
          .max(1_000_000)
          .optional()
          .describe("How often the guest's memory has been gone through."),
      })
      .optional()
      .describe("How far it has come."),
    downtimeMilliseconds: z
      .int()
      .min(0)
      .max(86_400_000)
      .optional()
      .describe("How long the guest stood still, in milliseconds."),
    targetReady: z
      .boolean()
      .optional()
      .describe("Whether the target has what the guest needs there; written by the target's agent."),
    startedAt: timestamp.optional().describe("When the copying began."),
    completedAt: timestamp.optional().describe("When it was over, well or not."),
  })
  .describe("Where the migration stands.");

/**
 * Condition types of a migration and who writes them.
 *
 * Accepted (controller): both nodes have been chosen, and the room on the target
 * is the machine's. The time for Preparing counts from its transition.
 * Ready (it succeeded), Reconciling, Stalled (it failed for good): whoever has
 * changed the phase; the controller says them while a node does not answer.
 * Released (the agent of the node that the machine is not on, when it is over):
 * nothing of the machine is left there, or what is there is another migration's.
 */
export const migrationConditions = ["Ready", "Reconciling", "Stalled", "Accepted", RELEASED] as const;

export const virtualMachineMigrations = defineKind({
  kind: "VirtualMachineMigration",
  plural: "virtualmachinemigrations",
  singular: "virtualmachinemigration",
  shortNames: ["vmmigration"],
  scope: "Namespaced",
  description:
    "Moves a machine to another node, once: while it runs, or when it is off. It keeps its addresses, security groups, floating IPs and open connections.",
  spec,
  status,
  selectableFields: [".status.sourceNode", ".status.targetNode"],
  columns: [
    { name: "MACHINE", type: "string", jsonPath: ".spec.virtualMachine", description: "Machine" },
    { name: "PHASE", type: "string", jsonPath: ".status.phase", description: "Where it stands" },
    { name: "SOURCE", type: "string", jsonPath: ".status.sourceNode", description: "Node that it leaves" },
    { name: "TARGET", type: "string", jsonPath: ".status.targetNode", description: "Node that it moves to" },
    {
      name: "READY",
      type: "string",
      jsonPath: ".status.conditions[?(@.type=='Ready')].status",
      description: "Whether the machine is on the other node",
    },
    {
      name: "PROGRESS",
      type: "integer",
      jsonPath: ".status.progress.percent",
      description: "Percent that has been sent",
    },
    {
      name: "DOWNTIME-MS",
      type: "integer",
      jsonPath: ".status.downtimeMilliseconds",
      description: "How long the guest stood still",
      priority: 1,
    },
    {
      name: "REASON",
      type: "string",
      jsonPath: ".status.conditions[?(@.type=='Ready')].reason",
      description: "Why it has or has not succeeded",
      priority: 1,
    },
    { name: "AGE", type: "date", jsonPath: ".metadata.creationTimestamp", description: "Age" },
  ],
});

export type VirtualMachineMigration = ObjectOf<typeof virtualMachineMigrations>;

import { z } from "zod";
import { conditions } from "./condition.ts";
import { objectName, objectUid, observedGeneration, rules, timestamp, unchangeable } from "./fields.ts";
import { defineKind, type ObjectOf } from "./kind.ts";

/** Keeps a restore that a node was given until it is over, so that nothing else is begun with the machine. */
export const RESTORE_FINALIZER = "vireo.dev/restore";

export const restorePowerStates = ["Running", "Paused", "Halted"] as const;
export type RestorePowerState = (typeof restorePowerStates)[number];

const spec = z
  .object({
    virtualMachine: objectName.describe("Name of the VirtualMachine in this namespace."),
    snapshot: objectName.describe(
      "Name of the VirtualMachineSnapshot: one of this very machine, not of another one of the same name.",
    ),
    powerState: z
      .enum(restorePowerStates)
      .describe(
        "What the machine does afterwards. Running: it goes on from the snapshot's moment when that has the memory, and boots otherwise. Paused: the same, held until it is unpaused. Halted: it stays off; the machine's runStrategy must be Halted too, and must not be for the others.",
      ),
  })
  .describe(
    "Which machine is put back to which snapshot. The machine keeps its name, addresses, floating IPs and spec; what was written to its disks since is lost.",
  )
  .meta(rules(unchangeable("a restore cannot be changed; make another one")));

export const restorePhases = ["Pending", "InProgress", "Succeeded", "Failed"] as const;
export type RestorePhase = (typeof restorePhases)[number];

const status = z
  .object({
    observedGeneration,
    conditions,
    phase: z.enum(restorePhases).optional().describe("Where the restore stands, in one word."),
    nodeName: objectName.optional().describe("Name of the node that has the machine."),
    machineUid: objectUid.optional().describe("UID of the machine."),
    snapshotUid: objectUid.optional().describe("UID of the snapshot."),
    startedAt: timestamp.optional().describe("When the node began."),
    completedAt: timestamp.optional().describe("When it was over, well or not."),
  })
  .describe("What has become of the restore. One that failed has left the machine as it was.");

/**
 * Condition types: Ready (it succeeded), Reconciling, Stalled (it failed for good).
 * The controller says them, with phase and observedGeneration, until the node's
 * first word and while it does not answer; otherwise the node agent does.
 */
export const restoreConditions = ["Ready", "Reconciling", "Stalled"] as const;

export const virtualMachineRestores = defineKind({
  kind: "VirtualMachineRestore",
  plural: "virtualmachinerestores",
  singular: "virtualmachinerestore",
  shortNames: ["vmrestore"],
  scope: "Namespaced",
  description: "Puts a machine back to one of its snapshots, once.",
  spec,
  status,
  selectableFields: [".status.nodeName"],
  columns: [
    { name: "MACHINE", type: "string", jsonPath: ".spec.virtualMachine", description: "Machine" },
    { name: "SNAPSHOT", type: "string", jsonPath: ".spec.snapshot", description: "Snapshot" },
    { name: "PHASE", type: "string", jsonPath: ".status.phase", description: "Where it stands" },
    {
      name: "READY",
      type: "string",
      jsonPath: ".status.conditions[?(@.type=='Ready')].status",
      description: "Whether it has succeeded",
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

export type VirtualMachineRestore = ObjectOf<typeof virtualMachineRestores>;

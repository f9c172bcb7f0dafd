import { type Condition, withTransitionTimes } from "../../api/condition.ts";
import type { PrintableStatus, VirtualMachine } from "../../api/virtual-machine.ts";
import { type Draft, draftOf, notReady, observed, stalled } from "../conditions.ts";
import { NODE_LOST } from "../voice.ts";
import { type Prerequisite, prerequisites } from "./checks.ts";
import type { Placement } from "./reservations.ts";
import type { OwnStatus } from "./standing.ts";
import type { Violation } from "./violation.ts";

/**
 * What the controller says of a machine, as one server-side apply. Fields that
 * it said before and leaves out are removed, so everything of its own is in
 * every apply.
 *
 * Reconciling is not among it: the agent, who speaks after the controller,
 * could not take back what the controller alone has said.
 */
export interface MachineStatus {
  readonly nodeName?: string;
  readonly allocation?: Placement["allocation"];
  readonly observedGeneration: number;
  readonly printableStatus: PrintableStatus;
  readonly conditions: readonly Condition[];
}

export const SCHEDULED = "Scheduled";

/** Reason of a prerequisite that nothing is to be said against. */
export const VALID = "Valid";

const satisfied: Readonly<Record<Prerequisite, string>> = {
  ImageReady: "The images can be used.",
  FlavorReady: "The size suits what the root disk starts as.",
  KeyPairsReady: "All key pairs that are asked for have a key.",
  NetworkReady: "The networks have addresses for the machine.",
  SecurityGroupsReady: "All security groups that are named exist.",
  VolumesReady: "All volumes that are named are the machine's.",
};

const prerequisiteDrafts = (violations: ReadonlyMap<Prerequisite, Violation>): readonly Draft[] =>
  prerequisites.map((type) => prerequisiteDraft(type, violations.get(type)));

export const prerequisiteDraft = (type: Prerequisite, violation: Violation | undefined): Draft =>
  violation === undefined
    ? draftOf(type, "True", VALID, satisfied[type])
    : draftOf(type, "False", violation.reason, violation.message);

/** The machine is not placed, because something that it needs is not there or not right. */
export const blockedStatus = (
  machine: VirtualMachine,
  violations: ReadonlyMap<Prerequisite, Violation>,
  now: Date,
): MachineStatus => {
  const found = [...violations.values()];
  const lastingOne = found.find(({ kind }) => kind === "lasting");
  const main = lastingOne ?? found[0] ?? { reason: "Unknown", message: "" };
  const scheduled = draftOf(
    SCHEDULED,
    "False",
    "PrerequisitesMissing",
    `A node is chosen when ${[...violations.keys()].join(", ")} ${found.length === 1 ? "is" : "are"} True.`,
  );
  const readiness = (lastingOne === undefined ? notReady : stalled)(main.reason, main.message);
  return {
    printableStatus: lastingOne === undefined ? "Pending" : "Failed",
    ...observed(machine, [...readiness, ...prerequisiteDrafts(violations), scheduled], now),
  };
};

/** The machine has all that it needs, and no node can take it. */
export const unschedulableStatus = (
  machine: VirtualMachine,
  reason: string,
  message: string,
  now: Date,
): MachineStatus => {
  const scheduled = draftOf(SCHEDULED, "False", reason, message);
  return {
    printableStatus: "Pending",
    ...observed(machine, [...notReady(reason, message), ...prerequisiteDrafts(new Map()), scheduled], now),
  };
};

/** The machine is given its node and its addresses: the one write that a start costs here. */
export const placedStatus = (machine: VirtualMachine, placement: Placement, now: Date): MachineStatus => {
  const { nodeName, allocation, explanation } = placement;
  const scheduled = draftOf(SCHEDULED, "True", "Placed", explanation);
  const { printableStatus, ready } = provisioning(nodeName);
  return {
    nodeName,
    allocation,
    printableStatus,
    ...observed(machine, [ready, ...prerequisiteDrafts(new Map()), scheduled], now),
  };
};

/** What the controller says in the agent's place. */
export interface Voice {
  readonly printableStatus: PrintableStatus;
  readonly ready: Draft;
}

/** Reason of Ready=False until the agent's first word. */
export const PROVISIONING = "Provisioning";

export const provisioning = (nodeName: string): Voice => ({
  printableStatus: "Provisioning",
  ready: draftOf("Ready", "False", PROVISIONING, `Node ${nodeName} prepares the machine.`),
});

export const nodeLost = (printableStatus: PrintableStatus, message: string): Voice => ({
  printableStatus,
  ready: draftOf("Ready", "Unknown", NODE_LOST, message),
});

/** A placed machine's status with Ready in the controller's words, and what the controller alone says. */
export const spokenStatus = (
  machine: VirtualMachine,
  { printableStatus, ready }: Voice,
  own: OwnStatus,
  now: Date,
): MachineStatus => {
  const observedGeneration = machine.metadata.generation ?? 0;
  const drafts = [{ ...ready, observedGeneration }];
  return {
    ...own,
    observedGeneration,
    printableStatus,
    conditions: [...withTransitionTimes(drafts, machine.status?.conditions, now), ...own.conditions],
  };
};

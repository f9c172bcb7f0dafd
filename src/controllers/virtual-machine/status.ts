import { type Condition, findCondition, withTransitionTimes } from "../../api/condition.ts";
import type { PrintableStatus, VirtualMachine } from "../../api/virtual-machine.ts";
import { type Draft, draftOf, notReady, observed, stalled } from "../conditions.ts";
import { type Prerequisite, prerequisites, type Violation } from "./checks.ts";
import type { Placement } from "./reservations.ts";

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

/** Reason of Ready=Unknown while the node gives no sign of life. */
export const NODE_LOST = "NodeLost";

const SCHEDULED = "Scheduled";

/** Conditions of the controller's own, which stay as they were when the machine was placed. */
const ownConditions: readonly string[] = [...prerequisites, SCHEDULED];

const satisfied: Readonly<Record<Prerequisite, string>> = {
  ImageReady: "The image can be used.",
  FlavorReady: "The flavor suits the image.",
  KeyPairsReady: "All key pairs that are asked for have a key.",
  NetworkReady: "The network has an address for the machine.",
  SecurityGroupsReady: "All security groups that are named exist.",
};

const prerequisiteDrafts = (violations: ReadonlyMap<Prerequisite, Violation>): readonly Draft[] =>
  prerequisites.map((type) => prerequisiteDraft(type, violations.get(type)));

const prerequisiteDraft = (type: Prerequisite, violation: Violation | undefined): Draft =>
  violation === undefined
    ? draftOf(type, "True", "Valid", satisfied[type])
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

/** Until the agent's first word. */
export const provisioning = (nodeName: string): Voice => ({
  printableStatus: "Provisioning",
  ready: draftOf("Ready", "False", "Provisioning", `Node ${nodeName} prepares the machine.`),
});

export const nodeLost = (printableStatus: PrintableStatus, message: string): Voice => ({
  printableStatus,
  ready: draftOf("Ready", "Unknown", NODE_LOST, message),
});

/** A placed machine's status with Ready in the controller's words; what it said before stays word for word. */
export const spokenStatus = (
  machine: VirtualMachine,
  { printableStatus, ready }: Voice,
  now: Date,
): MachineStatus => {
  const { status, metadata } = machine;
  const observedGeneration = metadata.generation ?? 0;
  const stored = ownConditions.flatMap((type) => findCondition(status?.conditions, type) ?? []);
  const drafts = [{ ...ready, observedGeneration }];
  return {
    ...(status?.nodeName !== undefined && { nodeName: status.nodeName }),
    ...(status?.allocation !== undefined && { allocation: status.allocation }),
    observedGeneration,
    printableStatus,
    conditions: [...withTransitionTimes(drafts, status?.conditions, now), ...stored],
  };
};

/** What the controller alone says of a machine, whoever speaks for it. */
export type OwnStatus = Pick<MachineStatus, "nodeName" | "allocation" | "conditions">;

/**
 * The status of a machine that its agent speaks for, with what is to be said of
 * its groups, which may change at any time; undefined when it is said already.
 * What the agent says is left out, and stays.
 */
export const regroupedStatus = (
  machine: VirtualMachine,
  violation: Violation | undefined,
  now: Date,
): OwnStatus | undefined => {
  const { nodeName, allocation, conditions } = machine.status ?? {};
  const draft = prerequisiteDraft("SecurityGroupsReady", violation);
  const stored = findCondition(conditions, draft.type);
  // A machine that was placed before there were groups: no news is good news.
  if (stored === undefined && violation === undefined) return undefined;
  if (stored?.status === draft.status && stored.reason === draft.reason && stored.message === draft.message)
    return undefined;
  const others = ownConditions
    .filter((type) => type !== draft.type)
    .flatMap((type) => findCondition(conditions, type) ?? []);
  return {
    ...(nodeName !== undefined && { nodeName }),
    ...(allocation !== undefined && { allocation }),
    conditions: [...others, ...observed(machine, [draft], now).conditions],
  };
};

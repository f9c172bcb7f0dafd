import { SECURITY_GROUP_FINALIZER, type SecurityGroup } from "../../../../src/api/security-group.ts";
import type { GroupDecision } from "../../../../src/controllers/security-group/decide.ts";
import type { GroupFacts, GroupNode } from "../../../../src/controllers/security-group/observe.ts";
import type { GroupStatus } from "../../../../src/controllers/security-group/status.ts";
import { uidOf } from "../objects.ts";

export const PROGRAMMED_AT = "2026-02-03T04:00:00Z";

type GroupMeta = Partial<SecurityGroup["metadata"]>;

export const groupWith = (
  spec: Partial<SecurityGroup["spec"]> = {},
  meta: GroupMeta = {},
  status?: SecurityGroup["status"],
): SecurityGroup => ({
  apiVersion: "vireo.dev/v1alpha1",
  kind: "SecurityGroup",
  metadata: {
    name: "web",
    namespace: "default",
    uid: uidOf(meta.name ?? "web"),
    resourceVersion: "1",
    generation: 1,
    creationTimestamp: "2026-01-01T00:00:00Z",
    finalizers: [SECURITY_GROUP_FINALIZER],
    ...meta,
  },
  spec: { ingress: [], logRefused: false, ...spec },
  ...(status !== undefined && { status }),
});

/** A node that has put this version of the group in force; undefined: it has said nothing yet. */
export const nodeAt = (name: string, generation: number | undefined, lost = false): GroupNode => ({
  name,
  lost,
  enforced: generation === undefined ? undefined : { generation, programmedAt: PROGRAMMED_AT },
});

export const groupFacts = (changes: Partial<GroupFacts> = {}): GroupFacts => ({
  kind: "group",
  group: groupWith(),
  members: [],
  nodes: [],
  missingGroups: [],
  unreadable: 0,
  sinceWriteMs: undefined,
  ...changes,
});

export const stepsOf = ({ steps }: GroupDecision): readonly string[] =>
  steps.map((step) => {
    if (step.kind === "write-finalizers") return `finalizers ${step.finalizers.join() || "none"}`;
    if (step.kind === "announce") return `announce ${step.announcement.reason}`;
    return step.kind;
  });

/** The status that is written. */
export const statusOf = ({ steps }: GroupDecision): GroupStatus => {
  for (const step of steps) if (step.kind === "apply-status") return step.status;
  throw new Error("no status is written");
};

/** "Ready=True InForce: message" and so on. */
export const conditionsOf = (decision: GroupDecision): readonly string[] =>
  (statusOf(decision).conditions ?? []).map(
    ({ type, status, reason, message }) => `${type}=${status} ${reason}: ${message}`,
  );

/** The facts after the decision was carried out. */
export const afterwards = (facts: GroupFacts, decision: GroupDecision): GroupFacts => {
  let { group } = facts;
  let { sinceWriteMs } = facts;
  for (const step of decision.steps) {
    if (step.kind === "apply-status") {
      group = { ...group, status: step.status };
      sinceWriteMs = 0;
    }
    if (step.kind === "write-finalizers")
      group = { ...group, metadata: { ...group.metadata, finalizers: [...step.finalizers] } };
  }
  return { ...facts, group, sinceWriteMs };
};

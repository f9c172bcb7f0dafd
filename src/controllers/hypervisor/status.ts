import { type Condition, findCondition, withTransitionTimes } from "../../api/condition.ts";
import { type Hypervisor, SYSTEM_NAMESPACE } from "../../api/hypervisor.ts";

/**
 * Reason of Ready=Unknown while a node's agent gives no sign of life.
 *
 * The agent says everything else of a Hypervisor. Ready is taken over from it by
 * force, and the agent takes it back when it sees that the stored status is not
 * its own; until then the node counts as lost, for it does not act.
 */
export const HEARTBEAT_LOST = "HeartbeatLost";

/** Does the stored status say that the node gives no sign of life? */
export const isLost = ({ status }: Hypervisor): boolean => {
  const condition = findCondition(status?.conditions, "Ready");
  return condition?.status === "Unknown" && condition.reason === HEARTBEAT_LOST;
};

/** The part of the status that the controller writes when the heartbeat is lost. */
export const lostStatus = (
  { metadata, status }: Hypervisor,
  durationMs: number,
  now: Date,
): { readonly conditions: readonly Condition[] } => {
  const draft = {
    type: "Ready",
    status: "Unknown" as const,
    reason: HEARTBEAT_LOST,
    message: `The node's agent has not renewed Lease ${SYSTEM_NAMESPACE}/${metadata.name} for ${durationMs / 1000} s. Guests may still run. If the node is gone for good, delete this Hypervisor.`,
    observedGeneration: metadata.generation ?? 0,
  };
  return { conditions: withTransitionTimes([draft], status?.conditions, now) };
};

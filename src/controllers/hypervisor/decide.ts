import type { Condition } from "../../api/condition.ts";
import { type Announcement, announceTrouble } from "../announce.ts";
import { decideFence, type FenceDecision, isToBeLifted } from "./fencing.ts";
import { aliveForMs } from "./heartbeat.ts";
import type { HypervisorFacts } from "./observe.ts";
import { isLost, lostStatus } from "./status.ts";

export type HypervisorDecision =
  /** Look again when the heartbeat would run out. */
  | { readonly kind: "alive"; readonly forMs: number }
  /** Lost, and said so already. */
  | FenceDecision
  | {
      readonly kind: "losing";
      readonly status: { readonly conditions: readonly Condition[] };
      readonly announcements: readonly Announcement[];
    };

/** @param now the same moment on the wall clock and, in ms, on the monotonic one */
export const decideHypervisor = (
  facts: HypervisorFacts,
  now: { readonly wall: Date; readonly monotonic: number },
): HypervisorDecision => {
  const { hypervisor, sighting } = facts;
  const forMs = aliveForMs(sighting, now.monotonic);
  if (forMs !== undefined) return isToBeLifted(facts) ? { kind: "lift" } : { kind: "alive", forMs };
  if (isLost(hypervisor)) return decideFence(facts, now);
  const status = lostStatus(hypervisor, sighting.durationMs, now.wall);
  const announcements = announceTrouble("Ready", hypervisor.status?.conditions, status.conditions);
  return { kind: "losing", status, announcements };
};

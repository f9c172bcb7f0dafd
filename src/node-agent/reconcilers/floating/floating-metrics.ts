import { Counter, Gauge } from "prom-client";
import type { Metrics } from "../../../kube/index.ts";
import { type WithdrawReason, withdrawReasons } from "./floating-claims.ts";

/** What this node's part of the floating addresses is measured by. */
export interface FloatingMetrics {
  readonly held: (count: number) => void;
  readonly acquired: () => void;
  readonly withdrawn: (reason: WithdrawReason) => void;
  readonly renewalFailed: () => void;
}

export const createFloatingMetrics = ({ registry }: Pick<Metrics, "registry">): FloatingMetrics => {
  const registers = [registry];
  const held = new Gauge({
    name: "vireo_floating_addresses_held",
    help: "Floating addresses that this node answers for.",
    registers,
  });
  const acquisitions = new Counter({
    name: "vireo_floating_acquisitions_total",
    help: "Floating addresses that this node began to answer for.",
    registers,
  });
  const withdrawals = new Counter({
    name: "vireo_floating_withdrawals_total",
    help: "Floating addresses that this node withdrew, by reason.",
    labelNames: ["reason"] as const,
    registers,
  });
  const failures = new Counter({
    name: "vireo_floating_lease_renewal_failures_total",
    help: "Renewals of this node's Lease for floating addresses that failed.",
    registers,
  });
  for (const reason of withdrawReasons) withdrawals.inc({ reason }, 0);
  return {
    held: (count) => held.set(count),
    acquired: () => acquisitions.inc(),
    withdrawn: (reason) => withdrawals.inc({ reason }),
    renewalFailed: () => failures.inc(),
  };
};

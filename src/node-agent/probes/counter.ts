import type { Probe } from "../../api/probe.ts";
import type { Finding, ProbeResult } from "./types.ts";

/**
 * The arithmetic of a probe, as pure functions: results come in, and a finding
 * changes only when enough of them in a row speak against it.
 */
export interface Counter {
  readonly finding: Finding;
  /** Results of one kind in a row, up to the last. */
  readonly streak: { readonly kind: "success" | "failure"; readonly length: number };
}

export type Thresholds = Pick<Probe, "successThreshold" | "failureThreshold">;

export const startCounter = (finding: Finding): Counter => ({
  finding,
  streak: { kind: "success", length: 0 },
});

/** Folds one result in. A result that says nothing of the guest changes nothing. */
export const count = (counter: Counter, result: ProbeResult, thresholds: Thresholds): Counter => {
  if (result.kind === "unknown") return counter;
  const before = counter.streak.kind === result.kind ? counter.streak.length : 0;
  const streak = { kind: result.kind, length: before + 1 };
  return { finding: findingAfter(counter.finding, streak, result, thresholds), streak };
};

const findingAfter = (
  finding: Finding,
  streak: Counter["streak"],
  result: Exclude<ProbeResult, { kind: "unknown" }>,
  { successThreshold, failureThreshold }: Thresholds,
): Finding => {
  if (result.kind === "success") {
    return finding.kind !== "healthy" && streak.length >= successThreshold ? { kind: "healthy" } : finding;
  }
  // The message of the first finding stays: every new one would be a write of the machine's status.
  return finding.kind !== "unhealthy" && streak.length >= failureThreshold
    ? { kind: "unhealthy", message: result.message }
    : finding;
};

import type { Probe } from "../../api/probe.ts";

export const probeKinds = ["liveness", "readiness"] as const;
export type ProbeKind = (typeof probeKinds)[number];

/** A running guest that is to be probed. */
export interface ProbedGuest {
  readonly vmUid: string;
  /** The guest's end on this node. Networks may overlap: its address means this guest on this tap only. */
  readonly tap: string;
  readonly address: string;
  /** When the guest was switched on. */
  readonly startedAt: Date;
  readonly livenessProbe?: Probe | undefined;
  readonly readinessProbe?: Probe | undefined;
  /** What was known of its readiness before: a restarted agent goes on from there. */
  readonly readyBefore: Finding;
}

/** What one run of a probe came to. */
export type ProbeResult =
  | { readonly kind: "success" }
  /** The guest's failure. `message` says what was seen, on one line. */
  | { readonly kind: "failure"; readonly message: string }
  /** The node could not probe; that says nothing of the guest and counts for nothing. */
  | { readonly kind: "unknown"; readonly message: string };

/** What a probe's results come to by its thresholds. */
export type Finding =
  /** Neither threshold was reached yet. */
  | { readonly kind: "pending" }
  | { readonly kind: "healthy" }
  /** `message` says what the probe saw when it came to this, and stays the same until it changes. */
  | { readonly kind: "unhealthy"; readonly message: string };

/** What is known of a guest; without such a probe, nothing. */
export interface GuestFindings {
  readonly liveness?: Finding;
  readonly readiness?: Finding;
}

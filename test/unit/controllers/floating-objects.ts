import type { FloatingIp } from "../../../src/api/floating-ip.ts";
import { FLOATING_IP_FINALIZER } from "../../../src/api/floating-ip.ts";
import type { FloatingIpPool } from "../../../src/api/floating-ip-pool.ts";
import type { Candidate } from "../../../src/controllers/floating-ip/claim.ts";
import type { FloatingIpFacts } from "../../../src/controllers/floating-ip/observe.ts";
import { uidOf } from "./objects.ts";

/** FloatingIPs and what is known of them: complete, and different where the test says so. */

export type Status = NonNullable<FloatingIp["status"]>;

export const poolWith = (
  spec: Partial<FloatingIpPool["spec"]> = {},
  meta: Partial<FloatingIpPool["metadata"]> = {},
): FloatingIpPool => ({
  apiVersion: "vireo.dev/v1alpha1",
  kind: "FloatingIPPool",
  metadata: {
    name: "public",
    uid: uidOf(meta.name ?? "public"),
    resourceVersion: "1",
    generation: 1,
    creationTimestamp: "2026-01-01T00:00:00Z",
    ...meta,
  },
  spec: { cidrs: ["203.0.113.0/29"], exclude: [], ...spec },
});

export const floatingIpWith = (
  spec: Partial<FloatingIp["spec"]> = {},
  status?: Status,
  meta: Partial<FloatingIp["metadata"]> = {},
): FloatingIp => ({
  apiVersion: "vireo.dev/v1alpha1",
  kind: "FloatingIP",
  metadata: {
    name: "www",
    namespace: "default",
    uid: uidOf("www"),
    resourceVersion: "1",
    generation: 1,
    creationTimestamp: "2026-01-01T00:00:00Z",
    finalizers: [FLOATING_IP_FINALIZER],
    ...meta,
  },
  spec: { pool: "public", targets: ["web-0", "web-1"], failback: "Never", ...spec },
  ...(status !== undefined && { status }),
});

/** A claim for machine web-N, which is on node-N. */
export const claimOf = (machine: string): NonNullable<Status["claim"]> => ({
  machine,
  machineUid: uidOf(machine),
  nodeName: machine.replace("web", "node"),
  address: "10.0.0.2",
  vni: 1,
});

export const heldBy = (nodeName: string): NonNullable<Status["holder"]> => ({
  nodeName,
  since: "2026-01-01T00:00:00Z",
});

export const candidate = {
  healthy: (name: string): Candidate => ({
    name,
    verdict: { kind: "healthy", claim: claimOf(name) },
    passedOver: undefined,
  }),
  crashed: (name: string): Candidate => ({
    name,
    verdict: { kind: "unhealthy", reason: "MachineNotRunning", message: `${name} does not run` },
    passedOver: undefined,
  }),
  halted: (name: string): Candidate => ({
    name,
    verdict: { kind: "released", reason: "MachineHalted", message: `${name} is halted` },
    passedOver: undefined,
  }),
  onSilentNode: (name: string): Candidate => ({
    name,
    verdict: { kind: "healthy", claim: claimOf(name) },
    passedOver: { reason: "NodeSilent", forMs: 60_000 },
  }),
  notTaken: (name: string): Candidate => ({
    name,
    verdict: { kind: "healthy", claim: claimOf(name) },
    passedOver: { reason: "NotTaken", forMs: 50_000 },
  }),
};

export const factsOf = (
  floatingIp: FloatingIp,
  candidates: readonly Candidate[],
  changes: Partial<FloatingIpFacts> = {},
): FloatingIpFacts => ({
  floatingIp,
  isHeld: floatingIp.metadata.finalizers?.includes(FLOATING_IP_FINALIZER) ?? false,
  address: { pool: poolWith(), reserved: undefined, takenBy: undefined, free: "203.0.113.0", unreadable: 0 },
  rival: undefined,
  candidates,
  present: candidates.find(({ name }) => name === floatingIp.status?.claim?.machine),
  holderIsFenced: false,
  notTakenForMs: undefined,
  move: undefined,
  happenedAt: 0,
  ...changes,
});

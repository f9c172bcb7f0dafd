import type { FloatingIp, FloatingIpClaim } from "../../api/floating-ip.ts";
import type { MachineVerdict } from "./judge.ts";
import type { PassedOver } from "./nodes.ts";

/** A machine that may have the address. */
export interface Candidate {
  readonly name: string;
  readonly verdict: MachineVerdict;
  /** Set while claims avoid the node that the machine is on. */
  readonly passedOver: PassedOver | undefined;
}

/** What the choice of a machine depends on. */
export interface ClaimFacts {
  /** In order: the first that is healthy has the address. */
  readonly candidates: readonly Candidate[];
  /** The machine of the present claim, a candidate or not; undefined without a claim. */
  readonly present: Candidate | undefined;
}

export interface ClaimChoice {
  /** Undefined: no node is to answer. */
  readonly claim: FloatingIpClaim | undefined;
  /** Can the machine of the claim be reached as soon as its node answers? */
  readonly isHealthy: boolean;
  /** Set when the address goes from one machine to another, or is taken from one. */
  readonly cause?: MoveCause;
}

/** Why a machine loses the address. */
export interface MoveCause {
  /** One CamelCase word, also for the metric. */
  readonly reason: string;
  /** A clause without a full stop. */
  readonly message: string;
}

/** Which machine is to have the address. */
export const chooseClaim = (
  { spec, status }: FloatingIp,
  { candidates, present }: ClaimFacts,
): ClaimChoice => {
  const held = status?.claim;
  const first = candidates.map(usableClaim).find((claim) => claim !== undefined);
  if (held === undefined || present === undefined)
    return first === undefined ? waiting(lastResort(candidates)) : healthy(first);
  const loss = lossOf(present, candidates);
  const own = usableClaim(present);
  if (loss === undefined && own !== undefined && (spec.failback === "Never" || first === undefined))
    return healthy(own);
  if (first !== undefined) return { ...healthy(first), ...causeOf(held, first, loss ?? failback) };
  if (loss?.isFinal !== true) return waiting(held);
  const rest = lastResort(candidates);
  return { ...waiting(rest), ...causeOf(held, rest, loss) };
};

const healthy = (claim: FloatingIpClaim): ClaimChoice => ({ claim, isHealthy: true });
const waiting = (claim: FloatingIpClaim | undefined): ClaimChoice => ({ claim, isHealthy: false });

/** The same machine on another node loses nothing. */
const causeOf = (
  held: FloatingIpClaim,
  next: FloatingIpClaim | undefined,
  { reason, message }: MoveCause,
): Pick<ClaimChoice, "cause"> => (held.machineUid === next?.machineUid ? {} : { cause: { reason, message } });

const usableClaim = ({ verdict, passedOver }: Candidate): FloatingIpClaim | undefined =>
  verdict.kind === "healthy" && passedOver === undefined ? verdict.claim : undefined;

/** A machine on a node that is passed over is better than none: its node may be back before anybody knows. */
const lastResort = (candidates: readonly Candidate[]): FloatingIpClaim | undefined =>
  candidates.flatMap(({ verdict }) => (verdict.kind === "healthy" ? [verdict.claim] : []))[0];

const failback: MoveCause = { reason: "Failback", message: "an earlier target is healthy again" };

interface Loss extends MoveCause {
  /** Even without another machine it must not keep the address. */
  readonly isFinal: boolean;
}

/** Why the machine that has the address should not have it; undefined when it should. */
const lossOf = (
  { name, verdict, passedOver }: Candidate,
  candidates: readonly Candidate[],
): Loss | undefined => {
  if (verdict.kind === "released") return { ...verdict, isFinal: true };
  if (!candidates.some((candidate) => candidate.name === name))
    return { reason: "TargetsChanged", message: `${name} is no longer a target`, isFinal: true };
  if (verdict.kind === "unhealthy") return { ...verdict, isFinal: false };
  if (passedOver === undefined) return undefined;
  return { ...passing(verdict.claim.nodeName, passedOver), isFinal: false };
};

/** What is wrong with a node that is passed over. */
export const passing = (node: string, { reason }: PassedOver): MoveCause => ({
  reason,
  message:
    reason === "NodeSilent"
      ? `node ${node} has not renewed its claim on floating addresses`
      : `node ${node} was given the address and did not take it`,
});

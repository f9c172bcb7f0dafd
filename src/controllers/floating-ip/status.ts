import type { FloatingIp } from "../../api/floating-ip.ts";
import { type Draft, draftOf, notReady, observed, ready, stalled } from "../conditions.ts";
import { type ClaimChoice, passing } from "./claim.ts";
import type { FloatingIpFacts } from "./observe.ts";

/** What the controller says of a FloatingIP: all of its status but the holder, in one server-side apply. */
export type FloatingIpStatus = Omit<NonNullable<FloatingIp["status"]>, "holder">;

/** Machines that a message names; the rest is counted. */
const MAX_NAMED = 4;

/** Reason of Ready=False while one node gives the address up and another takes it. */
export const MOVING = "Moving";

/** It has no address, and so nothing else. */
export const unaddressedStatus = (
  { floatingIp }: FloatingIpFacts,
  { reason, message }: { readonly reason: string; readonly message: string },
  now: Date,
): FloatingIpStatus => ({
  ...observed(
    floatingIp,
    reason === "AddressNotInPool" ? stalled(reason, message) : notReady(reason, message),
    now,
  ),
  ...failoversOf(floatingIp, 0),
});

/** It has an address, and perhaps a machine. */
export const addressedStatus = (
  facts: FloatingIpFacts,
  address: string,
  choice: ClaimChoice,
  now: Date,
): FloatingIpStatus => {
  const { floatingIp } = facts;
  const isFailover = choice.cause !== undefined && choice.claim !== undefined;
  return {
    ...observed(floatingIp, [...readiness(facts, address, choice), ...remarks(facts, address)], now),
    address,
    ...(choice.claim !== undefined && { claim: choice.claim }),
    ...failoversOf(floatingIp, isFailover ? 1 : 0),
  };
};

/** It is being deleted: no node is to answer any more. */
export const leavingStatus = ({ floatingIp }: FloatingIpFacts, now: Date): FloatingIpStatus => {
  const { address, holder } = floatingIp.status ?? {};
  const message =
    holder === undefined
      ? "No node answers for it any more."
      : `It goes as soon as node ${holder.nodeName} does not answer for it any more.`;
  return {
    ...observed(floatingIp, notReady("Deleting", message), now),
    ...(address !== undefined && { address }),
    ...failoversOf(floatingIp, 0),
  };
};

const failoversOf = ({ status }: FloatingIp, more: number): Pick<FloatingIpStatus, "failovers"> => {
  const count = (status?.failovers ?? 0) + more;
  return count === 0 && status?.failovers === undefined ? {} : { failovers: count };
};

const readiness = (
  { floatingIp, rival, candidates, holderIsFenced }: FloatingIpFacts,
  address: string,
  { claim, isHealthy }: ClaimChoice,
): readonly Draft[] => {
  if (rival?.isOlder === true)
    return stalled(
      "AddressConflict",
      `${conflict(address, rival.name)} The older one has it: delete this one.`,
    );
  if (!isHealthy) return notReady("NoHealthyTarget", noTargetMessage(candidates, claim?.machine));
  const holder = holderIsFenced ? undefined : floatingIp.status?.holder?.nodeName;
  if (claim === undefined) return notReady("NoHealthyTarget", "No machine is healthy.");
  if (holder === claim.nodeName)
    return ready("Reachable", `${address} reaches ${claim.machine} on node ${claim.nodeName}.`);
  const message =
    holder === undefined
      ? `Node ${claim.nodeName} is to answer for it; no node does yet.`
      : `Node ${claim.nodeName} is to answer for it; node ${holder} has not given it up yet.`;
  return [...notReady(MOVING, message), draftOf("Reconciling", "True", MOVING, message)];
};

const conflict = (address: string, other: string): string =>
  `FloatingIP ${other} has ${address} too, which must not happen; report this.`;

const noTargetMessage = (candidates: FloatingIpFacts["candidates"], kept: string | undefined): string => {
  const why = candidates.flatMap(({ verdict, passedOver }) => {
    if (verdict.kind !== "healthy") return [verdict.message];
    return passedOver === undefined ? [] : [passing(verdict.claim.nodeName, passedOver).message];
  });
  const rest = why.length - MAX_NAMED;
  const list = `${why.slice(0, MAX_NAMED).join("; ")}${rest > 0 ? `; and ${rest} more` : ""}`;
  const keeper = kept === undefined ? "" : ` ${kept} keeps the address until another machine is healthy.`;
  return why.length === 0
    ? "No machine has the labels of selector."
    : `No target is healthy: ${list}.${keeper}`;
};

/** Conditions that are only there when something is wrong. */
const remarks = ({ rival, candidates }: FloatingIpFacts, address: string): readonly Draft[] => {
  const passed = candidates.flatMap(({ verdict, passedOver }) =>
    verdict.kind === "healthy" && passedOver !== undefined
      ? [passing(verdict.claim.nodeName, passedOver)]
      : [],
  );
  const [first] = passed;
  return [
    ...(rival === undefined
      ? []
      : [draftOf("AddressConflict", "True", "DoubleAddress", conflict(address, rival.name))]),
    ...(first === undefined
      ? []
      : [
          draftOf(
            "NodePassedOver",
            "True",
            first.reason,
            `Other nodes are preferred for a minute: ${[...new Set(passed.map(({ message }) => message))].slice(0, MAX_NAMED).join("; ")}.`,
          ),
        ]),
  ];
};

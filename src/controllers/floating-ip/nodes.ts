import { FLOATING_FENCED_AFTER_MS } from "../../api/floating-ip.ts";
import type { Clock, Lease } from "../../kube/index.ts";

/** A node that has not answered for an address is passed over for other nodes so long, in ms. */
export const PASS_OVER_MS = 60_000;

/**
 * Why claims go to other nodes for a while. NodeSilent: it held addresses and
 * did not renew its Lease. NotTaken: it had a claim and did not act on it.
 */
export type PassReason = "NodeSilent" | "NotTaken";

/** A node that is passed over, and for how much longer, in ms. */
export interface PassedOver {
  readonly reason: PassReason;
  readonly forMs: number;
}

/**
 * What this process knows of the nodes that answer for floating addresses. Only
 * changes that it saw count, on its own clock: what a Lease says of time is the
 * node's clock. Everything that is uncertain counts as a sign of life, since
 * that only makes the controller take an address later.
 */
export interface FloatingNodes {
  /** The node's Lease as it is now: a change of it is a sign of life. */
  sawLease(node: string, lease: Lease | undefined): void;
  /** The node began to answer for an address: whatever was thought of it, it acts. */
  tookHold(node: string): void;
  /** Time until the node, silent from now on, may be fenced, in ms; 0 when it may be. */
  fencedInMs(node: string): number;
  /** The node answers for nothing any more: its addresses have run out. */
  fence(node: string): void;
  isFenced(node: string): boolean;
  /** Monotonic ms of the last sign of life that was seen. */
  aliveAt(node: string): number;
  passOver(node: string, reason: PassReason): void;
  passedOver(node: string): PassedOver | undefined;
}

interface NodeState {
  /** The Lease's renewTime when it was last looked at: a mark that changes, not a time. */
  readonly mark: string | undefined;
  readonly aliveAt: number;
  readonly isFenced: boolean;
  readonly passed: { readonly reason: PassReason; readonly until: number } | undefined;
}

export const createFloatingNodes = (clock: Pick<Clock, "monotonic">): FloatingNodes => {
  const nodes = new Map<string, NodeState>();
  const stateOf = (node: string): NodeState => {
    const known = nodes.get(node);
    if (known !== undefined) return known;
    return change(node, { mark: undefined, aliveAt: clock.monotonic(), isFenced: false, passed: undefined });
  };
  const change = (node: string, state: NodeState): NodeState => {
    nodes.set(node, state);
    return state;
  };
  return {
    sawLease: (node, lease) => {
      const state = stateOf(node);
      const mark = lease?.spec.renewTime;
      if (mark === undefined || mark === state.mark) return;
      change(node, {
        mark,
        aliveAt: clock.monotonic(),
        isFenced: false,
        // A node that renews and yet does not take what it is given is still to be passed over.
        passed: state.passed?.reason === "NodeSilent" ? undefined : state.passed,
      });
    },
    tookHold: (node) => {
      const { mark } = stateOf(node);
      change(node, { mark, aliveAt: clock.monotonic(), isFenced: false, passed: undefined });
    },
    fencedInMs: (node) => Math.max(0, stateOf(node).aliveAt + FLOATING_FENCED_AFTER_MS - clock.monotonic()),
    fence: (node) => {
      const until = clock.monotonic() + PASS_OVER_MS;
      change(node, { ...stateOf(node), isFenced: true, passed: { reason: "NodeSilent", until } });
    },
    isFenced: (node) => nodes.get(node)?.isFenced ?? false,
    aliveAt: (node) => stateOf(node).aliveAt,
    passOver: (node, reason) => {
      const until = clock.monotonic() + PASS_OVER_MS;
      change(node, { ...stateOf(node), passed: { reason, until } });
    },
    passedOver: (node) => {
      const passed = nodes.get(node)?.passed;
      if (passed === undefined) return undefined;
      const forMs = passed.until - clock.monotonic();
      return forMs > 0 ? { reason: passed.reason, forMs } : undefined;
    },
  };
};

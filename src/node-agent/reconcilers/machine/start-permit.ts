import { findCondition } from "../../../api/condition.ts";
import { type VirtualMachine, virtualMachines } from "../../../api/virtual-machine.ts";
import { keyOf, type KubeClient, WaitingError } from "../../../kube/index.ts";

/**
 * Whether a guest may be started on this node at this moment. While the node
 * was silent its machine may have been started elsewhere, or be about to be, and
 * a watch may be late: both guests would write to one disk. What the controller
 * does on its side is in docs/design/fencing.md.
 */
export type ConfirmStart = (
  machine: VirtualMachine,
  options: { readonly signal: AbortSignal },
) => Promise<void>;

export interface StartFacts {
  readonly nodeName: string;
  /** Since the beginning of the last heartbeat that was acknowledged; undefined before the first. */
  readonly sinceHeartbeatMs: number | undefined;
  readonly limitMs: number;
  /** Whether somebody says that this node is switched off; undefined while that is not known. */
  readonly isOutOfService: boolean | undefined;
  /** Read after that heartbeat; undefined when it is gone. */
  readonly machine: Pick<VirtualMachine, "status"> | undefined;
}

/** Undefined: it may. Otherwise why not. */
export const refusalOfStart = (facts: StartFacts): string | undefined => {
  const { nodeName, sinceHeartbeatMs, limitMs, isOutOfService, machine } = facts;
  if (sinceHeartbeatMs === undefined || sinceHeartbeatMs >= limitMs)
    return "no heartbeat of this node has been acknowledged lately";
  if (isOutOfService !== false)
    return "spec.outOfService of the Hypervisor says that this node is switched off, or is not known yet";
  if (machine?.status?.nodeName !== nodeName) return "the machine is not on this node any more";
  const ready = findCondition(machine.status.conditions, "Ready");
  return ready?.status === "Unknown" ? "the machine is said to be lost" : undefined;
};

export interface StartPermitOptions {
  readonly nodeName: string;
  readonly client: Pick<KubeClient, "get">;
  readonly heartbeat: { sinceRenewalMs(): number | undefined };
  readonly limitMs: number;
  readonly isOutOfService: () => boolean | undefined;
}

const RETRY_MS = 1_000;

/** Rejects with a WaitingError when it may not. The heartbeat is looked at before the machine is read: see above. */
export const createConfirmStart =
  ({ nodeName, client, heartbeat, limitMs, isOutOfService }: StartPermitOptions): ConfirmStart =>
  async (wanted, { signal }) => {
    const sinceHeartbeatMs = heartbeat.sinceRenewalMs();
    const found = await client.get(virtualMachines, keyOf(wanted), { signal });
    const machine = found?.metadata.uid === wanted.metadata.uid ? found : undefined;
    const facts = { nodeName, sinceHeartbeatMs, limitMs, isOutOfService: isOutOfService(), machine };
    const refusal = refusalOfStart(facts);
    if (refusal !== undefined)
      throw new WaitingError(RETRY_MS, "NotConfirmed", `the guest is not started: ${refusal}`);
  };

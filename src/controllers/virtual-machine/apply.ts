import { GUEST_FINALIZER, type VirtualMachine, virtualMachines } from "../../api/virtual-machine.ts";
import { SYSTEM_NAMESPACE } from "../../api/hypervisor.ts";
import { ApiError, type EventRecorder, type KubeClient, leases, WaitingError } from "../../kube/index.ts";
import type { Stores } from "../context.ts";
import { writeFinalizers } from "../finalizers.ts";
import { isTaken } from "../hypervisor/fencing.ts";
import { applyStatus } from "../status-writer.ts";
import type { MachineDecision, MachineStep } from "./decide.ts";
import type { Reservations } from "./reservations.ts";

export interface MachineEffects {
  readonly client: KubeClient;
  readonly stores: Stores;
  readonly events: EventRecorder;
  readonly reservations: Reservations;
}

/** Carries one step out on this version of the machine; resolves with the next version, or undefined when it is gone. */
type Executor<Kind extends MachineStep["kind"]> = (
  effects: MachineEffects,
  machine: VirtualMachine,
  step: Extract<MachineStep, { readonly kind: Kind }>,
  signal: AbortSignal,
) => Promise<VirtualMachine | undefined>;

type Executors = { readonly [Kind in MachineStep["kind"]]: Executor<Kind> };

const NOT_FENCED_MS = 1_000;

const executors: Executors = {
  "add-finalizer": ({ client }, machine, _, signal) =>
    writeFinalizers(
      client,
      virtualMachines,
      machine,
      [...(machine.metadata.finalizers ?? []), GUEST_FINALIZER],
      signal,
    ),

  "remove-finalizer": ({ client }, machine, _, signal) =>
    writeFinalizers(
      client,
      virtualMachines,
      machine,
      (machine.metadata.finalizers ?? []).filter((finalizer) => finalizer !== GUEST_FINALIZER),
      signal,
    ),

  "apply-status": ({ client, stores, reservations }, machine, { status }, signal) => {
    reservations.sent(machine.metadata.uid, machine.metadata.resourceVersion);
    const write = { client, resource: virtualMachines, store: stores.virtualMachines, signal };
    return applyStatus(write, machine, status);
  },

  "confirm-fenced": async ({ client }, machine, { nodeName }, signal) => {
    const lease = await client.get(leases, { namespace: SYSTEM_NAMESPACE, name: nodeName }, { signal });
    if (isTaken(lease)) return machine;
    throw new WaitingError(NOT_FENCED_MS, "NotFenced", `node ${nodeName} is back, or not fenced yet`);
  },

  announce: ({ events }, machine, { announcement: { type, reason, message } }) => {
    events.event(machine, type, reason, message);
    return Promise.resolve(machine);
  },
};

/**
 * Carries a decision out. Each write is bound to the version that the one
 * before it has made, so that the whole is one transaction in effect: whatever
 * comes between ends it with a conflict, and everything is looked at anew.
 *
 * Must be called in the same turn of the event loop as decide(): what is given
 * out is held before anything is awaited.
 */
export const applyMachine = async (
  effects: MachineEffects,
  machine: VirtualMachine,
  { reserve, steps }: MachineDecision,
  signal: AbortSignal,
): Promise<void> => {
  const { reservations } = effects;
  const { uid } = machine.metadata;
  if (reserve !== undefined && reservations.find(uid) === undefined) reservations.hold(uid, reserve);
  let current: VirtualMachine | undefined = machine;
  try {
    for (const step of steps) {
      if (current === undefined) break;
      current = await execute(effects, current, step, signal);
    }
  } catch (error) {
    if (error instanceof ApiError && !error.isConflict && !error.isRetryable) reservations.release(uid);
    throw error;
  } finally {
    reservations.releaseUnsent(uid);
  }
};

const execute = <Kind extends MachineStep["kind"]>(
  effects: MachineEffects,
  machine: VirtualMachine,
  step: Extract<MachineStep, { readonly kind: Kind }>,
  signal: AbortSignal,
): Promise<VirtualMachine | undefined> => executors[step.kind](effects, machine, step, signal);

import { isTrue } from "../api/condition.ts";
import type { VirtualMachine } from "../api/virtual-machine.ts";
import {
  type Change,
  createController,
  type EventRecorder,
  formatKey,
  keyOf,
  type Logger,
  type Metrics,
  type Store,
} from "../kube/index.ts";
import type { NodeNetwork } from "./node-network.ts";
import { reconcileMachine } from "./reconcile-machine.ts";
import type { AgentMetrics } from "./metrics.ts";
import type { MachineView } from "./report.ts";
import { createStepContext } from "./step-context.ts";
import type { StepContext } from "./steps.ts";
import { sweepRegularly } from "./sweep.ts";

/**
 * The loop of the node agent. It makes this host equal to what is written for
 * this node, one machine at a time and several machines at once, and has no
 * memory: whatever it needs is in the objects, in libvirt and on the host.
 *
 * Machines are known by their UID, because what is found on the host carries
 * nothing else. Watch events, libvirt events and the periodic sweep only say
 * which UID to look at again.
 */
export interface AgentOptions {
  readonly nodeName: string;
  readonly store: Store<VirtualMachine>;
  readonly machines: MachineView;
  readonly rooms: Omit<StepContext, "syncNetwork" | "removeFromNetwork">;
  /** Routes and rules of the node as a whole. */
  readonly network: NodeNetwork;
  readonly events: EventRecorder;
  readonly logger: Logger;
  readonly metrics: Metrics;
  readonly agentMetrics: AgentMetrics;
  readonly now: () => Date;
  /** How often everything is looked at without a cause, in ms. */
  readonly sweepMs: number;
  /** How many machines are worked on at the same time. */
  readonly workers: number;
}

export interface Agent {
  /** Works until the signal is aborted. Starts nothing before the store is in sync. */
  run(signal: AbortSignal): Promise<void>;
}

export const createAgent = (options: AgentOptions): Agent => ({
  run: async (signal) => {
    const { store, machines, rooms } = options;
    const context = createStepContext(options);
    const controller = createController({
      name: "machine",
      reconcile: ({ name: uid }, itemSignal) => reconcileMachine(uid, options, context, itemSignal),
      watches: [{ store, map: (change) => uidsToLookAt(change, machines).map((name) => ({ name })) }],
      workers: options.workers,
      describe: ({ name: uid }) => {
        const machine = machines.get(uid);
        return machine === undefined ? uid : formatKey(keyOf(machine));
      },
      backoff: { initialMs: 200, maxMs: 30_000 },
      logger: options.logger,
      metrics: options.metrics,
    });
    const lookAt = (uid: string): void => controller.enqueue({ name: uid });
    const lookAtAll = (which: (machine: VirtualMachine) => boolean = () => true): void =>
      machines
        .list()
        .filter(which)
        .forEach(({ metadata }) => lookAt(metadata.uid));

    const stopListening = [
      rooms.domains.onChange((uid) => (uid === "all" ? lookAtAll() : lookAt(uid))),
      rooms.probes.onChange(lookAt),
      rooms.disks.onImageChange((uid) => lookAtAll(({ status }) => status?.allocation?.image?.uid === uid)),
    ];
    const sweeping = sweepRegularly(options, { lookAt, lookAtAll }, signal);
    try {
      await controller.run(signal);
    } finally {
      for (const stop of stopListening) stop();
      rooms.probes.close();
      await sweeping;
    }
  },
});

/** What this process wrote itself needs no second look, and of a machine that was released nothing is left. */
const uidsToLookAt = ({ before, after }: Change<VirtualMachine>, machines: MachineView): string[] => {
  if (after === undefined && isTrue(before?.status?.conditions, "Released")) return [];
  if (after !== undefined && machines.isOwnWrite(after)) return [];
  return [...new Set([before, after].flatMap((object) => object?.metadata.uid ?? []))];
};

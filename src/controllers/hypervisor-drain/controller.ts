import type { VirtualMachineMigration } from "../../api/virtual-machine-migration.ts";
import type { VirtualMachine } from "../../api/virtual-machine.ts";
import {
  type Change,
  type Controller,
  createController,
  done,
  type ObjectKey,
  requeueAfter,
} from "../../kube/index.ts";
import type { ControllerContext, Stores } from "../context.ts";
import { BY_NAMESPACE } from "../stores.ts";
import { endsOf } from "../virtual-machine-migration/phase.ts";
import { applyDrainStep } from "./apply.ts";
import { decideDrain } from "./decide.ts";
import { DRAIN_LABEL, drainLabelOf } from "./names.ts";
import { observeDrain } from "./observe.ts";

/** Empties nodes (Hypervisor.spec.drain) by migrations, and tells how far that is. */
export const createHypervisorDrainController = (context: ControllerContext): Controller => {
  const { stores, clock, logger, metrics } = context;
  return createController({
    name: "hypervisor-drain",
    logger,
    metrics,
    clock,
    watches: [
      { store: stores.hypervisors },
      { store: stores.virtualMachines, map: (change: Change<VirtualMachine>) => nodesAfterMachine(change) },
      {
        store: stores.virtualMachineMigrations,
        map: (change: Change<VirtualMachineMigration>) => nodesAfterMigration(stores, change),
      },
    ],
    reconcile: async (key, signal) => {
      const facts = observeDrain(stores, key);
      if (facts === undefined) return done;
      const { steps, requeueAfterMs } = decideDrain(facts, new Date(clock.now()));
      for (const step of steps) await applyDrainStep(context, facts.hypervisor, step, signal);
      return requeueAfterMs === undefined ? done : requeueAfter(requeueAfterMs);
    },
  });
};

const isLeaving = (machine: VirtualMachine | undefined): boolean =>
  machine?.metadata.deletionTimestamp !== undefined;

/** The nodes that a machine comes to or leaves. */
const nodesAfterMachine = ({ before, after }: Change<VirtualMachine>): readonly ObjectKey[] => {
  const [from, to] = [before?.status?.nodeName, after?.status?.nodeName];
  if (from === to && isLeaving(before) === isLeaving(after)) return [];
  return [from, to].flatMap((name) => (name === undefined ? [] : [{ name }]));
};

/** The node that it empties, and the one that its machine is on. */
const nodesAfterMigration = (
  { hypervisors, virtualMachines }: Stores,
  { before, after }: Change<VirtualMachineMigration>,
): readonly ObjectKey[] => {
  const migration = after ?? before;
  if (migration === undefined) return [];
  const label = migration.metadata.labels?.[DRAIN_LABEL];
  const machine = virtualMachines
    .byIndex(BY_NAMESPACE, migration.metadata.namespace ?? "")
    .find(({ metadata }) => metadata.name === migration.spec.virtualMachine);
  const nodes = new Set([endsOf(migration)?.sourceNode, machine?.status?.nodeName]);
  return hypervisors
    .list()
    .map(({ metadata }) => metadata.name)
    .filter((name) => nodes.has(name) || (label !== undefined && drainLabelOf(name) === label))
    .map((name) => ({ name }));
};

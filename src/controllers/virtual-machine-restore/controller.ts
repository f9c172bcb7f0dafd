import type { Hypervisor } from "../../api/hypervisor.ts";
import type { VirtualMachineMigration } from "../../api/virtual-machine-migration.ts";
import { type VirtualMachineRestore, virtualMachineRestores } from "../../api/virtual-machine-restore.ts";
import type { VirtualMachineSnapshot } from "../../api/virtual-machine-snapshot.ts";
import type { VirtualMachine } from "../../api/virtual-machine.ts";
import { type Change, type Controller, createController, done, requeueAfter } from "../../kube/index.ts";
import { createAcquaintance } from "../acquaintance.ts";
import type { ControllerContext, Stores } from "../context.ts";
import { applySteps } from "../steps.ts";
import { decideRestore } from "./decide.ts";
import { observeRestore } from "./observe.ts";
import {
  restoresAfterHypervisor,
  restoresAfterMachine,
  restoresAfterMigration,
  restoresAfterRestore,
  restoresAfterSnapshot,
} from "./watches.ts";

/** Checks restores, and gives them to the nodes of their machines, one after the other. */
export const createVirtualMachineRestoreController = (context: ControllerContext): Controller => {
  const { client, events, stores, clock, logger, metrics } = context;
  const store = stores.virtualMachineRestores;
  const seenForMs = createAcquaintance(store, clock);
  const target = { client, events, resource: virtualMachineRestores, store };
  return createController({
    name: "virtual-machine-restore",
    logger,
    metrics,
    clock,
    watches: watchesOf(stores),
    reconcile: async (key, signal) => {
      const facts = observeRestore(stores, key, seenForMs);
      if (facts === undefined) return done;
      const { steps, requeueAfterMs } = decideRestore(facts, new Date(clock.now()));
      await applySteps(target, facts.restore, steps, signal);
      return requeueAfterMs === undefined ? done : requeueAfter(requeueAfterMs);
    },
  });
};

const watchesOf = (stores: Stores) =>
  [
    {
      store: stores.virtualMachineRestores,
      map: (change: Change<VirtualMachineRestore>) => restoresAfterRestore(stores, change),
    },
    {
      store: stores.virtualMachineSnapshots,
      map: (change: Change<VirtualMachineSnapshot>) => restoresAfterSnapshot(stores, change),
    },
    {
      store: stores.virtualMachineMigrations,
      map: (change: Change<VirtualMachineMigration>) => restoresAfterMigration(stores, change),
    },
    {
      store: stores.virtualMachines,
      map: (change: Change<VirtualMachine>) => restoresAfterMachine(stores, change),
    },
    {
      store: stores.hypervisors,
      map: (change: Change<Hypervisor>) => restoresAfterHypervisor(stores, change),
    },
  ] as const;

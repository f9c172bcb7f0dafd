import type { Hypervisor } from "../../api/hypervisor.ts";
import {
  type VirtualMachineMigration,
  virtualMachineMigrations,
} from "../../api/virtual-machine-migration.ts";
import type { VirtualMachineRestore } from "../../api/virtual-machine-restore.ts";
import type { VirtualMachineSnapshot } from "../../api/virtual-machine-snapshot.ts";
import type { VirtualMachine } from "../../api/virtual-machine.ts";
import type { Volume } from "../../api/volume.ts";
import {
  ApiError,
  type Change,
  type Controller,
  createController,
  done,
  requeueAfter,
} from "../../kube/index.ts";
import { createAcquaintance } from "../acquaintance.ts";
import type { Books } from "../books.ts";
import type { ControllerContext, Stores } from "../context.ts";
import { applySteps } from "../steps.ts";
import { decideMigration, type MigrationDecision } from "./decide.ts";
import { measure } from "./measure.ts";
import { observeMigration } from "./observe.ts";
import {
  migrationsAfterHypervisor,
  migrationsAfterMachine,
  migrationsAfterMigration,
  migrationsAfterRequest,
  migrationsAfterVolume,
} from "./watches.ts";

export interface MigrationOptions {
  readonly books: Books;
  /** How many machines may be on their way at a time in the cluster. */
  readonly maxParallel: number;
}

/**
 * Accepts migrations when it is their turn and there is room, watches over those
 * that are under way, and lets them go. The machine itself is moved by the
 * agents of both nodes, and its nodeName by the machines' controller.
 */
export const createVirtualMachineMigrationController = (
  context: ControllerContext,
  { books, maxParallel }: MigrationOptions,
): Controller => {
  const { client, events, stores, clock, logger, metrics } = context;
  const store = stores.virtualMachineMigrations;
  const memory = { books, maxParallel, seenForMs: createAcquaintance(store, clock) };
  const target = { client, events, resource: virtualMachineMigrations, store };
  const carryOut = async (
    migration: VirtualMachineMigration,
    { steps, promise }: MigrationDecision,
    signal: AbortSignal,
  ): Promise<void> => {
    const { uid } = migration.metadata;
    if (promise !== undefined) books.promises.hold(uid, promise);
    try {
      await applySteps(target, migration, steps, signal);
      books.promises.release(uid);
    } catch (error) {
      if (isRefused(error)) books.promises.release(uid);
      throw error;
    }
  };
  return createController({
    name: "virtual-machine-migration",
    logger,
    metrics,
    clock,
    watches: watchesOf(stores),
    reconcile: async (key, signal) => {
      const facts = observeMigration(stores, memory, key);
      if (facts === undefined) return done;
      const decision = decideMigration(facts, new Date(clock.now()));
      await carryOut(facts.migration, decision, signal);
      measure(metrics, facts.migration, decision);
      return decision.requeueAfterMs === undefined ? done : requeueAfter(decision.requeueAfterMs);
    },
  });
};

/** It is certain that nothing was written. Of an error without an answer it is not. */
const isRefused = (error: unknown): boolean =>
  error instanceof ApiError && (error.isConflict || !error.isRetryable);

const watchesOf = (stores: Stores) =>
  [
    {
      store: stores.virtualMachineMigrations,
      map: (change: Change<VirtualMachineMigration>) => migrationsAfterMigration(stores, change),
    },
    {
      store: stores.virtualMachineSnapshots,
      map: (change: Change<VirtualMachineSnapshot>) => migrationsAfterRequest(stores, change),
    },
    {
      store: stores.virtualMachineRestores,
      map: (change: Change<VirtualMachineRestore>) => migrationsAfterRequest(stores, change),
    },
    {
      store: stores.virtualMachines,
      map: (change: Change<VirtualMachine>) => migrationsAfterMachine(stores, change),
    },
    { store: stores.volumes, map: (change: Change<Volume>) => migrationsAfterVolume(stores, change) },
    {
      store: stores.hypervisors,
      map: (change: Change<Hypervisor>) => migrationsAfterHypervisor(stores, change),
    },
  ] as const;

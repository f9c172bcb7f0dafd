import type { Hypervisor } from "../../api/hypervisor.ts";
import type { Image } from "../../api/image.ts";
import type { VirtualMachineMigration } from "../../api/virtual-machine-migration.ts";
import type { VirtualMachineRestore } from "../../api/virtual-machine-restore.ts";
import { type VirtualMachineSnapshot, virtualMachineSnapshots } from "../../api/virtual-machine-snapshot.ts";
import type { VirtualMachine } from "../../api/virtual-machine.ts";
import type { Volume } from "../../api/volume.ts";
import { type Change, type Controller, createController, done, requeueAfter } from "../../kube/index.ts";
import { createAcquaintance } from "../acquaintance.ts";
import type { ControllerContext, Stores } from "../context.ts";
import { applySteps } from "../steps.ts";
import { decideSnapshot } from "./decide.ts";
import { observeSnapshot } from "./observe.ts";
import {
  snapshotsAfterHypervisor,
  snapshotsAfterImage,
  snapshotsAfterMachine,
  snapshotsAfterMigration,
  snapshotsAfterRestore,
  snapshotsAfterSnapshot,
  snapshotsAfterVolume,
} from "./watches.ts";

/** Gives snapshots to the nodes of their machines, one after the other, and lets them go when nobody reads them. */
export const createVirtualMachineSnapshotController = (context: ControllerContext): Controller => {
  const { client, events, stores, clock, logger, metrics } = context;
  const store = stores.virtualMachineSnapshots;
  const seenForMs = createAcquaintance(store, clock);
  const target = { client, events, resource: virtualMachineSnapshots, store };
  return createController({
    name: "virtual-machine-snapshot",
    logger,
    metrics,
    clock,
    watches: watchesOf(stores),
    reconcile: async (key, signal) => {
      const facts = observeSnapshot(stores, key, seenForMs);
      if (facts === undefined) return done;
      const { steps, requeueAfterMs } = decideSnapshot(facts, new Date(clock.now()));
      await applySteps(target, facts.snapshot, steps, signal);
      return requeueAfterMs === undefined ? done : requeueAfter(requeueAfterMs);
    },
  });
};

const watchesOf = (stores: Stores) =>
  [
    {
      store: stores.virtualMachineSnapshots,
      map: (change: Change<VirtualMachineSnapshot>) => snapshotsAfterSnapshot(stores, change),
    },
    {
      store: stores.virtualMachineRestores,
      map: (change: Change<VirtualMachineRestore>) => snapshotsAfterRestore(stores, change),
    },
    {
      store: stores.virtualMachineMigrations,
      map: (change: Change<VirtualMachineMigration>) => snapshotsAfterMigration(stores, change),
    },
    {
      store: stores.virtualMachines,
      map: (change: Change<VirtualMachine>) => snapshotsAfterMachine(stores, change),
    },
    { store: stores.volumes, map: (change: Change<Volume>) => snapshotsAfterVolume(stores, change) },
    { store: stores.images, map: (change: Change<Image>) => snapshotsAfterImage(stores, change) },
    {
      store: stores.hypervisors,
      map: (change: Change<Hypervisor>) => snapshotsAfterHypervisor(stores, change),
    },
  ] as const;

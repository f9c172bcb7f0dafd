import type { Flavor } from "../../api/flavor.ts";
import type { Image } from "../../api/image.ts";
import type { Hypervisor } from "../../api/hypervisor.ts";
import type { KeyPair } from "../../api/key-pair.ts";
import type { Network } from "../../api/network.ts";
import type { SecurityGroup } from "../../api/security-group.ts";
import type { VirtualMachineMigration } from "../../api/virtual-machine-migration.ts";
import type { VirtualMachineSnapshot } from "../../api/virtual-machine-snapshot.ts";
import type { VirtualMachine } from "../../api/virtual-machine.ts";
import type { Volume } from "../../api/volume.ts";
import { type Change, type Controller, createController, done, requeueAfter } from "../../kube/index.ts";
import { createAcquaintance } from "../acquaintance.ts";
import type { Books } from "../books.ts";
import type { ControllerContext, Stores } from "../context.ts";
import { applyMachine } from "./apply.ts";
import { decideMachine } from "./decide.ts";
import { observeMachine } from "./observe.ts";
import {
  machinesAfterFlavor,
  machinesAfterGroup,
  machinesAfterHypervisor,
  machinesAfterImage,
  machinesAfterMachine,
  machinesAfterMigration,
  machinesAfterNetwork,
  machinesAfterReference,
  machinesAfterSnapshot,
  machinesAfterVolume,
} from "./watches.ts";

const WORKERS = 8;

/**
 * Places machines, gives them what they keep for their life, and lets them go.
 * docs/design/controllers.md tells who writes what.
 */
export const createVirtualMachineController = (context: ControllerContext, books: Books): Controller => {
  const { stores, clock, logger, metrics } = context;
  const { reservations, ledger } = books;
  const memory = {
    reservations,
    ledger,
    seenForMs: createAcquaintance(stores.virtualMachines, clock),
  };
  return createController({
    name: "virtual-machine",
    workers: WORKERS,
    logger,
    metrics,
    clock,
    watches: watchesOf(stores),
    reconcile: async (key, signal) => {
      const facts = observeMachine(stores, memory, key);
      if (facts === undefined) return done;
      const decision = decideMachine(facts, new Date(clock.now()));
      if (decision.result !== undefined) metrics.schedulingAttempts.inc({ result: decision.result });
      await applyMachine({ ...context, reservations }, facts.machine, decision, signal);
      return decision.requeueAfterMs === undefined ? done : requeueAfter(decision.requeueAfterMs);
    },
  });
};

const watchesOf = (stores: Stores) =>
  [
    {
      store: stores.virtualMachines,
      map: (change: Change<VirtualMachine>) => machinesAfterMachine(stores, change),
    },
    {
      store: stores.hypervisors,
      map: (change: Change<Hypervisor>) => machinesAfterHypervisor(stores, change),
    },
    { store: stores.networks, map: (change: Change<Network>) => machinesAfterNetwork(stores, change) },
    { store: stores.images, map: (change: Change<Image>) => machinesAfterImage(stores, change) },
    { store: stores.flavors, map: (change: Change<Flavor>) => machinesAfterFlavor(stores, change) },
    { store: stores.volumes, map: (change: Change<Volume>) => machinesAfterVolume(stores, change) },
    {
      store: stores.virtualMachineSnapshots,
      map: (change: Change<VirtualMachineSnapshot>) => machinesAfterSnapshot(stores, change),
    },
    {
      store: stores.virtualMachineMigrations,
      map: (change: Change<VirtualMachineMigration>) => machinesAfterMigration(stores, change),
    },
    {
      store: stores.keyPairs,
      map: machinesAfterReference<KeyPair>(stores, ({ spec }, name) => spec.keyPairs.includes(name)),
    },
    {
      store: stores.securityGroups,
      map: (change: Change<SecurityGroup>) => machinesAfterGroup(stores, change),
    },
  ] as const;

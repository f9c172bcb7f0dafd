import type { Hypervisor } from "../../api/hypervisor.ts";
import type { Image } from "../../api/image.ts";
import type { VirtualMachineSnapshot } from "../../api/virtual-machine-snapshot.ts";
import type { VirtualMachine } from "../../api/virtual-machine.ts";
import { type Volume, volumes } from "../../api/volume.ts";
import { type Change, type Controller, createController, done, requeueAfter } from "../../kube/index.ts";
import { createAcquaintance } from "../acquaintance.ts";
import type { ControllerContext, Stores } from "../context.ts";
import { applySteps } from "../steps.ts";
import { decideVolume } from "./decide.ts";
import { observeVolume } from "./observe.ts";
import {
  volumesAfterHypervisor,
  volumesAfterImage,
  volumesAfterMachine,
  volumesAfterSnapshot,
  volumesAfterVolume,
} from "./watches.ts";

/**
 * Says what each Volume starts as, which node makes it and which machine it is
 * for, and keeps it while somebody needs it. The data are the node agents' work.
 */
export const createVolumeController = (context: ControllerContext): Controller => {
  const { client, events, stores, clock, logger, metrics } = context;
  const seenForMs = createAcquaintance(stores.volumes, clock);
  const target = { client, events, resource: volumes, store: stores.volumes };
  return createController({
    name: "volume",
    logger,
    metrics,
    clock,
    watches: watchesOf(stores),
    reconcile: async (key, signal) => {
      const facts = observeVolume(stores, key, seenForMs);
      if (facts === undefined) return done;
      const { steps, requeueAfterMs } = decideVolume(facts, new Date(clock.now()));
      await applySteps(target, facts.volume, steps, signal);
      return requeueAfterMs === undefined ? done : requeueAfter(requeueAfterMs);
    },
  });
};

const watchesOf = (stores: Stores) =>
  [
    { store: stores.volumes, map: (change: Change<Volume>) => volumesAfterVolume(stores, change) },
    {
      store: stores.virtualMachines,
      map: (change: Change<VirtualMachine>) => volumesAfterMachine(stores, change),
    },
    {
      store: stores.virtualMachineSnapshots,
      map: (change: Change<VirtualMachineSnapshot>) => volumesAfterSnapshot(stores, change),
    },
    { store: stores.images, map: (change: Change<Image>) => volumesAfterImage(stores, change) },
    {
      store: stores.hypervisors,
      map: (change: Change<Hypervisor>) => volumesAfterHypervisor(stores, change),
    },
  ] as const;

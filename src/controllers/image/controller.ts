import type { Hypervisor } from "../../api/hypervisor.ts";
import { type Image, images } from "../../api/image.ts";
import type { KubernetesObject } from "../../api/meta.ts";
import {
  type Change,
  type Controller,
  createController,
  done,
  keyOf,
  type ObjectKey,
} from "../../kube/index.ts";
import type { ControllerContext, Stores } from "../context.ts";
import { applyStatus } from "../status-writer.ts";
import { BY_DISK_SOURCE, sourceIndexKey } from "../stores.ts";
import { decideImage } from "./decide.ts";
import { isMadeOfDisk } from "./judge.ts";
import { observeImage } from "./observe.ts";

/**
 * Checks Images, chooses once which node makes those that are made of a disk,
 * and sums up on each what the nodes say of it.
 */
export const createImageController = (context: ControllerContext): Controller => {
  const { client, stores, events, clock, logger, metrics } = context;
  return createController({
    name: "image",
    logger,
    metrics,
    clock,
    watches: [
      { store: stores.images },
      { store: stores.hypervisors, map: (change) => imagesKnownTo(stores, change) },
      { store: stores.virtualMachines, map: imagesOf(stores, "VirtualMachine") },
      { store: stores.virtualMachineSnapshots, map: imagesOf(stores, "VirtualMachineSnapshot") },
      { store: stores.volumes, map: imagesOf(stores, "Volume") },
    ],
    reconcile: async (key, signal) => {
      const facts = observeImage(stores, key);
      if (facts === undefined) return done;
      const { status, announcements } = decideImage(facts, new Date(clock.now()));
      if (status === undefined) return done;
      await applyStatus({ client, resource: images, store: stores.images, signal }, facts.image, status);
      for (const { type, reason, message } of announcements) events.event(facts.image, type, reason, message);
      return done;
    },
  });
};

/** The Images that the node reported on before or reports on now, and those that wait for a node. */
const imagesKnownTo = (stores: Stores, { key, before, after }: Change<Hypervisor>): readonly ObjectKey[] => {
  const uids = new Set([before, after].flatMap((node) => (node?.status?.images ?? []).map(({ uid }) => uid)));
  return stores.images
    .list()
    .filter((image) => uids.has(image.metadata.uid) || waitsFor(image, key.name))
    .map(keyOf);
};

/** An Image without an origin may wait for any node: for the one that has its disk. */
const waitsFor = (image: Image, node: string): boolean =>
  isMadeOfDisk(image) &&
  image.status?.checksum === undefined &&
  (image.status?.origin?.nodeName ?? node) === node;

/** The Images that are to be made of it and have no origin yet. */
const imagesOf =
  (stores: Stores, kind: Parameters<typeof sourceIndexKey>[0]) =>
  ({ key }: Change<KubernetesObject>): readonly ObjectKey[] =>
    stores.images.byIndex(BY_DISK_SOURCE, sourceIndexKey(kind, key)).map(keyOf);

import { type Hypervisor } from "../../api/hypervisor.ts";
import { images } from "../../api/image.ts";
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
import { decideImage } from "./decide.ts";
import { observeImage } from "./observe.ts";

/** Checks Images, and sums up on each what the nodes say of it. */
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

/** The Images that the node reported on before or reports on now. */
const imagesKnownTo = (stores: Stores, { before, after }: Change<Hypervisor>): readonly ObjectKey[] => {
  const uids = new Set([before, after].flatMap((node) => (node?.status?.images ?? []).map(({ uid }) => uid)));
  return stores.images
    .list()
    .filter((image) => uids.has(image.metadata.uid))
    .map(keyOf);
};

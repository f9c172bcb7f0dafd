import { flavors } from "../../api/flavor.ts";
import { type Controller, createController, done } from "../../kube/index.ts";
import type { ControllerContext } from "../context.ts";
import { applyStatus, isSameStatus } from "../status-writer.ts";
import { flavorStatus } from "./status.ts";

/** Says of each Flavor, once, whether machines may use it. */
export const createFlavorController = (context: ControllerContext): Controller => {
  const { client, stores, clock, logger, metrics } = context;
  return createController({
    name: "flavor",
    logger,
    metrics,
    clock,
    watches: [{ store: stores.flavors }],
    reconcile: async (key, signal) => {
      const flavor = stores.flavors.get(key);
      if (flavor === undefined) return done;
      const status = flavorStatus(flavor, new Date(clock.now()));
      if (!isSameStatus(flavor.status, status))
        await applyStatus({ client, resource: flavors, store: stores.flavors, signal }, flavor, status);
      return done;
    },
  });
};

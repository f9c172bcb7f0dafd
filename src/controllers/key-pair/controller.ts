import { type Controller, createController, done, requeueAfter } from "../../kube/index.ts";
import type { ControllerContext } from "../context.ts";
import { applyKeyPair } from "./apply.ts";
import { decideKeyPair } from "./decide.ts";
import { generateKeyPair } from "./generate.ts";
import { observeKeyPair } from "./observe.ts";

/** Checks public keys, and generates key pairs. */
export const createKeyPairController = (context: ControllerContext): Controller => {
  const { stores, clock, logger, metrics } = context;
  return createController({
    name: "key-pair",
    logger,
    metrics,
    clock,
    watches: [{ store: stores.keyPairs }],
    reconcile: async (key, signal) => {
      const facts = await observeKeyPair(context, key, signal);
      if (facts === undefined) return done;
      const { steps, requeueAfterMs } = decideKeyPair(facts, new Date(clock.now()));
      await applyKeyPair({ ...context, generate: generateKeyPair }, facts.keyPair, steps, signal);
      return requeueAfterMs === undefined ? done : requeueAfter(requeueAfterMs);
    },
  });
};

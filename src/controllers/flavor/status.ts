import type { Flavor } from "../../api/flavor.ts";
import { observed, ready, sentence, stalled } from "../conditions.ts";
import { flavorSizes } from "./sizes.ts";

export type FlavorStatus = NonNullable<Flavor["status"]>;

/** The whole status of a Flavor: written once, since its spec cannot change. */
export const flavorStatus = (flavor: Flavor, now: Date): FlavorStatus => {
  const sizes = flavorSizes(flavor);
  const drafts =
    sizes.kind === "valid"
      ? ready("Valid", "Machines may use it.")
      : stalled("Invalid", `${sentence(sizes.message)} Make another Flavor.`);
  return observed(flavor, drafts, now);
};

import type { Flavor } from "../../api/flavor.ts";
import { bytesOf } from "../quantities.ts";

/** What a flavor comes to in the units that hypervisors count in. */
export type FlavorSizes =
  | { readonly kind: "valid"; readonly vcpus: number; readonly memoryMiB: number; readonly diskMiB: number }
  | { readonly kind: "invalid"; readonly message: string };

const MIB = 2 ** 20;

export const flavorSizes = ({ spec }: Flavor): FlavorSizes => {
  try {
    return {
      kind: "valid",
      vcpus: spec.vcpus,
      memoryMiB: wholeMiB("spec.memory", spec.memory),
      diskMiB: wholeMiB("spec.disk", spec.disk),
    };
  } catch (error) {
    if (error instanceof RangeError) return { kind: "invalid", message: error.message };
    throw error;
  }
};

const wholeMiB = (field: string, quantity: string): number => {
  const size = bytesOf(field, quantity) / MIB;
  if (!Number.isInteger(size) || size < 1)
    throw new RangeError(`${field}: "${quantity}" is not a whole number of MiB`);
  return size;
};

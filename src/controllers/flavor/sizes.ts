import type { Flavor } from "../../api/flavor.ts";
import { bytesOf } from "../quantities.ts";

/** What a flavor comes to in the units that hypervisors count in. */
export type FlavorSizes =
  | {
      readonly kind: "valid";
      readonly vcpus: number;
      readonly memoryMiB: number;
      readonly diskMiB: number;
      /** Absent when the flavor leaves it to the machine. */
      readonly maxVcpus?: number;
      readonly maxMemoryMiB?: number;
    }
  | { readonly kind: "invalid"; readonly message: string };

const MIB = 2 ** 20;

export const flavorSizes = ({ spec }: Flavor): FlavorSizes => {
  try {
    return {
      kind: "valid",
      vcpus: spec.vcpus,
      memoryMiB: wholeMiB("spec.memory", spec.memory),
      diskMiB: wholeMiB("spec.disk", spec.disk),
      ...(spec.maxVcpus !== undefined && { maxVcpus: spec.maxVcpus }),
      ...(spec.maxMemory !== undefined && { maxMemoryMiB: wholeMiB("spec.maxMemory", spec.maxMemory) }),
    };
  } catch (error) {
    if (error instanceof RangeError) return { kind: "invalid", message: error.message };
    throw error;
  }
};

/** The MiB of a quantity in a spec. Throws RangeError that names the field when it is no whole number of them. */
export const wholeMiB = (field: string, quantity: string): number => {
  const size = bytesOf(field, quantity) / MIB;
  if (!Number.isInteger(size) || size < 1)
    throw new RangeError(`${field}: "${quantity}" is not a whole number of MiB`);
  return size;
};

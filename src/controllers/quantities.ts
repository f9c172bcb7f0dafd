import { parseQuantity } from "../api/quantity.ts";

/**
 * The bytes of a quantity in a spec. Throws RangeError that names the field: the
 * API server lets through what is more than a number can count.
 */
export const bytesOf = (field: string, quantity: string): number => {
  try {
    return parseQuantity(quantity);
  } catch (error) {
    if (error instanceof RangeError) throw new RangeError(`${field}: ${error.message}`, { cause: error });
    throw error;
  }
};

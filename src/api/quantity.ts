const factors: Readonly<Record<string, number>> = {
  "": 1,
  k: 1e3,
  M: 1e6,
  G: 1e9,
  T: 1e12,
  Ki: 2 ** 10,
  Mi: 2 ** 20,
  Gi: 2 ** 30,
  Ti: 2 ** 40,
};

/**
 * The bytes of a quantity such as "512Mi" or "10G".
 * https://kubernetes.io/docs/reference/kubernetes-api/common-definitions/quantity/
 *
 * Throws RangeError on what src/api/fields.ts `quantity` would refuse, and on more than 8 PiB.
 */
export const parseQuantity = (text: string): number => {
  const match = /^([0-9]+)(Ki|Mi|Gi|Ti|k|M|G|T)?$/.exec(text);
  const factor = factors[match?.[2] ?? ""];
  if (match === null || factor === undefined)
    throw new RangeError(`"${text}" is not a quantity such as 512Mi or 10Gi`);
  const bytes = Number(match[1]) * factor;
  if (!Number.isSafeInteger(bytes)) throw new RangeError(`"${text}" is more than Vireo can count`);
  return bytes;
};

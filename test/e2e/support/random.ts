/** Reproducible choices: the same seed gives the same sequence. */
export interface Choices {
  /** A whole number from 0 to `below` - 1. */
  integer(below: number): number;
  oneOf<T>(values: readonly T[]): T;
}

/** A linear congruential generator with the constants of Numerical Recipes; good enough to choose victims. */
export const choicesFrom = (seed: number): Choices => {
  let state = seed >>> 0;
  const integer = (below: number): number => {
    state = (Math.imul(state, 1_664_525) + 1_013_904_223) >>> 0;
    return Math.floor((state / 2 ** 32) * below);
  };
  return {
    integer,
    oneOf: (values) => {
      const value = values[integer(values.length)];
      if (value === undefined) throw new RangeError("nothing to choose from");
      return value;
    },
  };
};

/** Whether two values of plain data are the same, however deep. */
export const isSame = (one: unknown, other: unknown): boolean => {
  if (one === other) return true;
  if (typeof one !== "object" || typeof other !== "object" || one === null || other === null) return false;
  if (Array.isArray(one)) {
    return (
      Array.isArray(other) &&
      one.length === other.length &&
      one.every((value, index) => isSame(value, other[index]))
    );
  }
  const [ours, theirs] = [one as Record<string, unknown>, other as Record<string, unknown>];
  const keys = Object.keys(ours);
  return keys.length === Object.keys(theirs).length && keys.every((key) => isSame(ours[key], theirs[key]));
};

/**
 * Makes something of each value, and gives the very same thing again for a
 * value that has not changed since the last call. A node has hundreds of
 * groups and guests, and a change concerns one of them.
 */
export const remembering = <Input, Output>(
  make: (input: Input) => Output,
): ((inputs: ReadonlyMap<string, Input>) => ReadonlyMap<string, Output>) => {
  let last: ReadonlyMap<string, { readonly input: Input; readonly output: Output }> = new Map();
  return (inputs) => {
    const next = new Map<string, { readonly input: Input; readonly output: Output }>();
    for (const [key, input] of inputs) {
      const known = last.get(key);
      next.set(
        key,
        known !== undefined && isSame(known.input, input) ? known : { input, output: make(input) },
      );
    }
    last = next;
    return new Map([...next].map(([key, { output }]) => [key, output]));
  };
};

/**
 * What the API server takes for a whole number: one that differs from it by a
 * billionth (go-openapi/swag, IsFloat64AJSONInteger). It stores the number as
 * it was sent, so that an integer field may hold 4503599627370495.5.
 */
const EPSILON = 1e-9;

const wholeNumber = (value: number): number => {
  const whole = Math.trunc(value);
  if (whole === 0 || whole === value) return value;
  return Math.abs(value - whole) / (Math.abs(value) + Math.abs(whole)) < EPSILON ? whole : value;
};

/** The same value with whole numbers where the API server sees some. Its numbers are all meant to be whole. */
export const withWholeNumbers = (value: unknown): unknown => {
  if (typeof value === "number") return wholeNumber(value);
  if (Array.isArray(value)) return value.map(withWholeNumbers);
  if (typeof value !== "object" || value === null) return value;
  return Object.fromEntries(Object.entries(value).map(([name, member]) => [name, withWholeNumbers(member)]));
};

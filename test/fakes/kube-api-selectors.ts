import { isObject, type Json } from "./kube-api-flat.ts";

/** "a=b,c!=d": the equality-based part of label and field selectors, and "a in (b,c)", "a", "!a". */
export type Matcher = (object: Json) => boolean;

export const parseFieldSelector = (text: string): Matcher => {
  const terms = splitTerms(text).map((term) =>
    equality(term, (object, path) => textOf(valueAt(object, path))),
  );
  return (object) => terms.every((matches) => matches(object));
};

export const parseLabelSelector = (text: string): Matcher => {
  const terms = splitTerms(text).map(labelTerm);
  return (object) => terms.every((matches) => matches(object));
};

/** At commas that are not within parentheses. */
const splitTerms = (text: string): string[] =>
  text
    .split(/,(?![^(]*\))/u)
    .map((term) => term.trim())
    .filter((term) => term !== "");

const labelTerm = (term: string): Matcher => {
  const set = /^(\S+)\s+(in|notin)\s+\(([^)]*)\)$/u.exec(term);
  if (set !== null) {
    const [, name = "", operator, list = ""] = set;
    const values = new Set(list.split(",").map((value) => value.trim()));
    return (object) => {
      const value = labelOf(object, name);
      return (value !== undefined && values.has(value)) === (operator === "in");
    };
  }
  if (term.includes("=")) return equality(term, (object, name) => labelOf(object, name) ?? "");
  if (term.startsWith("!")) return (object) => labelOf(object, term.slice(1)) === undefined;
  return (object) => labelOf(object, term) !== undefined;
};

const equality = (term: string, read: (object: Json, name: string) => string): Matcher => {
  const [, name = "", operator, value = ""] = /^([^!=]+)(!=|==?)(.*)$/u.exec(term) ?? [];
  return (object) => (read(object, name.trim()) === value.trim()) === (operator !== "!=");
};

const labelOf = (object: Json, name: string): string | undefined => {
  const labels = valueAt(object, "metadata.labels");
  const value = isObject(labels) ? labels[name] : undefined;
  return typeof value === "string" ? value : undefined;
};

const valueAt = (object: Json, path: string): unknown =>
  path.split(".").reduce<unknown>((value, name) => (isObject(value) ? value[name] : undefined), object);

/** As in a selector; what is no scalar matches nothing but "". */
const textOf = (value: unknown): string =>
  typeof value === "string" || typeof value === "number" || typeof value === "boolean" ? String(value) : "";

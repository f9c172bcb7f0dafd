import { z } from "zod";
import type { ValidationRule } from "./fields.ts";

/**
 * A schema as CustomResourceDefinitions allow it: OpenAPI 3.0 cut down to what
 * is "structural", with Kubernetes' own extensions.
 * https://kubernetes.io/docs/tasks/extend-kubernetes/custom-resources/custom-resource-definitions/#specifying-a-structural-schema
 */
export interface StructuralSchema {
  readonly description?: string;
  readonly type: "object" | "array" | "string" | "integer" | "boolean";
  readonly format?: string;
  readonly default?: unknown;
  readonly enum?: readonly string[];
  readonly minimum?: number;
  readonly maximum?: number;
  readonly minLength?: number;
  readonly maxLength?: number;
  readonly pattern?: string;
  readonly minItems?: number;
  readonly maxItems?: number;
  readonly maxProperties?: number;
  readonly items?: StructuralSchema;
  readonly required?: readonly string[];
  readonly properties?: Readonly<Record<string, StructuralSchema>>;
  readonly additionalProperties?: StructuralSchema;
  readonly [extension: `x-kubernetes-${string}`]: unknown;
}

/** A zod schema that no structural schema can say. */
export class NotStructuralError extends Error {
  override readonly name = "NotStructuralError";
  /** Where in the schema, for example "Image.spec.source". */
  readonly path: string;

  constructor(path: string, why: string) {
    super(`${path} has no structural schema: ${why}`);
    this.path = path;
  }
}

type JsonSchema = z.core.JSONSchema.BaseSchema;
/** What a schema says beyond its type. */
type Constraints = Omit<StructuralSchema, "type">;

const types = ["object", "array", "string", "integer", "boolean"] as const;

/**
 * zod's formats for strings. None becomes an OpenAPI `format`: where there is
 * one, the API server takes a list for the string
 * (test/api/parser-agreement.test.ts found it). The pattern of zod does the
 * same work, but where a user is to read the refusal, CEL has better words.
 */
const formats: Readonly<Record<string, { readonly pattern?: string; readonly rule?: ValidationRule }>> = {
  "date-time": {},
  uuid: {},
  ipv4: {
    pattern: "^[0-9.]+$",
    rule: { rule: "isIP(self)", message: "must be an IPv4 address such as 10.0.0.1" },
  },
  cidrv4: {
    pattern: "^[0-9.]+/[0-9]+$",
    rule: { rule: "isCIDR(self)", message: "must be an IPv4 network such as 10.0.0.0/24" },
  },
};

/** Constraints that mean the same on both sides and are carried over as they are. */
const carriedOver = [
  "default",
  "enum",
  "minimum",
  "maximum",
  "minLength",
  "maxLength",
  "minItems",
  "maxItems",
  "maxProperties",
  "required",
] as const;

const handled: ReadonlySet<string> = new Set([
  ...carriedOver,
  "description",
  "type",
  "format",
  "pattern",
  "items",
  "properties",
  "additionalProperties",
]);

/** Metadata for people that read the source, and definitions: what refers to them is refused where it does. */
const dropped: ReadonlySet<string> = new Set(["title", "examples", "id", "definitions"]);

const isExtension = (keyword: string): keyword is `x-kubernetes-${string}` =>
  keyword.startsWith("x-kubernetes-");

const isSchema = (value: unknown): value is JsonSchema => typeof value === "object" && value !== null;

/** Why a pattern may mean something else in RE2 (Go) than in JavaScript, or undefined. */
const incompatibility = (pattern: string): string | undefined => {
  if (/\(\?(?!:)/.test(pattern)) return "look-around, named groups and flags are not in RE2";
  if (/\\[1-9k]/.test(pattern)) return "back-references are not in RE2";
  if (/\\[sSwWbBpPuc]/.test(pattern)) return "name the characters: RE2 takes this class for ASCII only";
  const outsideClasses = pattern.replaceAll(/\\./g, "").replaceAll(/\[[^\]]*\]/g, "");
  if (outsideClasses.includes(".")) return "a dot stands for other characters in RE2";
  // ^a|b$ would leave one anchor to each alternative.
  const anchored = /^\^.*\$$/s.test(pattern) && !withoutGroups(outsideClasses).includes("|");
  return anchored ? undefined : "it must be anchored at both ends";
};

const withoutGroups = (pattern: string): string => {
  const shorter = pattern.replaceAll(/\([^()]*\)/g, "");
  return shorter === pattern ? pattern : withoutGroups(shorter);
};

const patternOf = (pattern: string, path: string): string => {
  const reason = incompatibility(pattern);
  if (reason !== undefined) throw new NotStructuralError(path, `the pattern ${pattern}: ${reason}`);
  // JavaScript's source escapes slashes; nothing else does.
  return pattern.replaceAll("\\/", "/");
};

const stringConstraints = (schema: JsonSchema, path: string): Constraints => {
  const known = schema.format === undefined ? {} : formats[schema.format];
  if (known === undefined) {
    throw new NotStructuralError(path, `the API server checks no format "${schema.format}"; give a pattern`);
  }
  const pattern = known.pattern ?? schema.pattern;
  const rules: unknown = schema["x-kubernetes-validations"];
  return {
    ...(pattern === undefined ? {} : { pattern: patternOf(pattern, path) }),
    ...(known.rule === undefined
      ? {}
      : { "x-kubernetes-validations": [known.rule, ...(Array.isArray(rules) ? rules : [])] }),
  };
};

const INT32 = 2 ** 31;

const integerConstraints = (schema: JsonSchema): Constraints => {
  const small = (schema.minimum ?? -Infinity) >= -INT32 && (schema.maximum ?? Infinity) < INT32;
  return { format: small ? "int32" : "int64" };
};

const refuseUnknownKeywords = (schema: JsonSchema, path: string): void => {
  if (schema.oneOf !== undefined || schema.anyOf !== undefined) {
    throw new NotStructuralError(
      path,
      'it is a union; make the members optional and add the rule "exactly one of" (exactlyOne in fields.ts)',
    );
  }
  if (schema.$ref !== undefined) throw new NotStructuralError(path, "it contains itself");
  for (const keyword of Object.keys(schema)) {
    if (handled.has(keyword) || dropped.has(keyword) || isExtension(keyword)) continue;
    throw new NotStructuralError(path, `${keyword} cannot be said in it`);
  }
};

const objectMembers = (schema: JsonSchema, path: string): Constraints => {
  const { properties, additionalProperties } = schema;
  if (properties !== undefined) {
    // strictObject says false: the API server refuses or prunes unknown fields anyway.
    if (additionalProperties !== undefined && additionalProperties !== false)
      throw new NotStructuralError(path, "it has both named members and any others");
    const members = Object.entries(properties);
    return {
      properties: Object.fromEntries(
        members.map(([name, member]) => [name, convert(member, `${path}.${name}`)]),
      ),
    };
  }
  if (!isSchema(additionalProperties)) throw new NotStructuralError(path, "it names no members");
  if (schema["x-kubernetes-validations"] === undefined)
    throw new NotStructuralError(path, "nothing checks the keys of a map; give a rule for them");
  return { additionalProperties: convert(additionalProperties, `${path}[*]`) };
};

const typeOf = (schema: JsonSchema, path: string): (typeof types)[number] => {
  const type = types.find((candidate) => candidate === schema.type);
  if (type !== undefined) return type;
  const found = String(schema.type ?? "anything");
  throw new NotStructuralError(path, `its type is ${found}, not one of ${types.join(", ")}`);
};

const constraintsOf = (schema: JsonSchema, path: string): Constraints => {
  switch (typeOf(schema, path)) {
    case "string":
      return stringConstraints(schema, path);
    case "integer":
      return integerConstraints(schema);
    case "array":
      if (!isSchema(schema.items) || Array.isArray(schema.items)) {
        throw new NotStructuralError(path, "its items have no one schema");
      }
      return { items: convert(schema.items, `${path}[]`) };
    case "object":
      return objectMembers(schema, path);
    case "boolean":
      return {};
  }
};

const convert = (schema: JsonSchema | boolean, path: string): StructuralSchema => {
  if (typeof schema === "boolean") throw new NotStructuralError(path, "it may be anything");
  const described = schema.description === undefined ? {} : { description: schema.description };
  refuseUnknownKeywords(schema, path);
  const entries = Object.entries(schema);
  return {
    ...described,
    // Named here for its place: readers of the CRD look for the type first.
    type: typeOf(schema, path),
    ...Object.fromEntries(entries.filter(([keyword]) => carriedOver.some((name) => name === keyword))),
    ...Object.fromEntries(entries.filter(([keyword]) => isExtension(keyword))),
    ...constraintsOf(schema, path),
  };
};

/**
 * The structural schema of what a user may write for a zod schema (its input,
 * before defaults).
 *
 * Throws NotStructuralError, which names the place under `path`, for what the
 * API server cannot check or would read differently.
 */
export const structuralSchema = (schema: z.ZodType, path: string): StructuralSchema => {
  const jsonSchema = z.toJSONSchema(schema, {
    target: "openapi-3.0",
    io: "input",
    // {} and $ref are refused below, with their path; zod would throw without one.
    unrepresentable: "any",
    cycles: "ref",
    reused: "inline",
  });
  return convert(jsonSchema, path);
};

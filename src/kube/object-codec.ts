import { ZodError, z } from "zod";
import type { KubernetesObject } from "../api/meta.ts";
import { apiVersionOf, type Resource } from "../api/resource.ts";
import { formatKey, keyOf, type ObjectKey } from "./object-key.ts";

/** An object as it came over the wire: known to be an object with a name, and no more. */
export interface RawObject {
  readonly metadata: RawMetadata;
  readonly [field: string]: unknown;
}

interface RawMetadata {
  readonly name: string;
  readonly namespace?: string | undefined;
  readonly uid?: string | undefined;
  readonly resourceVersion?: string | undefined;
  readonly [field: string]: unknown;
}

/** The object exists, but this program does not understand it: most likely the two are of different versions. */
export class ObjectParseError extends Error {
  override readonly name = "ObjectParseError";
  readonly key: ObjectKey;

  constructor(kind: string, key: ObjectKey, cause: unknown) {
    super(`${kind} ${formatKey(key)} does not fit its schema: ${explain(cause)}`, { cause });
    this.key = key;
  }
}

const explain = (cause: unknown): string => {
  if (cause instanceof ZodError) return z.prettifyError(cause).replaceAll(/\s*\n\s*/gu, " ");
  return cause instanceof Error ? cause.message : String(cause);
};

const rawObject = z.looseObject({
  metadata: z.looseObject({
    name: z.string().min(1),
    namespace: z.string().optional(),
    uid: z.string().optional(),
    resourceVersion: z.string().optional(),
  }),
});

/** Checks that this is an object with a name; undefined when it is not. */
export const asRawObject = (value: unknown): RawObject | undefined => {
  const result = rawObject.safeParse(value);
  return result.success ? result.data : undefined;
};

/**
 * Makes a wire object the typed value that the program works with: parsed,
 * deeply frozen, without managedFields (half of an object's size and of no use
 * here). Items of a list lack apiVersion and kind; they get them back.
 */
export const decodeObject = <T extends KubernetesObject>(resource: Resource<T>, raw: RawObject): T => {
  const { managedFields: _, ...metadata } = raw.metadata;
  const complete = { ...raw, apiVersion: apiVersionOf(resource), kind: resource.kind, metadata };
  try {
    return deepFreeze(resource.parse(complete));
  } catch (error) {
    throw new ObjectParseError(resource.kind, keyOf(raw), error);
  }
};

/** Freezes a tree of plain values in place and returns it. */
export const deepFreeze = <T>(value: T): T => {
  if (typeof value !== "object" || value === null || Object.isFrozen(value)) return value;
  Object.freeze(value);
  for (const member of Object.values(value)) deepFreeze(member);
  return value;
};

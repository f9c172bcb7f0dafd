import { readFile } from "node:fs/promises";
import { join } from "node:path";

import { parse } from "yaml";
import { z } from "zod";

import type { Resource } from "../../../src/api/resource.ts";
import type { JsonObject } from "../../api/support/manifests.ts";

const CRDS = join(import.meta.dirname, "../../../crds");

/** Steps from an object to one of its values; a number is an index. */
export type Path = readonly (string | number)[];

/** A place where a user may write something. */
export interface UserField {
  readonly path: Path;
  /** "value", or "key" for the key of a map whose keys are the user's. */
  readonly part: "value" | "key";
}

/** The part of a structural schema that tells where values are. */
interface Schema {
  readonly properties?: Readonly<Record<string, Schema>> | undefined;
  readonly additionalProperties?: Schema | undefined;
  readonly items?: Schema | undefined;
}

const schema: z.ZodType<Schema> = z.object({
  properties: z.lazy(() => z.record(z.string(), schema)).optional(),
  additionalProperties: z.lazy(() => schema).optional(),
  items: z.lazy(() => schema).optional(),
});

const crd = z.object({
  spec: z.object({
    versions: z.tuple([
      z.object({
        schema: z.object({ openAPIV3Schema: z.object({ properties: z.object({ spec: schema }) }) }),
      }),
    ]),
  }),
});

/** Stands for whatever key the valid manifest has. */
const ANY_KEY = "example.com/disk";

const leavesOf = ({ properties, additionalProperties, items }: Schema, path: Path): UserField[] => {
  if (properties !== undefined) {
    return Object.entries(properties).flatMap(([name, member]) => leavesOf(member, [...path, name]));
  }
  if (items !== undefined) return leavesOf(items, [...path, 0]);
  if (additionalProperties !== undefined) {
    return [{ path: [...path, ANY_KEY], part: "key" }, ...leavesOf(additionalProperties, [...path, ANY_KEY])];
  }
  return [{ path, part: "value" }];
};

const metadataFields: readonly UserField[] = [
  { path: ["metadata", "name"], part: "value" },
  { path: ["metadata", "labels", ANY_KEY], part: "value" },
  { path: ["metadata", "labels", ANY_KEY], part: "key" },
  { path: ["metadata", "annotations", ANY_KEY], part: "value" },
  { path: ["metadata", "annotations", ANY_KEY], part: "key" },
];

/** Every place of a kind where its schema lets a user write, and those of metadata. */
export const userFieldsOf = async ({ group, plural }: Resource): Promise<readonly UserField[]> => {
  const text = await readFile(join(CRDS, `${group}_${plural}.yaml`), "utf8");
  const { spec } = crd.parse(parse(text)).spec.versions[0].schema.openAPIV3Schema.properties;
  return [...metadataFields, ...leavesOf(spec, ["spec"])];
};

/** "spec.networks[0].name" */
export const fieldName = ({ path, part }: UserField): string =>
  path.reduce<string>(
    (text, step) =>
      typeof step === "number" ? `${text}[${step}]` : `${text}${text === "" ? "" : "."}${step}`,
    "",
  ) + (part === "key" ? " (key)" : "");

type Container = Record<string | number, unknown>;

const isContainer = (value: unknown): value is Container => typeof value === "object" && value !== null;

/** A copy of the manifest with `value` in that place; what is missing on the way there is made. */
export const withField = (manifest: JsonObject, { path, part }: UserField, value: string): JsonObject => {
  const copy: JsonObject = structuredClone(manifest);
  const last = path.at(-1) ?? "";
  let container: Container = copy;
  for (const [index, step] of path.slice(0, -1).entries()) {
    const next = container[step];
    const empty: unknown = typeof path[index + 1] === "number" ? [] : {};
    container[step] = isContainer(next) ? next : empty;
    container = container[step] as Container;
  }
  if (part === "key") {
    delete container[last];
    container[value] = "x";
  } else container[last] = value;
  return copy;
};

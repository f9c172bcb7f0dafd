import { describe, expect, test } from "@jest/globals";

import { customResourceDefinition } from "../../../src/api/crd.ts";
import { addressSlices } from "../../../src/api/address-slice.ts";
import { kinds } from "../../../src/api/index.ts";
import type { CustomResource } from "../../../src/api/kind.ts";
import type { StructuralSchema } from "../../../src/api/structural-schema.ts";

interface Place {
  readonly path: string;
  readonly schema: StructuralSchema;
}

const places = (path: string, schema: StructuralSchema): readonly Place[] => [
  { path, schema },
  ...Object.entries(schema.properties ?? {}).flatMap(([name, member]) => places(`${path}.${name}`, member)),
  ...(schema.items === undefined ? [] : places(`${path}[]`, schema.items)),
  ...(schema.additionalProperties === undefined ? [] : places(`${path}[*]`, schema.additionalProperties)),
];

/** Every place below spec and status. */
const placesOf = (resource: CustomResource): readonly Place[] => {
  const [version] = customResourceDefinition(resource).spec.versions;
  const { spec, status } = version.schema.openAPIV3Schema.properties ?? {};
  if (spec === undefined || status === undefined) throw new Error("neither spec nor status");
  return [...places("spec", spec), ...places("status", status)];
};

const SENTENCE = /^[A-Za-z"].*\.$/s;

/** The entries of a list or map are described with it. */
const isItem = (path: string): boolean => path.endsWith("[]") || path.endsWith("[*]");

describe.each(kinds.map((kind) => [kind.kind, kind] as const))("the CRD of %s", (_kind, resource) => {
  test("is named as the API server demands", () => {
    const { metadata, spec } = customResourceDefinition(resource);
    expect(metadata.name).toBe(`${spec.names.plural}.${spec.group}`);
    expect(spec.names.plural).toBe(resource.plural);
    expect(spec.names.categories).toEqual(["vireo"]);
  });

  test("describes every field, in sentences", () => {
    const undescribed = placesOf(resource)
      .filter(({ path, schema }) => !isItem(path) && !SENTENCE.test(schema.description ?? ""))
      .map(({ path }) => path);
    expect(undescribed).toEqual([]);
  });

  test.each<[string, (schema: StructuralSchema) => boolean]>([
    [
      "bounds every string",
      (schema) => schema.type === "string" && schema.enum === undefined && schema.maxLength === undefined,
    ],
    [
      "bounds every number at both ends",
      ({ type, minimum, maximum }) => type === "integer" && (minimum === undefined || maximum === undefined),
    ],
    ["bounds every list", ({ type, maxItems }) => type === "array" && maxItems === undefined],
    [
      "bounds every map",
      (schema) => schema.additionalProperties !== undefined && schema.maxProperties === undefined,
    ],
    [
      "says of every list how two writers share it",
      (schema) => schema.type === "array" && schema["x-kubernetes-list-type"] === undefined,
    ],
    [
      "gives no format to a string, under which the API server would take a list for it",
      (schema) => schema.type === "string" && schema.format !== undefined,
    ],
  ])("%s", (_sentence, isWrong) => {
    const wrong = placesOf(resource).filter(({ schema }) => isWrong(schema));
    expect(wrong.map(({ path }) => path)).toEqual([]);
  });

  test("keeps the conditions of several writers apart", () => {
    const { schema } = placesOf(resource).find(({ path }) => path === "status.conditions") ?? {};
    expect(schema?.["x-kubernetes-list-map-keys"]).toEqual(resource === addressSlices ? undefined : ["type"]);
  });

  test("shows the age, and Ready unless it is for Vireo itself", () => {
    const [{ additionalPrinterColumns, subresources }] = customResourceDefinition(resource).spec.versions;
    expect(additionalPrinterColumns.map(({ name }) => name)).toEqual(
      expect.arrayContaining(resource === addressSlices ? ["AGE"] : ["READY", "AGE"]),
    );
    expect(subresources).toEqual({ status: {} });
  });
});

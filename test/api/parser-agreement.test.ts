import { afterAll, beforeAll, describe, expect, test } from "@jest/globals";
import fc from "fast-check";
import type { z } from "zod";

import { kinds } from "../../src/api/index.ts";
import type { CustomResource } from "../../src/api/kind.ts";
import { withWholeNumbers } from "../../src/api/whole-numbers.ts";
import { APPLY_PATCH, refusalOf, type Reply } from "./support/api-client.ts";
import { create, startTestCluster, type TestCluster } from "./support/cluster.ts";
import { type Json, type JsonObject, mergePatch, validManifest, validStatus } from "./support/manifests.ts";

/**
 * What the API server takes, Vireo can read: an object that is stored but not
 * understood would block its controller for good. And both fill the same defaults.
 *
 * Values are good ones of the same field, changed a little, so that many of
 * them come close to what is allowed.
 */

let cluster: TestCluster;

beforeAll(async () => {
  cluster = await startTestCluster();
});

afterAll(() => cluster.stop());

/** What tends to be read differently by JavaScript and by Go. */
const awkward = fc.constantFrom(
  "",
  "\n",
  "\u000b",
  "\u00a0",
  "\u2028",
  "\u0000",
  "é",
  "😀",
  "\ud800",
  "/",
  "..",
  "0",
  "-",
  ".",
  "::ffff:10.0.0.1",
  "9".repeat(20),
  "😀".repeat(40_000),
  "a".repeat(64),
);

const changedText = (text: string): fc.Arbitrary<string> =>
  fc.oneof(
    { weight: 4, arbitrary: fc.constant(text) },
    {
      weight: 2,
      arbitrary: fc
        .tuple(fc.nat(text.length), fc.nat(2), awkward)
        .map(([at, removed, added]) => text.slice(0, at) + added + text.slice(at + removed)),
    },
    { weight: 1, arbitrary: fc.string({ unit: "binary", maxLength: 70 }) },
    { weight: 1, arbitrary: awkward },
  );

const anyValue = fc.constantFrom<Json>(
  null,
  true,
  0,
  -1,
  1.5,
  2 ** 53,
  1e300,
  "",
  [],
  {},
  [null],
  ["a", "a"],
);

/** A value like this one: itself, or with one thing in it changed, or something else altogether. */
const near = (value: Json | undefined): fc.Arbitrary<Json> => {
  if (typeof value === "string") return fc.oneof({ weight: 9, arbitrary: changedText(value) }, anyValue);
  if (typeof value === "number") {
    const around = fc.integer({ min: -1, max: 1 }).map((step) => value + step);
    return fc.oneof({ weight: 9, arbitrary: around }, fc.double({ noNaN: true }), anyValue);
  }
  if (Array.isArray(value)) {
    const list = value as readonly Json[];
    const items = fc.constantFrom<Json>(...(list.length === 0 ? ["a"] : list)).chain((one) =>
      fc.oneof(
        near(one).map((item) => [item]),
        near(one).map((item) => [one, item]),
        fc.constantFrom([], [one, one]),
      ),
    );
    return fc.oneof({ weight: 9, arbitrary: items }, anyValue);
  }
  if (typeof value === "object" && value !== null) {
    return fc.oneof({ weight: 9, arbitrary: nearObject(value as JsonObject) }, anyValue);
  }
  return fc.oneof(fc.constant(value ?? null), anyValue);
};

/** One member changed or left out: more changes would hide each other. */
const nearObject = (value: JsonObject): fc.Arbitrary<JsonObject> =>
  fc
    .constantFrom(...Object.keys(value))
    .chain((name) => near(value[name]).map((member) => mergePatch(value, { [name]: member })));

const specOf = (resource: CustomResource): JsonObject => {
  const { spec } = validManifest(resource, "a");
  return spec as JsonObject;
};

/** The object as the API server would store it, or undefined when it refuses. */
const stored = (reply: Reply): { readonly spec?: unknown; readonly status?: unknown } | undefined =>
  refusalOf(reply) === undefined ? (reply.body as object) : undefined;

const storeSpec = async (resource: CustomResource, spec: Json): Promise<unknown> => {
  const reply = await cluster.administrator.call({
    method: "POST",
    path: `${cluster.pathOf(resource)}?dryRun=All`,
    body: { ...validManifest(resource, "near"), spec },
  });
  return stored(reply)?.spec;
};

const nameOf = (resource: CustomResource): string => `${cluster.namespace}-${resource.definition.singular}`;

const storeStatus = async (resource: CustomResource, status: Json): Promise<unknown> => {
  const reply = await cluster.administrator.call({
    method: "PATCH",
    path: `${cluster.pathOf(resource, nameOf(resource))}/status?dryRun=All&fieldManager=test`,
    contentType: APPLY_PATCH,
    body: { ...validManifest(resource, nameOf(resource)), status },
  });
  return stored(reply)?.status;
};

/** What the parser says against what the API server took. */
const complaintOf = (schema: z.ZodType, value: unknown): string | undefined =>
  value === undefined ? undefined : schema.safeParse(withWholeNumbers(value)).error?.message;

describe.each(kinds.map((kind) => [kind.kind, kind] as const))("a %s", (_kind, resource) => {
  const { definition } = resource;

  beforeAll(() => create(cluster, resource, validManifest(resource, nameOf(resource))));

  afterAll(() =>
    cluster.administrator.call({ method: "DELETE", path: cluster.pathOf(resource, nameOf(resource)) }),
  );

  test("whose spec the API server takes is understood", async () => {
    await fc.assert(
      fc.asyncProperty(nearObject(specOf(resource)), async (spec) => {
        expect(complaintOf(definition.spec, await storeSpec(resource, spec))).toBeUndefined();
      }),
      { numRuns: 250 },
    );
  });

  test("whose status the API server takes is understood, whoever wrote it", async () => {
    const status = validStatus(resource);
    const statuses = Object.keys(status).length === 0 ? fc.constant(status) : nearObject(status);
    await fc.assert(
      fc.asyncProperty(statuses, async (changed) => {
        expect(complaintOf(definition.status, await storeStatus(resource, changed))).toBeUndefined();
      }),
      { numRuns: 250 },
    );
  });

  test("keeps every field of its status", async () => {
    const status = validStatus(resource);
    expect(await storeStatus(resource, status)).toEqual(status);
    expect(definition.status.parse(status)).toEqual(status);
  });

  test("has the same defaults in the parser as in the API server", async () => {
    const complete = specOf(resource);
    expect(await storeSpec(resource, complete)).toEqual(complete);
    for (const name of Object.keys(complete)) {
      const { [name]: _, ...spec } = complete;
      const filled = await storeSpec(resource, spec);
      // Refused: the member is required, which the table of refusals covers.
      if (filled !== undefined) expect(definition.spec.parse(spec)).toEqual(filled);
    }
  });
});

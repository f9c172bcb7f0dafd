import { describe, expect, test } from "@jest/globals";
import fc from "fast-check";
import { backoffDelay } from "../../../src/kube/backoff.ts";
import { leases } from "../../../src/kube/builtin.ts";
import { microTime } from "../../../src/kube/micro-time.ts";
import { decodeObject, deepFreeze } from "../../../src/kube/object-codec.ts";
import { formatKey, keyOf, parseKey } from "../../../src/kube/object-key.ts";
import { collectionPath, objectPath, withQuery } from "../../../src/kube/resource-path.ts";
import { isAtLeast } from "../../../src/kube/resource-version.ts";
import { configMaps, customResourceDefinitions, widgets } from "../../fakes/widgets.ts";

describe("keys", () => {
  const name = fc.stringMatching(/^[a-z0-9.-]{1,20}$/u);

  test("a key survives being written and read", () => {
    const key = fc.oneof(
      name.map((n) => ({ name: n })),
      fc.record({ namespace: name, name }),
    );
    fc.assert(fc.property(key, (given) => expect(parseKey(formatKey(given))).toEqual(given)));
  });

  test("the key of an object is its namespace and name", () => {
    expect(keyOf({ metadata: { namespace: "shop", name: "web" } })).toEqual({
      namespace: "shop",
      name: "web",
    });
    expect(formatKey(keyOf({ metadata: { name: "node-1" } }))).toBe("node-1");
  });
});

describe("backoffDelay", () => {
  test("doubles from the first failure up to the most, and at least half of it is certain", () => {
    const backoff = { initialMs: 100, maxMs: 1000 };
    expect([1, 2, 3, 4, 5, 500].map((failures) => backoffDelay(failures, backoff, () => 0))).toEqual([
      50, 100, 200, 400, 500, 500,
    ]);
    expect(backoffDelay(3, backoff, () => 0.5)).toBe(300);
  });
});

describe("isAtLeast", () => {
  test("orders versions as the numbers that they are, beyond what a double holds", () => {
    fc.assert(
      fc.property(fc.bigInt({ min: 0n, max: 2n ** 70n }), fc.bigInt({ min: 0n, max: 2n ** 70n }), (a, b) => {
        expect(isAtLeast(String(a), String(b))).toBe(a >= b);
      }),
    );
  });
});

describe("paths", () => {
  test.each([
    ["all objects of a group", collectionPath(widgets), "/apis/test.vireo.dev/v1/widgets"],
    [
      "those of a namespace",
      collectionPath(widgets, "shop"),
      "/apis/test.vireo.dev/v1/namespaces/shop/widgets",
    ],
    ["the core group", collectionPath(configMaps, "shop"), "/api/v1/namespaces/shop/configmaps"],
    [
      "a cluster-scoped object",
      objectPath(customResourceDefinitions, { name: "a.b" }),
      "/apis/apiextensions.k8s.io/v1/customresourcedefinitions/a.b",
    ],
    [
      "a subresource",
      objectPath(widgets, { namespace: "shop", name: "web" }, "status"),
      "/apis/test.vireo.dev/v1/namespaces/shop/widgets/web/status",
    ],
    [
      "a hostile name stays one segment",
      objectPath(widgets, { namespace: "../x", name: "a/../../b?c=d#e%2f" }),
      "/apis/test.vireo.dev/v1/namespaces/..%2Fx/widgets/a%2F..%2F..%2Fb%3Fc%3Dd%23e%252f",
    ],
    [
      "a query leaves out what is undefined",
      withQuery("/x", { a: undefined, b: "1&2", c: true }),
      "/x?b=1%262&c=true",
    ],
    ["no query, no question mark", withQuery("/x", { a: undefined }), "/x"],
  ])("%s", (_sentence, actual, expected) => expect(actual).toBe(expected));

  test.each([
    ["a namespaced kind without a namespace", () => objectPath(widgets, { name: "web" })],
    ["a cluster-scoped kind with one", () => collectionPath(customResourceDefinitions, "shop")],
    ["no name", () => objectPath(widgets, { namespace: "shop", name: "" })],
    ["a name that a proxy would resolve", () => objectPath(widgets, { namespace: "shop", name: ".." })],
    ["a namespace that a proxy would resolve", () => objectPath(widgets, { namespace: "..", name: "web" })],
  ])("%s is refused before anything is sent", (_sentence, make) => expect(make).toThrow(TypeError));
});

describe("decodeObject", () => {
  const metadata = { name: "web", namespace: "shop", uid: "u", resourceVersion: "1", creationTimestamp: "t" };

  test("fills in what items of lists lack, drops managedFields, freezes all of it", () => {
    const raw = { metadata: { ...metadata, managedFields: [{}], labels: { a: "b" } }, spec: { size: 1 } };
    const object = decodeObject(widgets, raw);
    expect(object).toEqual({
      apiVersion: "test.vireo.dev/v1",
      kind: "Widget",
      metadata: { ...metadata, labels: { a: "b" } },
      spec: { size: 1 },
    });
    expect([object, object.metadata, object.metadata.labels, object.spec].every(Object.isFrozen)).toBe(true);
  });

  test("an object that does not fit is named, and so is the field", () => {
    const plaid = { metadata, spec: { color: "plaid" } };
    expect(() => decodeObject(widgets, plaid)).toThrow(
      /^Widget shop\/web does not fit its schema: .*spec\.color/u,
    );
  });

  test("freezing ends on shared and frozen parts", () => {
    const shared = { a: [1] };
    const tree = deepFreeze({ left: shared, right: shared, text: "x", nothing: null });
    expect(Object.isFrozen(tree.right.a)).toBe(true);
  });

  test("a Lease without a spec has an empty one", () => {
    expect(decodeObject(leases, { metadata }).spec).toEqual({});
  });
});

test("microTime has the six digits that the API server insists on", () => {
  expect(microTime(Date.UTC(2026, 0, 2, 3, 4, 5, 67))).toBe("2026-01-02T03:04:05.067000Z");
});

import { describe, expect, test } from "@jest/globals";
import fc from "fast-check";
import { ObjectCache, UnreadableObjectError, type Change } from "../../../src/kube/object-cache.ts";
import { decodeObject, type RawObject } from "../../../src/kube/object-codec.ts";
import { formatKey } from "../../../src/kube/object-key.ts";
import { StalledError } from "../../../src/kube/reconcile-error.ts";
import { widgets, type Widget } from "../../fakes/widgets.ts";

const raw = (name: string, version: number, color = "red"): RawObject => ({
  metadata: {
    name,
    namespace: "shop",
    uid: `uid-${name}`,
    resourceVersion: String(version),
    creationTimestamp: "t",
  },
  spec: { color },
});

const createCache = (): ObjectCache<Widget> =>
  new ObjectCache({
    decode: (object) => decodeObject(widgets, object),
    indexes: { color: (object) => (object.spec?.color === undefined ? [] : [object.spec.color]) },
  });

const key = (name: string) => ({ namespace: "shop", name });
const names = (objects: readonly Widget[]): string[] => objects.map(({ metadata }) => metadata.name).sort();

const cacheWithUnreadable = (): { cache: ObjectCache<Widget>; change: Change<Widget> | undefined } => {
  const cache = createCache();
  cache.replace([raw("a", 1), raw("b", 2)]);
  return { cache, change: cache.upsert(raw("a", 3, "plaid")) };
};

describe("ObjectCache", () => {
  test("a version that is known already is no change", () => {
    const cache = createCache();
    expect(cache.upsert(raw("a", 1))).toMatchObject({ key: key("a"), after: { spec: { color: "red" } } });
    expect(cache.upsert(raw("a", 1))).toBeUndefined();
    expect(cache.remove(key("b"))).toBeUndefined();
  });

  test("list() is the same array until something changes, and cannot be changed", () => {
    const cache = createCache();
    cache.upsert(raw("a", 1));
    const before = cache.list();
    expect(cache.list()).toBe(before);
    expect(Object.isFrozen(before)).toBe(true);
    cache.upsert(raw("a", 2, "blue"));
    expect(cache.list()).not.toBe(before);
  });

  test("an index follows its objects", () => {
    const cache = createCache();
    cache.replace([raw("a", 1, "red"), raw("b", 2, "blue")]);
    cache.upsert(raw("a", 3, "blue"));
    expect(names(cache.byIndex("color", "red"))).toEqual([]);
    expect(names(cache.byIndex("color", "blue"))).toEqual(["a", "b"]);
    cache.remove(key("b"));
    expect(names(cache.byIndex("color", "blue"))).toEqual(["a"]);
  });

  test("an index that was not declared is a mistake, not an empty answer", () => {
    expect(() => createCache().byIndex("size", "1")).toThrow("no index named size; there are: color");
  });

  describe("an object that does not fit its schema", () => {
    test("is reported as unreadable, with what it was before", () => {
      const { change } = cacheWithUnreadable();
      expect(change).toMatchObject({ key: key("a"), unreadable: true, before: { spec: { color: "red" } } });
      expect(change?.after).toBeUndefined();
    });

    test("is left out of lists and indexes, named by unreadable(), and get() throws what stalls a reconcile", () => {
      const { cache } = cacheWithUnreadable();
      expect(names(cache.list())).toEqual(["b"]);
      expect(names(cache.byIndex("color", "red"))).toEqual(["b"]);
      expect(cache.unreadable()).toEqual([
        { key: key("a"), uid: "uid-a", resourceVersion: "3", message: expect.stringContaining("spec.color") },
      ]);
      expect(() => cache.get(key("a"))).toThrow(UnreadableObjectError);
      expect(() => cache.get(key("a"))).toThrow(StalledError);
      expect([cache.size, cache.unreadableCount]).toEqual([1, 1]);
    });

    test("the same version again is no change, a relist neither", () => {
      const { cache } = cacheWithUnreadable();
      expect(cache.upsert(raw("a", 3, "plaid"))).toBeUndefined();
      expect(cache.replace([raw("a", 3, "plaid"), raw("b", 2)])).toEqual([]);
    });

    test("is an ordinary object again once it fits, and its deletion is one", () => {
      const { cache } = cacheWithUnreadable();
      expect(cache.upsert(raw("a", 4, "green"))).toMatchObject({
        unreadable: false,
        before: { spec: { color: "red" } },
      });
      expect(names(cache.byIndex("color", "green"))).toEqual(["a"]);
      cache.upsert(raw("a", 5, "plaid"));
      expect(cache.remove(key("a"))).toMatchObject({
        unreadable: false,
        before: { spec: { color: "green" } },
      });
      expect(cache.unreadable()).toEqual([]);
      expect(cache.get(key("a"))).toBeUndefined();
    });
  });

  test("whatever comes in whatever order, cache and indexes equal a plain map, and changes tell the difference", () => {
    const name = fc.constantFrom("a", "b", "c", "d");
    const color = fc.constantFrom("red", "green", "blue", "plaid");
    const step = fc.oneof(
      fc.record({ kind: fc.constant("upsert" as const), name, color }),
      fc.record({ kind: fc.constant("remove" as const), name }),
      fc.record({ kind: fc.constant("replace" as const), all: fc.dictionary(name, color) }),
    );
    fc.assert(
      fc.property(fc.array(step, { maxLength: 40 }), (steps) => {
        const cache = createCache();
        const model = new Map<string, string>();
        const told = new Map<string, string>();
        let version = 0;
        const hear = (change: Change<Widget> | undefined): void => {
          if (change === undefined) return;
          const id = formatKey(change.key);
          if (change.unreadable) told.set(id, "plaid");
          else if (change.after === undefined) told.delete(id);
          else told.set(id, change.after.spec?.color ?? "");
        };
        for (const next of steps) {
          version += 1;
          if (next.kind === "upsert") {
            model.set(`shop/${next.name}`, next.color);
            hear(cache.upsert(raw(next.name, version, next.color)));
          } else if (next.kind === "remove") {
            model.delete(`shop/${next.name}`);
            hear(cache.remove(key(next.name)));
          } else {
            model.clear();
            for (const [id, shade] of Object.entries(next.all)) model.set(`shop/${id}`, shade);
            const items = Object.entries(next.all).map(([id, shade]) => raw(id, version, shade));
            for (const change of cache.replace(items)) hear(change);
          }
        }
        const readable = [...model].filter(([, shade]) => shade !== "plaid");
        expect(
          new Map(cache.list().map((object) => [`shop/${object.metadata.name}`, object.spec?.color])),
        ).toEqual(new Map(readable));
        for (const shade of ["red", "green", "blue"])
          expect(names(cache.byIndex("color", shade))).toEqual(
            readable
              .filter(([, is]) => is === shade)
              .map(([id]) => id.slice(5))
              .sort(),
          );
        expect(
          cache
            .unreadable()
            .map((object) => formatKey(object.key))
            .sort(),
        ).toEqual(
          [...model]
            .filter(([, shade]) => shade === "plaid")
            .map(([id]) => id)
            .sort(),
        );
        expect(told).toEqual(model);
      }),
    );
  });
});

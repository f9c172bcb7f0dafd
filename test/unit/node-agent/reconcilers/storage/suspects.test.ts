import { describe, expect, test } from "@jest/globals";
import type { OwnObjects } from "../../../../../src/node-agent/own-objects.ts";
import { suspectsOf } from "../../../../../src/node-agent/reconcilers/storage/reconcile-disk.ts";
import type { FoundDisk } from "../../../../../src/node-agent/volumes/types.ts";

type Kind = keyof OwnObjects;
const kinds: readonly Kind[] = ["machines", "volumes", "snapshots", "restores", "images"];

/** Objects by kind and UID: those that name this node, and those that name others. */
const world = (here: Partial<Record<Kind, string>>, elsewhere: Partial<Record<Kind, string>> = {}) => {
  let lists = 0;
  const objects = Object.fromEntries(
    kinds.map((kind) => [
      kind,
      {
        get: (uid: string) => (here[kind] === uid ? { metadata: { uid } } : undefined),
        uidsInCluster: async () => {
          lists += 1;
          return new Set([here[kind], elsewhere[kind]]);
        },
      },
    ]),
  );
  return { objects: objects as unknown as OwnObjects, lists: () => lists };
};

const found = (kind: "root" | "volume", uid: string, more: Partial<FoundDisk> = {}): FoundDisk => ({
  ref: { pool: "local", kind, uid },
  state: "ready",
  snapshots: [],
  usedBytes: 0,
  ...more,
});
const frozen = (uid: string) => ({
  snapshots: [{ uid, virtualSizeBytes: 1, usedBytes: 1, memoryBytes: 0 }],
});

const { signal } = new AbortController();

describe("what a sweep has looked at", () => {
  test.each<[string, FoundDisk, ReturnType<typeof world>, boolean]>([
    ["not the disk of a machine of this node", found("root", "m"), world({ machines: "m" }), false],
    [
      "not a snapshot of this node",
      found("root", "m", frozen("s")),
      world({ machines: "m", snapshots: "s" }),
      false,
    ],
    ["the disk of a machine that is nowhere", found("root", "m"), world({}), true],
    ["the disk of a Volume that is nowhere", found("volume", "v"), world({}), true],
    ["not another node's disk in a shared pool", found("volume", "v"), world({}, { volumes: "v" }), false],
    [
      "not another node's snapshot",
      found("root", "m", frozen("s")),
      world({ machines: "m" }, { snapshots: "s" }),
      false,
    ],
    ["a frozen state that nobody knows", found("root", "m", frozen("s")), world({ machines: "m" }), true],
    [
      "what was frozen for a copy that is of this node, and may be there by now",
      found("root", "m", frozen("v")),
      world({ machines: "m", volumes: "v" }),
      true,
    ],
    [
      "a merge that was begun",
      found("root", "m", { pending: { kind: "merge" } }),
      world({ machines: "m" }),
      true,
    ],
    [
      "not a merge that another node has begun in a shared pool",
      found("root", "m", { pending: { kind: "merge" } }),
      world({}, { machines: "m" }),
      false,
    ],
    [
      "not what is retained",
      found("volume", "v", { state: "kept", retained: { namespace: "default", name: "v" } }),
      world({}),
      false,
    ],
    ["not what is damaged", found("volume", "v", { state: "damaged" }), world({}), false],
  ])("%s", async (_, disk, { objects }, expected) => {
    expect(await suspectsOf([disk], objects, { signal })).toEqual(expected ? [disk] : []);
  });

  test("costs one list of each kind, however many disks there are, and none when all is explained", async () => {
    const { objects, lists } = world({ machines: "m" });
    await suspectsOf([found("root", "m")], objects, { signal });
    expect(lists()).toBe(0);
    const strangers = Array.from({ length: 50 }, (_, index) => found("volume", `v${index}`));
    expect(await suspectsOf(strangers, objects, { signal })).toHaveLength(50);
    expect(lists()).toBe(4);
  });
});

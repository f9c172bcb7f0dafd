import { describe, expect, test } from "@jest/globals";
import fc from "fast-check";
import { childrenOf, isNamed, pathDown } from "../../../../src/node-agent/volumes/layers.ts";
import { planMerge } from "../../../../src/node-agent/volumes/plan.ts";
import {
  type DiskRecord,
  newRecord,
  parseRecord,
  type PendingMerge,
} from "../../../../src/node-agent/volumes/record.ts";
import * as transitions from "../../../../src/node-agent/volumes/transitions.ts";

const uidOf = (number: number): string => `00000000-0000-4000-8000-${String(number).padStart(12, "0")}`;
const [one, two, three] = [uidOf(1), uidOf(2), uidOf(3)] as const;

const diskWith = (change: Partial<DiskRecord>): DiskRecord => ({
  ...transitions.made(newRecord({}), "base"),
  ...change,
});

/** base <- one <- two <- three, of which three is the head. */
const chain = diskWith({
  layers: [
    { name: "base" },
    { name: one, parent: "base" },
    { name: two, parent: one },
    { name: three, parent: two },
  ],
  head: three,
});
const frozen = (uid: string, layer: string) => ({ uid, layer, hasMemory: false });
const running = { isRunning: true };
const off = { isRunning: false };

describe("planMerge", () => {
  test("has nothing to do for one layer", () => {
    expect(planMerge(diskWith({}), off)).toBeUndefined();
  });

  test("keeps what snapshots froze", () => {
    const snapshots = [frozen(one, "base"), frozen(two, one), frozen(three, two)];
    expect(planMerge({ ...chain, snapshots }, off)).toBeUndefined();
  });

  test("takes a whole run into the head at once, by rebase when the guest is off", () => {
    const merge = { kind: "merge", how: "rebase", top: three, run: [two, one, "base"], base: undefined };
    expect(planMerge(chain, off)).toEqual(merge);
  });

  test("pulls into the head of a running guest, down to what a snapshot needs", () => {
    const merge = { kind: "merge", how: "pull", top: three, run: [two, one], base: "base" };
    expect(planMerge({ ...chain, snapshots: [frozen(one, "base")] }, running)).toEqual(merge);
  });

  test("commits a middle layer of a running guest's chain down", () => {
    const merge = { kind: "merge", how: "commit", top: two, run: [one, "base"], base: undefined };
    expect(planMerge({ ...chain, snapshots: [frozen(three, two)] }, running)).toEqual(merge);
  });

  test("rebases a branch that the running guest has not open", () => {
    const branch = diskWith({
      layers: [
        { name: "base" },
        { name: one, parent: "base" },
        { name: two, parent: one },
        { name: three, parent: "base" },
      ],
      head: three,
      snapshots: [frozen(uidOf(8), two), frozen(uidOf(9), "base")],
    });
    const merge = { kind: "merge", how: "rebase", top: two, run: [one], base: "base" };
    expect(planMerge(branch, running)).toEqual(merge);
  });

  test("deletes a layer that nothing stands on before it merges", () => {
    const record = { ...chain, layers: [...chain.layers, { name: uidOf(4), parent: one }] };
    expect(planMerge(record, off)).toEqual({ kind: "delete", layer: uidOf(4) });
  });

  test("keeps a layer that two needed ones stand on", () => {
    const fork = diskWith({
      layers: [{ name: "base" }, { name: one, parent: "base" }, { name: two, parent: "base" }],
      head: one,
      snapshots: [frozen(three, two)],
    });
    expect(planMerge(fork, off)).toBeUndefined();
  });

  test("deletes layer after layer of a disk without head and snapshots", () => {
    expect(planMerge({ ...chain, head: undefined }, off)).toEqual({ kind: "delete", layer: three });
  });

  test("goes on with the merge that was begun, and waits for anything else that was", () => {
    const merge: PendingMerge = { kind: "merge", how: "rebase", top: three, run: [two, one, "base"] };
    expect(planMerge({ ...chain, pending: merge }, running)).toEqual(merge);
    expect(planMerge(transitions.freezeBegun(chain, uidOf(5), false), off)).toBeUndefined();
  });
});

/** What is written in each layer, and the disk as it is to look: the oracle. */
interface Model {
  readonly record: DiskRecord;
  readonly written: ReadonlyMap<string, ReadonlyMap<number, number>>;
  readonly disk: ReadonlyMap<number, number>;
  readonly snapshots: ReadonlyMap<string, ReadonlyMap<number, number>>;
}

const newModel: Model = {
  record: diskWith({}),
  written: new Map([["base", new Map()]]),
  disk: new Map(),
  snapshots: new Map(),
};

/** What is seen through layers that lie on each other, given from the top down. */
const through = (written: Model["written"], names: readonly string[]): Map<number, number> => {
  const seen = new Map<number, number>();
  for (const name of names.toReversed())
    for (const [cluster, value] of written.get(name) ?? []) seen.set(cluster, value);
  return seen;
};

const seenThrough = ({ record, written }: Model, top: string | undefined): Map<number, number> =>
  through(written, pathDown(record, top));

const sorted = (content: ReadonlyMap<number, number>) => [...content].sort(([a], [b]) => a - b);

type Event =
  | { readonly kind: "write"; readonly cluster: number; readonly value: number }
  | { readonly kind: "snapshot" | "merge" }
  | { readonly kind: "restore" | "undone restore" | "discard"; readonly which: number }
  | { readonly kind: "power"; readonly isOn: boolean };

const nth = <T>(items: readonly T[], which: number): T | undefined =>
  items[which % Math.max(1, items.length)];

const write = (model: Model, cluster: number, value: number): Model => {
  const head = model.record.head ?? "";
  const layer = new Map(model.written.get(head)).set(cluster, value);
  return {
    ...model,
    written: new Map(model.written).set(head, layer),
    disk: new Map(model.disk).set(cluster, value),
  };
};

const restored = (model: Model, uid: string, which: number, isUndone: boolean): Model => {
  const snapshot = nth(model.record.snapshots, which);
  if (snapshot === undefined || model.record.head === undefined) return model;
  const lead = { pool: "local", kind: "root", uid: one } as const;
  const intent = { uid, lead, onto: snapshot.layer, oldHead: model.record.head };
  const switched = transitions.restoreSwitched(transitions.restoreBegun(model.record, intent));
  const after = isUndone ? transitions.restoreUnswitched(switched) : switched;
  const disk = isUndone ? model.disk : (model.snapshots.get(snapshot.uid) ?? new Map());
  return {
    ...model,
    record: transitions.restoreOver(after),
    written: new Map(model.written).set(uid, new Map()),
    disk,
  };
};

/** What each kind of step does to the content of layers. */
const merged = (model: Model, isRunning: boolean): Model | undefined => {
  const step = planMerge(model.record, { isRunning });
  if (step === undefined) return undefined;
  if (step.kind === "delete") return { ...model, record: transitions.layerDropped(model.record, step.layer) };
  const written = new Map(model.written);
  const target = step.how === "commit" ? (step.run.at(-1) ?? "") : step.top;
  written.set(target, through(written, [step.top, ...step.run]));
  return { ...model, written, record: transitions.mergeDone(transitions.mergeBegun(model.record, step)) };
};

const cleaned = (model: Model, isRunning: boolean): Model => {
  const next = merged(model, isRunning);
  return next === undefined ? model : cleaned(next, isRunning);
};

const happen = (model: Model, event: Event, number: number, isRunning: boolean): Model => {
  const uid = uidOf(number + 100);
  if (event.kind === "write") return write(model, event.cluster, event.value);
  if (event.kind === "merge") return merged(model, isRunning) ?? model;
  if (event.kind === "snapshot")
    return {
      ...model,
      record: transitions.freezeCommitted(transitions.freezeBegun(model.record, uid, false), false),
      written: new Map(model.written).set(uid, new Map()),
      snapshots: new Map(model.snapshots).set(uid, model.disk),
    };
  if (event.kind === "discard") {
    const snapshot = nth(model.record.snapshots, event.which);
    return snapshot === undefined
      ? model
      : { ...model, record: transitions.snapshotDiscarded(model.record, snapshot.uid) };
  }
  if (event.kind === "restore" || event.kind === "undone restore")
    return restored(model, uid, event.which, event.kind === "undone restore");
  return model;
};

const expectRight = (model: Model): void => {
  expect(sorted(seenThrough(model, model.record.head))).toEqual(sorted(model.disk));
  for (const { uid, layer } of model.record.snapshots)
    expect(sorted(seenThrough(model, layer))).toEqual(sorted(model.snapshots.get(uid) ?? new Map()));
};

const event: fc.Arbitrary<Event> = fc.oneof(
  fc.record({
    kind: fc.constant("write" as const),
    cluster: fc.nat(5),
    value: fc.integer({ min: 1, max: 99 }),
  }),
  fc.record({ kind: fc.constantFrom("snapshot" as const, "merge" as const) }),
  fc.record({
    kind: fc.constantFrom("restore" as const, "undone restore" as const, "discard" as const),
    which: fc.nat(9),
  }),
  fc.record({ kind: fc.constant("power" as const), isOn: fc.boolean() }),
);

const play = (events: readonly Event[]): { readonly model: Model; readonly isRunning: boolean } => {
  let model = newModel;
  let isRunning = false;
  for (const [number, next] of events.entries()) {
    if (next.kind === "power") isRunning = next.isOn;
    model = happen(model, next, number, isRunning);
    expectRight(model);
  }
  return { model, isRunning };
};

describe("any sequence of writes, snapshots, restores, deletions and merges", () => {
  test("leaves every snapshot and the disk as they were, and after merging only layers that are needed", () => {
    fc.assert(
      fc.property(fc.array(event, { maxLength: 40 }), (events) => {
        const { model, isRunning } = play(events);
        const end = cleaned(model, isRunning);
        expectRight(end);
        const { record } = end;
        for (const { name } of record.layers)
          expect(isNamed(record, name) || childrenOf(record, name).length > 1).toBe(true);
        const isTree = record.layers.some(({ name }) => childrenOf(record, name).length > 1);
        if (!isTree) expect(record.layers.length).toBeLessThanOrEqual(record.snapshots.length + 1);
      }),
      { numRuns: 500 },
    );
  });

  test("ends with one file when all snapshots are deleted", () => {
    fc.assert(
      fc.property(fc.array(event, { maxLength: 40 }), fc.boolean(), (events, isRunning) => {
        const { model } = play(events);
        const without = model.record.snapshots.reduce(
          (record, { uid }) => transitions.snapshotDiscarded(record, uid),
          model.record,
        );
        const end = cleaned({ ...model, record: without }, isRunning);
        expectRight(end);
        expect(end.record.layers).toHaveLength(1);
      }),
    );
  });

  test("can be written down and read again at any point", () => {
    fc.assert(
      fc.property(fc.array(event, { maxLength: 20 }), (events) => {
        const { record } = play(events).model;
        const text = JSON.stringify(record);
        expect(parseRecord(text, { hasFormerLayer: false })).toEqual(JSON.parse(text));
      }),
    );
  });
});

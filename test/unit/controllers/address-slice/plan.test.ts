import { describe, expect, test } from "@jest/globals";
import fc from "fast-check";
import {
  type AddressSlice,
  MAX_SLICE_ENTRIES,
  type NodeAddresses,
} from "../../../../src/api/address-slice.ts";
import { nodeList } from "../../../../src/controllers/address-slice/entries.ts";
import { planSlices, type SliceStep } from "../../../../src/controllers/address-slice/plan.ts";
import { addressSliceWith } from "../objects.ts";

type Step = SliceStep<NodeAddresses>;

const entry = (name: string, address = "192.0.2.1"): NodeAddresses => ({ name, addresses: [address] });

const entries = (from: number, to: number): NodeAddresses[] =>
  Array.from({ length: to - from }, (_, index) => entry(`n${String(from + index).padStart(4, "0")}`));

const slice = (name: string, nodes: readonly NodeAddresses[]): AddressSlice =>
  addressSliceWith(name, { nodes: [...nodes] });

const plan = (slices: readonly AddressSlice[], wanted: readonly NodeAddresses[]): readonly Step[] =>
  planSlices(nodeList, slices, wanted);

/** Steps in short: "update a: 3", "create: 100", "delete b". */
const inShort = (steps: readonly Step[]): readonly string[] =>
  steps.map((step) => {
    if (step.kind === "create") return `create: ${step.entries.length}`;
    if (step.kind === "delete") return `delete ${step.slice.metadata.name}`;
    return `update ${step.slice.metadata.name}: ${step.entries.length}`;
  });

const carryOut = (slices: readonly AddressSlice[], steps: readonly Step[]): readonly AddressSlice[] => {
  const after = new Map(slices.map((each) => [each.metadata.name, each]));
  for (const [index, step] of steps.entries()) {
    if (step.kind === "delete") after.delete(step.slice.metadata.name);
    else {
      const name = step.kind === "create" ? `new-${index}-${slices.length}` : step.slice.metadata.name;
      after.set(name, slice(name, step.entries));
    }
  }
  return [...after.values()];
};

describe("The slices of a list", () => {
  test.each<[string, readonly AddressSlice[], readonly NodeAddresses[], readonly string[]]>([
    ["are none when there is nothing", [], [], []],
    ["hold a hundred entries each", [], entries(0, 250), ["create: 100", "create: 100", "create: 50"]],
    ["stay as they are when nothing changed", [slice("a", entries(0, 3))], entries(0, 3), []],
    [
      "have an entry changed where it is",
      [slice("a", entries(0, 3)), slice("b", entries(3, 6))],
      [...entries(0, 5), entry("n0005", "192.0.2.9")],
      ["update b: 3"],
    ],
    [
      "take a new entry in the fullest slice with room for it",
      [slice("a", entries(0, 10)), slice("b", entries(10, 100)), slice("c", entries(100, 200))],
      entries(0, 201),
      ["update b: 91"],
    ],
    [
      "take new entries where something is to be written anyway",
      [slice("a", entries(0, 50)), slice("b", entries(50, 140))],
      [...entries(1, 140), entry("x")],
      ["update a: 50"],
    ],
    [
      "are not mixed when an entry goes",
      [slice("a", entries(0, 100)), slice("b", entries(100, 101))],
      [...entries(0, 50), ...entries(51, 101)],
      ["update a: 99"],
    ],
    [
      "are deleted when they run empty",
      [slice("a", entries(0, 2)), slice("b", entries(2, 4))],
      entries(0, 2),
      ["delete b"],
    ],
    ["that are empty are deleted", [slice("a", [])], [], ["delete a"]],
    [
      "that hold an entry of another lose it",
      [slice("b", entries(0, 3)), slice("a", entries(2, 4))],
      entries(0, 4),
      ["update b: 2"],
    ],
    [
      "are all deleted when nothing is wanted",
      [slice("a", entries(0, 2)), slice("b", entries(2, 4))],
      [],
      ["delete a", "delete b"],
    ],
  ])("%s", (_, slices, wanted, expected) => {
    expect(inShort(plan(slices, wanted))).toEqual(expected);
  });
});

const names = Array.from({ length: 40 }, (_, index) => `n${index}`);
const anyEntry = fc
  .tuple(fc.constantFrom(...names), fc.constantFrom("192.0.2.1", "192.0.2.2"))
  .map(([name, address]) => entry(name, address));
/** As the API server would store them, but with whatever doubles between slices. */
const anySlices = fc
  .array(fc.uniqueArray(anyEntry, { selector: ({ name }) => name, maxLength: 20 }), { maxLength: 6 })
  .map((lists) => lists.map((list, index) => slice(`s${index}`, list)));
const anyWish = fc.uniqueArray(anyEntry, { selector: ({ name }) => name, maxLength: 40 });

const union = (slices: readonly AddressSlice[]): readonly NodeAddresses[] =>
  slices.flatMap(nodeList.entriesOf).toSorted((a, b) => (a.name < b.name ? -1 : 1));

const sorted = (list: readonly NodeAddresses[]): readonly NodeAddresses[] =>
  list.toSorted((a, b) => (a.name < b.name ? -1 : 1));

test("whatever slices there are, one plan makes them hold what is wanted, each once, and the next is empty", () => {
  fc.assert(
    fc.property(anySlices, anyWish, (slices, wanted) => {
      const after = carryOut(slices, plan(slices, wanted));
      expect(union(after)).toEqual(sorted(wanted));
      expect(plan(after, wanted)).toEqual([]);
    }),
  );
});

test("the order of slices and of what is wanted makes no difference", () => {
  fc.assert(
    fc.property(
      fc
        .tuple(anySlices, anyWish)
        .chain(([slices, wanted]) =>
          fc.tuple(
            fc.constant(slices),
            fc.constant(wanted),
            fc.shuffledSubarray(slices, { minLength: slices.length }),
            fc.shuffledSubarray(wanted, { minLength: wanted.length }),
          ),
        ),
      ([slices, wanted, otherSlices, otherWanted]) => {
        expect(plan(otherSlices, otherWanted)).toEqual(plan(slices, wanted));
      },
    ),
  );
});

test("one entry that comes, goes or changes costs one write, and none more than a hundred entries", () => {
  const anyCount = fc.integer({ min: 0, max: 3 * MAX_SLICE_ENTRIES });
  fc.assert(
    fc.property(anyCount, fc.nat(), fc.constantFrom("comes", "goes", "changes"), (count, nth, event) => {
      const before = entries(0, count);
      const slices = carryOut([], plan([], before));
      const chosen = before[nth % Math.max(count, 1)];
      const others = before.filter((each) => each !== chosen);
      const changed = chosen === undefined ? [] : [entry(chosen.name, "192.0.2.9")];
      const after = { comes: [...before, entry("x")], goes: others, changes: [...others, ...changed] }[event];
      const steps = plan(slices, after);
      expect(steps).toHaveLength(event === "comes" || count > 0 ? 1 : 0);
      for (const each of carryOut(slices, steps))
        expect(nodeList.entriesOf(each).length).toBeLessThanOrEqual(MAX_SLICE_ENTRIES);
    }),
  );
});

import { describe, expect, test } from "@jest/globals";
import fc from "fast-check";

import {
  type Condition,
  type ConditionDraft,
  conditionStatuses,
  findCondition,
  isTrue,
  withTransitionTimes,
} from "../../../src/api/condition.ts";

const MORNING = new Date("2026-11-23T08:00:00.123Z");
const EVENING = new Date("2026-11-23T20:00:00.456Z");

const ready: ConditionDraft = { type: "Ready", status: "True", reason: "Running", message: "the guest runs" };

const drafts = fc.uniqueArray(
  fc.record({
    type: fc.constantFrom("Ready", "Reconciling", "Stalled", "Scheduled", "ImageReady"),
    status: fc.constantFrom(...conditionStatuses),
    reason: fc.constantFrom("A", "B"),
    message: fc.string(),
  }),
  { selector: ({ type }) => type },
);

describe("withTransitionTimes", () => {
  test("gives a new condition the time, in whole seconds", () => {
    expect(withTransitionTimes([ready], undefined, MORNING)).toEqual([
      { ...ready, lastTransitionTime: "2026-11-23T08:00:00Z" },
    ]);
  });

  test("keeps the time while only reason and message change", () => {
    const before = withTransitionTimes([ready], undefined, MORNING);
    const [after] = withTransitionTimes([{ ...ready, reason: "Resumed", message: "" }], before, EVENING);
    expect(after).toMatchObject({ reason: "Resumed", lastTransitionTime: "2026-11-23T08:00:00Z" });
  });

  test("takes the new time when the status changes", () => {
    const before = withTransitionTimes([ready], undefined, MORNING);
    const [after] = withTransitionTimes([{ ...ready, status: "False" }], before, EVENING);
    expect(after?.lastTransitionTime).toBe("2026-11-23T20:00:00Z");
  });

  test("changes nothing when the same is said again, in whatever order it was stored", () => {
    const shuffled = drafts.chain((list) =>
      fc.tuple(fc.constant(list), fc.shuffledSubarray(list, { minLength: list.length })),
    );
    fc.assert(
      fc.property(shuffled, ([list, reordered]) => {
        const before = withTransitionTimes(reordered, undefined, MORNING);
        const after = withTransitionTimes(list, before, EVENING);
        expect(new Set(after)).toEqual(new Set(before));
      }),
    );
  });
});

describe("a condition", () => {
  const stored: readonly Condition[] = withTransitionTimes(
    [ready, { ...ready, type: "Scheduled", status: "Unknown" }],
    undefined,
    MORNING,
  );

  test.each([
    ["is true when it says so", stored, "Ready", true],
    ["is not true when it is unknown", stored, "Scheduled", false],
    ["is not true when it is absent", stored, "Stalled", false],
    ["is not true when there are none", undefined, "Ready", false],
  ])("%s", (_sentence, list, type, expected) => {
    expect(isTrue(list, type)).toBe(expected);
  });

  test("is found by its type", () => {
    expect(findCondition(stored, "Scheduled")?.status).toBe("Unknown");
    expect(findCondition(stored, "Stalled")).toBeUndefined();
  });
});

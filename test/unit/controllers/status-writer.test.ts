import { describe, expect, test } from "@jest/globals";
import { isSameStatus } from "../../../src/controllers/status-writer.ts";
import { readyCondition } from "./objects.ts";

const stalled = { ...readyCondition("True", "X"), type: "Stalled" };

describe("Two statuses say the same", () => {
  test.each<[string, object, object]>([
    ["whatever the order of fields", { a: 1, b: 2 }, { b: 2, a: 1 }],
    ["whatever the order of a set", { nodes: ["b", "a"] }, { nodes: ["a", "b"] }],
    [
      "whatever the order of conditions",
      { conditions: [stalled, readyCondition("False", "X")] },
      { conditions: [readyCondition("False", "X"), stalled] },
    ],
    ["when a field is absent in one and undefined in the other", { a: undefined, b: 1 }, { b: 1 }],
  ])("%s", (_, stored, wanted) => expect(isSameStatus(stored, wanted)).toBe(true));
});

describe("Two statuses differ", () => {
  test.each<[string, object | undefined, object]>([
    ["when nothing was written yet", undefined, {}],
    ["by a value", { a: 1 }, { a: 2 }],
    ["by a field that the stored one has beyond", { a: 1, b: 2 }, { a: 1 }],
    ["by a condition beyond", { conditions: [stalled] }, { conditions: [] }],
    ["by how often a list has a value", { nodes: ["a", "a"] }, { nodes: ["a"] }],
    [
      "by a message",
      { conditions: [readyCondition("True", "X", "a")] },
      { conditions: [readyCondition("True", "X", "b")] },
    ],
  ])("%s", (_, stored, wanted) => expect(isSameStatus(stored, wanted)).toBe(false));
});

import { describe, expect, test } from "@jest/globals";

import { parseQuantity } from "../../../src/api/quantity.ts";

describe("parseQuantity", () => {
  test.each([
    ["1", 1],
    ["512Mi", 536_870_912],
    ["10Gi", 10_737_418_240],
    ["64Ti", 70_368_744_177_664],
    ["1k", 1000],
    ["10G", 10_000_000_000],
    ["0", 0],
  ])("%s is %d bytes", (text, bytes) => {
    expect(parseQuantity(text)).toBe(bytes);
  });

  test.each([
    "",
    "Mi",
    "1.5Gi",
    "-1",
    "1e9",
    "1 Gi",
    "1Gi\n",
    "1Pi",
    "0x10",
    "１",
    "9007199254740992",
    "9008T",
  ])("%j is refused", (text) => {
    expect(() => parseQuantity(text)).toThrow(RangeError);
  });
});

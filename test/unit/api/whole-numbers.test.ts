import { describe, expect, test } from "@jest/globals";
import { flavors } from "../../../src/api/flavor.ts";
import { withWholeNumbers } from "../../../src/api/whole-numbers.ts";

describe("a number that the API server takes for a whole one", () => {
  test.each([
    { name: "is that one when a billionth is missing", value: 4503599627370495.5, read: 4503599627370495 },
    { name: "also below zero", value: -4503599627370495.5, read: -4503599627370495 },
    { name: "is itself when it is whole", value: 7, read: 7 },
    { name: "is not one when it is a half", value: 2.5, read: 2.5 },
    { name: "is not one when it is almost nothing", value: 5e-324, read: 5e-324 },
  ])("$name", ({ value, read }) => {
    expect(withWholeNumbers({ list: [{ value }] })).toEqual({ list: [{ value: read }] });
  });

  test("does not make an object unreadable", () => {
    const flavor = {
      apiVersion: "vireo.dev/v1alpha1",
      kind: "Flavor",
      metadata: { name: "f", uid: "u", resourceVersion: "1", creationTimestamp: "2026-01-01T00:00:00Z" },
      spec: { vcpus: 2.0000000001, memory: "1Gi", disk: "1Gi" },
    };
    expect(flavors.parse(flavor).spec.vcpus).toBe(2);
  });
});

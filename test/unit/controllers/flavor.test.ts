import { describe, expect, test } from "@jest/globals";
import { flavorSizes } from "../../../src/controllers/flavor/sizes.ts";
import { flavorStatus } from "../../../src/controllers/flavor/status.ts";
import { isSameStatus } from "../../../src/controllers/status-writer.ts";
import { flavorWith, NOW } from "./objects.ts";

describe("A Flavor", () => {
  test.each([
    ["binary suffixes", { memory: "2Gi", disk: "10Gi" }, { memoryMiB: 2048, diskMiB: 10_240 }],
    ["bytes", { memory: "134217728", disk: "67108864" }, { memoryMiB: 128, diskMiB: 64 }],
    [
      "decimal suffixes that are whole MiB",
      { memory: "131072k", disk: "1048576k" },
      { memoryMiB: 125, diskMiB: 1000 },
    ],
  ])("is counted in MiB with %s", (_, spec, expected) => {
    expect(flavorSizes(flavorWith(spec))).toEqual({ kind: "valid", vcpus: 1, ...expected });
  });

  test.each([
    ["is no whole number of MiB", { memory: "100M" }, 'spec.memory: "100M" is not a whole number of MiB'],
    [
      "is more than can be counted",
      { disk: "99999999T" },
      'spec.disk: "99999999T" is more than Vireo can count',
    ],
  ])("whose size %s is stalled", (_, spec, message) => {
    expect(flavorStatus(flavorWith(spec), NOW).conditions).toMatchObject([
      { type: "Ready", status: "False", reason: "Invalid", message: `${message}. Make another Flavor.` },
      { type: "Stalled", status: "True" },
    ]);
  });

  test("is Ready, and written once", () => {
    const status = flavorStatus(flavorWith(), NOW);
    expect(status).toMatchObject({ observedGeneration: 1, conditions: [{ type: "Ready", status: "True" }] });
    const later = new Date(NOW.getTime() + 60_000);
    expect(isSameStatus(status, flavorStatus({ ...flavorWith(), status }, later))).toBe(true);
  });
});

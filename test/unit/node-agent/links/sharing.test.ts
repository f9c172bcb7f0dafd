import { beforeEach, describe, expect, test } from "@jest/globals";

import type { LinkDriver } from "../../../../src/node-agent/links/driver.ts";
import { sharingObservations } from "../../../../src/node-agent/links/sharing.ts";
import type { Plan } from "../../../../src/node-agent/links/steps.ts";
import { emptyNode, nothing } from "./kernel.ts";

const signal = new AbortController().signal;
const something: Plan = { ...nothing, make: [{ kind: "add-gateway-device" }] };

describe("an observation of the links", () => {
  let now: number;
  let looks: number;
  let applied: Plan[];
  let fail: boolean;
  let driver: LinkDriver;

  beforeEach(() => {
    now = 1_000;
    looks = 0;
    applied = [];
    fail = false;
    const real: LinkDriver = {
      observe: async () => {
        looks += 1;
        return emptyNode;
      },
      apply: async (plan) => {
        if (fail) throw new Error("no");
        applied.push(plan);
      },
    };
    driver = sharingObservations(real, () => now);
  });

  test("serves whoever looks within a second", async () => {
    await driver.observe(signal);
    now += 999;
    await driver.observe(signal);
    expect(looks).toBe(1);
    now += 1;
    await driver.observe(signal);
    expect(looks).toBe(2);
  });

  test("outlives a plan with nothing in it, which costs nothing", async () => {
    await driver.observe(signal);
    await driver.apply(nothing, signal);
    await driver.observe(signal);
    expect({ looks, applied }).toEqual({ looks: 1, applied: [] });
  });

  test("is forgotten when something is changed", async () => {
    await driver.observe(signal);
    await driver.apply(something, signal);
    await driver.observe(signal);
    expect({ looks, applied }).toEqual({ looks: 2, applied: [something] });
  });

  test("is forgotten when a change fails: some of it may have been made", async () => {
    await driver.observe(signal);
    fail = true;
    await expect(driver.apply(something, signal)).rejects.toThrow("no");
    await driver.observe(signal);
    expect(looks).toBe(2);
  });
});

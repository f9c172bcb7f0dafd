import { describe, expect, test } from "@jest/globals";
import { allEnded } from "../../../../src/node-agent/host/all-ended.ts";

describe("allEnded", () => {
  test("gives the results in order", async () => {
    expect(await allEnded([Promise.resolve(1), Promise.resolve("two")])).toEqual([1, "two"]);
  });

  test("a failure waits for the neighbours to end", async () => {
    const slow = Promise.withResolvers<void>();
    let settled = false;
    const all = allEnded([Promise.reject(new Error("no")), slow.promise]).finally(() => {
      settled = true;
    });
    const outcome = expect(all).rejects.toThrow("no");
    await new Promise(setImmediate);
    expect(settled).toBe(false);
    slow.resolve();
    await outcome;
  });
});

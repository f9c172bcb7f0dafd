import { describe, expect, test } from "@jest/globals";
import { both } from "../../../../src/node-agent/host/both.ts";

describe("both", () => {
  test("gives the results in order", async () => {
    expect(await both(Promise.resolve(1), Promise.resolve("two"))).toEqual([1, "two"]);
  });

  test("a failure waits for the neighbour to end", async () => {
    const slow = Promise.withResolvers<void>();
    let settled = false;
    const outcome = both(Promise.reject(new Error("no")), slow.promise).then(
      () => "fulfilled",
      (error: Error) => {
        settled = true;
        return error.message;
      },
    );
    await new Promise(setImmediate);
    expect(settled).toBe(false);
    slow.resolve();
    expect(await outcome).toBe("no");
  });
});

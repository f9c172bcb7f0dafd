import { beforeEach, describe, expect, test } from "@jest/globals";
import { type AtMost, createAtMost } from "../../../../src/node-agent/host/at-most.ts";

const { signal } = new AbortController();
let atMostTwo: AtMost;
let begun: string[];

beforeEach(() => {
  atMostTwo = createAtMost(2);
  begun = [];
});

/** A task that ends when the test says so. */
const task = (name: string, options = { signal }) => {
  const end = Promise.withResolvers<string>();
  const result = atMostTwo(() => {
    begun.push(name);
    return end.promise;
  }, options);
  return { result, end: () => end.resolve(name), fail: () => end.reject(new Error(name)) };
};
const turn = () => new Promise<void>((resolve) => setImmediate(resolve));

describe("at most two at a time", () => {
  test("lets others wait in the order of arrival", async () => {
    const tasks = ["a", "b", "c", "d"].map((name) => task(name));
    await turn();
    expect(begun).toEqual(["a", "b"]);
    tasks[1]?.end();
    await turn();
    expect(begun).toEqual(["a", "b", "c"]);
    for (const { end } of tasks) end();
    expect(await Promise.all(tasks.map(({ result }) => result))).toEqual(["a", "b", "c", "d"]);
  });

  test("gives the place of one that failed to the next", async () => {
    const [first, , third] = [task("a"), task("b"), task("c")];
    first.fail();
    await expect(first.result).rejects.toThrow("a");
    third.end();
    expect(await third.result).toBe("c");
  });

  test("never begins one that was given up while it waited", async () => {
    const controller = new AbortController();
    const [first] = [task("a"), task("b")];
    const given = task("c", controller);
    const last = task("d");
    controller.abort(new Error("enough"));
    await expect(given.result).rejects.toThrow("enough");
    first.end();
    last.end();
    expect(await last.result).toBe("d");
    expect(begun).toEqual(["a", "b", "d"]);
  });

  test("keeps no place for one that was given up before", async () => {
    const aborted = { signal: AbortSignal.abort(new Error("never")) };
    await expect(task("a", aborted).result).rejects.toThrow("never");
    for (const name of ["b", "c"]) task(name);
    await turn();
    expect(begun).toEqual(["b", "c"]);
  });

  test("ends one that is given up while it runs as its task ends", async () => {
    const controller = new AbortController();
    const running = task("a", controller);
    await turn();
    controller.abort(new Error("enough"));
    running.end();
    expect(await running.result).toBe("a");
  });
});

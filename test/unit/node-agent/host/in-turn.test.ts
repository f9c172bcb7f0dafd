import { expect, test } from "@jest/globals";

import { createInTurn } from "../../../../src/node-agent/host/in-turn.ts";

test("tasks run one at a time, in the order of their arrival, and return what they return", async () => {
  const inTurn = createInTurn();
  const story: string[] = [];
  const gate = Promise.withResolvers<void>();
  const first = inTurn(async () => {
    story.push("first begins");
    await gate.promise;
    story.push("first ends");
    return 1;
  });
  const second = inTurn(async () => {
    story.push("second");
    return 2;
  });
  await new Promise(setImmediate);
  expect(story).toEqual(["first begins"]);
  gate.resolve();
  expect(await Promise.all([first, second])).toEqual([1, 2]);
  expect(story).toEqual(["first begins", "first ends", "second"]);
});

test("a task that fails fails its caller, and the next one runs", async () => {
  const inTurn = createInTurn();
  const failing = inTurn(() => Promise.reject(new Error("no")));
  const next = inTurn(() => Promise.resolve("yes"));
  await expect(failing).rejects.toThrow("no");
  expect(await next).toBe("yes");
});

import { describe, expect, test } from "@jest/globals";

import { HopelessError, waitFor } from "../../testbed/wait.ts";

const failing = (error: Error) => (): never => {
  throw error;
};

describe("waitFor", () => {
  test("resolves with the first value that is neither undefined nor false", async () => {
    const answers = [undefined, false, "ready"] as const;
    let looks = 0;
    expect(await waitFor("it", () => answers[looks++], { intervalMs: 1 })).toBe("ready");
    expect(looks).toBe(3);
  });

  test("takes a probe that throws as one that has not seen it yet", async () => {
    let looks = 0;
    const probe = (): string => {
      looks += 1;
      if (looks < 3) throw new Error("still starting");
      return "ready";
    };
    expect(await waitFor("it", probe, { intervalMs: 1 })).toBe("ready");
  });

  test("says what it waited for and what it saw last when the time is over", async () => {
    const probe = failing(new Error("STATUS is Starting"));
    await expect(waitFor("vm/hello ready", probe, { timeoutMs: 5, intervalMs: 1 })).rejects.toThrow(
      /waited .* for: vm\/hello ready; last seen .*: STATUS is Starting/,
    );
  });

  test("gives up at once when the probe sees that there is no hope", async () => {
    const probe = failing(new HopelessError("the program has ended"));
    await expect(waitFor("it", probe, { timeoutMs: 60_000 })).rejects.toThrow("the program has ended");
  });

  test("stops when its signal is aborted", async () => {
    const controller = new AbortController();
    const waiting = waitFor("it", () => false, { signal: controller.signal, intervalMs: 1 });
    controller.abort(new Error("enough"));
    await expect(waiting).rejects.toThrow(/enough|abort/i);
  });
});

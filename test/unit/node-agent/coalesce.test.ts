import { describe, expect, test } from "@jest/globals";
import { coalesce } from "../../../src/node-agent/coalesce.ts";

const controlled = () => {
  const pending: { resolve: () => void; reject: (error: Error) => void }[] = [];
  let started = 0;
  const pass = (): Promise<void> => {
    started += 1;
    return new Promise<void>((resolve, reject) => pending.push({ resolve, reject }));
  };
  return { pass, pending, started: () => started };
};

describe("coalesce", () => {
  test("callers during a pass share the next one", async () => {
    const control = controlled();
    const run = coalesce(control.pass);
    const first = run();
    const others = [run(), run(), run()];
    expect(control.started()).toBe(1);
    control.pending[0]?.resolve();
    await first;
    await Promise.resolve();
    await new Promise(setImmediate);
    expect(control.started()).toBe(2);
    control.pending[1]?.resolve();
    await Promise.all(others);
    expect(control.started()).toBe(2);
  });

  test("a failed pass fails its own callers only", async () => {
    const control = controlled();
    const run = coalesce(control.pass);
    const first = run();
    const second = run();
    control.pending[0]?.reject(new Error("iptables is busy"));
    await expect(first).rejects.toThrow("iptables is busy");
    await new Promise(setImmediate);
    control.pending[1]?.resolve();
    await expect(second).resolves.toBeUndefined();
  });

  test("after a quiet time a call starts a new pass", async () => {
    let passes = 0;
    const run = coalesce(async () => {
      passes += 1;
    });
    await run();
    await run();
    expect(passes).toBe(2);
  });
});

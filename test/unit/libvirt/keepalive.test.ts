import { afterEach, beforeEach, describe, expect, jest, test } from "@jest/globals";

import { Keepalive } from "../../../src/libvirt/keepalive.ts";

const INTERVAL_MS = 1_000;

const start = (answer: (keepalive: Keepalive) => void = () => {}) => {
  const seen: string[] = [];
  const keepalive: Keepalive = new Keepalive(
    { intervalMs: INTERVAL_MS, count: 3 },
    {
      ping: () => {
        seen.push("ping");
        answer(keepalive);
      },
      dead: (error) => seen.push(error.message),
    },
  );
  return { keepalive, seen };
};

describe("keepalive", () => {
  beforeEach(() => {
    jest.useFakeTimers();
  });
  afterEach(() => {
    jest.useRealTimers();
  });

  test("declares a silent peer dead when all pings went unanswered, and then stops", () => {
    const { seen } = start();
    jest.advanceTimersByTime(INTERVAL_MS * 4);
    expect(seen).toEqual(["ping", "ping", "ping"]);
    jest.advanceTimersByTime(INTERVAL_MS * 20);
    expect(seen).toEqual(["ping", "ping", "ping", "libvirtd did not answer 3 pings, one every 1000 ms"]);
  });

  test("leaves a peer that answers alone for ever", () => {
    const { seen } = start((keepalive) => keepalive.heard());
    jest.advanceTimersByTime(INTERVAL_MS * 100);
    expect(new Set(seen)).toEqual(new Set(["ping"]));
  });

  test("takes anything for a sign of life, and asks nothing of a peer that talks", () => {
    const { keepalive, seen } = start();
    for (let second = 0; second < 100; second += 1) {
      keepalive.heard();
      jest.advanceTimersByTime(INTERVAL_MS);
    }
    expect(seen).toEqual([]);
  });

  test("starts to count anew after a sign of life", () => {
    const { keepalive, seen } = start();
    jest.advanceTimersByTime(INTERVAL_MS * 3);
    keepalive.heard();
    jest.advanceTimersByTime(INTERVAL_MS * 4);
    expect(seen).toEqual(["ping", "ping", "ping", "ping", "ping"]);
  });

  test("does nothing once stopped", () => {
    const { keepalive, seen } = start();
    keepalive.stop();
    jest.advanceTimersByTime(INTERVAL_MS * 20);
    expect(seen).toEqual([]);
  });
});

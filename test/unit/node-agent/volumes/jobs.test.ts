import { beforeEach, describe, expect, test } from "@jest/globals";
import { DiskBusyError } from "../../../../src/node-agent/volumes/failure.ts";
import { type JobOptions, Jobs } from "../../../../src/node-agent/volumes/jobs.ts";

let now: number;
let told: string[];
let jobs: Jobs;
const job = { key: "disk", uid: "uid", tellsProgress: true } as const;
const working = (progressPercent: number) => ({ kind: "working", progressPercent });

beforeEach(() => {
  now = 0;
  told = [];
  jobs = new Jobs({
    logger: { info: () => {}, warn: () => {} },
    now: () => new Date(now),
    onChange: (uid) => told.push(uid),
  });
});

/** Starts a job whose end the test decides. */
const start = async (change: Partial<typeof job> | { readonly tellsProgress: false } = {}) => {
  const end = Promise.withResolvers<void>();
  const begun = Promise.withResolvers<JobOptions>();
  jobs.start({ ...job, ...change }, async (options) => {
    begun.resolve(options);
    options.signal.addEventListener("abort", () => end.reject(options.signal.reason));
    await end.promise;
  });
  return { ...(await begun.promise), end };
};
const ended = async (): Promise<void> => {
  while (jobs.isRunning("disk")) await Promise.resolve();
};

describe("background work on a disk", () => {
  test("is started once, however often it is asked for", async () => {
    const { end, onProgress } = await start();
    let started = 0;
    const again = async (): Promise<void> => {
      started += 1;
    };
    expect(jobs.start(job, again)).toEqual(working(0));
    onProgress(40);
    expect(jobs.start(job, again)).toEqual(working(40));
    end.resolve();
    await ended();
    expect(started).toBe(0);
    expect(jobs.state("disk")).toBeUndefined();
  });

  test("tells when it gets on and when it has ended", async () => {
    const { end, onProgress } = await start();
    for (const percent of [10, 10, 20]) onProgress(percent);
    expect(told).toHaveLength(2);
    end.resolve();
    await ended();
    expect(told).toEqual(["uid", "uid", "uid"]);
  });

  test("that is quiet tells its end only", async () => {
    const { end, onProgress } = await start({ tellsProgress: false });
    onProgress(50);
    expect(jobs.state("disk")).toEqual(working(50));
    expect(told).toEqual([]);
    end.resolve();
    await ended();
    expect(told).toEqual(["uid"]);
  });

  test("that failed is not tried again before its time", async () => {
    const { end } = await start();
    end.reject(Object.assign(new Error("write"), { code: "ENOSPC" }));
    await ended();
    expect(jobs.state("disk")).toMatchObject({ kind: "failed", reason: "NoSpace", retryAfterMs: 30_000 });
    now += 20_000;
    expect(jobs.start(job, async () => {})).toMatchObject({ kind: "failed", retryAfterMs: 10_000 });
    now += 10_000;
    expect(jobs.start(job, async () => {})).toEqual(working(0));
    await ended();
    expect(jobs.state("disk")).toBeUndefined();
  });

  test("that met other work is tried again soon", async () => {
    const { end } = await start();
    end.reject(new DiskBusyError("disk", "is busy"));
    await ended();
    expect(jobs.state("disk")).toMatchObject({ kind: "failed", reason: "Failed", retryAfterMs: 2000 });
  });

  test("that is cancelled has ended, is no failure, and tells nobody", async () => {
    const { signal } = await start();
    await jobs.cancel("disk");
    expect(signal.aborted).toBe(true);
    expect(jobs.isRunning("disk")).toBe(false);
    expect(jobs.state("disk")).toBeUndefined();
    expect(told).toEqual([]);
  });

  test("ends with the room, which starts no other", async () => {
    await start();
    await jobs.close();
    expect(jobs.isRunning("disk")).toBe(false);
    expect(jobs.start(job, async () => {})).toEqual(working(0));
    expect(jobs.isRunning("disk")).toBe(false);
  });
});

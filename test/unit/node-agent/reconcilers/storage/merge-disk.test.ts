import { describe, expect, test } from "@jest/globals";

import type { MergeOutcome as LiveOutcome } from "../../../../../src/node-agent/domains/types.ts";
import {
  type MergeContext,
  mergeDisk,
} from "../../../../../src/node-agent/reconcilers/storage/merge-disk.ts";
import type { DiskRef, MergeOutcome } from "../../../../../src/node-agent/volumes/types.ts";

const VM = "00000000-0000-4000-8000-000000000001";
const root: DiskRef = { pool: "local", kind: "root", uid: VM };
const options = { signal: new AbortController().signal };
const live: MergeOutcome = { kind: "live", merge: { kind: "pull", diskPath: "/head" } };

/** A running guest whose disk has one merge to be made; what libvirt answers, in this order. */
const setUp = ({ answers, isToBePaused = false }: { answers: LiveOutcome[]; isToBePaused?: boolean }) => {
  const calls: string[] = [];
  let isConfirmed = false;
  const context: MergeContext = {
    jobs: new Map(),
    migrating: () => undefined,
    now: () => new Date(0),
    isToBePaused: () => isToBePaused,
    users: { machineOf: () => VM, runningGuestOf: async () => VM },
    live: {
      merge: async () => answers.shift() ?? { kind: "done" },
      resume: async () => void calls.push("resume"),
    },
    volumes: {
      merges: {
        advance: async () => (isConfirmed ? { kind: "clean" } : live),
        confirm: async () => {
          calls.push("confirm");
          isConfirmed = true;
        },
        abandon: async () => {},
      },
    },
  };
  return { calls, merge: () => mergeDisk(root, context, options) };
};

describe("a merge of a running guest's disk", () => {
  test("is written down when QEMU has done it, and not before", async () => {
    const { merge, calls } = setUp({ answers: [{ kind: "running", progressPercent: 40 }] });
    expect(await merge()).toMatchObject({ kind: "working", progressPercent: 40 });
    expect(calls).toEqual([]);
    expect(await merge()).toEqual({ kind: "done" });
    expect(calls).toEqual(["confirm"]);
  });

  test("has a guest go on that an agent left paused when it was killed", async () => {
    const { merge, calls } = setUp({ answers: [{ kind: "paused", byRequest: true }] });
    expect(await merge()).toMatchObject({ kind: "working" });
    expect(await merge()).toEqual({ kind: "done" });
    expect(calls).toEqual(["resume", "confirm"]);
  });

  test.each([
    ["that somebody wants paused", { byRequest: true, isToBePaused: true }],
    [
      "that something else has paused, such as an error of the disk",
      { byRequest: false, isToBePaused: false },
    ],
  ])("waits for a guest %s", async (_, { byRequest, isToBePaused }) => {
    const { merge, calls } = setUp({ answers: [{ kind: "paused", byRequest }], isToBePaused });
    expect(await merge()).toEqual({
      kind: "waiting",
      message: "The guest is paused; its layers are merged when it goes on.",
    });
    expect(calls).toEqual([]);
  });
});

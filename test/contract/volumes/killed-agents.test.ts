import { afterEach, beforeEach, describe, expect, test } from "@jest/globals";
import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { existsSync, readdirSync, readFileSync, rmSync } from "node:fs";
import { join } from "node:path";
import { setTimeout as delay } from "node:timers/promises";
import type { Volumes } from "../../../src/node-agent/volumes/index.ts";
import type { Task } from "./volumes-agent.ts";
import {
  advance,
  blank,
  headOf,
  listing,
  makeStorage,
  newVolume,
  openVolumes,
  options,
  qemuIo,
  ready,
  expectPatterns,
  expectSound,
  settled,
  type Storage,
  takeSnapshot,
} from "./volumes-fixture.ts";

/** Copying so much takes long enough to be interrupted. */
const MUCH = 384;
const source = newVolume("fast");
let storage: Storage;
let volumes: Volumes;

beforeEach(async () => {
  storage = makeStorage();
  volumes = openVolumes(storage);
  await ready(volumes, blank(source, MUCH));
});
afterEach(async () => {
  await volumes.close();
  rmSync(storage.directory, { recursive: true });
});

const childrenOf = (pid: number): number[] =>
  readdirSync(`/proc/${pid}/task`).flatMap((thread) =>
    readFileSync(`/proc/${pid}/task/${thread}/children`, "utf8").split(" ").filter(Boolean).map(Number),
  );

/** Whether any thread of it is left, which has its files open. One that nobody has waited for yet is not. */
const isAlive = (pid: number): boolean => {
  try {
    return readdirSync(`/proc/${pid}/task`).some(
      (thread) => !/^State:\s+[ZX]/m.test(readFileSync(`/proc/${pid}/task/${thread}/status`, "utf8")),
    );
  } catch {
    return false;
  }
};

const commandOf = (pid: number): string => {
  try {
    return readFileSync(`/proc/${pid}/cmdline`, "utf8").replaceAll("\0", " ");
  } catch {
    return "";
  }
};

/** Bytes that a process has read so far. */
const readBy = (pid: number): number => {
  try {
    return Number(/^rchar: (\d+)$/m.exec(readFileSync(`/proc/${pid}/io`, "utf8"))?.[1] ?? 0);
  } catch {
    return 0;
  }
};

/** The agent's qemu-img of that verb, when it has copied something. Nothing announces changes in /proc. */
const whenCopying = async (agent: ChildProcess, verb: string): Promise<number> => {
  for (;;) {
    if (agent.exitCode !== null) throw new Error("the agent has ended by itself");
    for (const pid of childrenOf(agent.pid ?? 0))
      if (commandOf(pid).startsWith(`qemu-img ${verb}`) && readBy(pid) > 2 ** 22) return pid;
    await delay(1);
  }
};

/** Has an agent do something, and kills it with -9 while it copies. Its qemu-img ends with it. */
const killedWhileCopying = async (task: Task, verb: string): Promise<void> => {
  const script = join(import.meta.dirname, "volumes-agent.ts");
  const args = [script, JSON.stringify(storage), JSON.stringify(task)];
  const agent = spawn(process.execPath, args, { stdio: "inherit" });
  const ended = once(agent, "exit");
  const copying = await whenCopying(agent, verb);
  // Held still, so that it cannot be over before the agent is gone.
  process.kill(copying, "SIGSTOP");
  agent.kill("SIGKILL");
  await ended;
  while (isAlive(copying)) await delay(1);
};

const snapshotOfMuch = async (): Promise<string> => {
  qemuIo(await headOf(volumes, source), `write -P 0x41 0 ${MUCH}M`);
  return takeSnapshot(volumes, [source]);
};

describe("an agent that is killed with -9", () => {
  test("in the middle of a copy has the next one make it", async () => {
    const snapshotUid = await snapshotOfMuch();
    const want = {
      ref: newVolume(),
      sizeMiB: MUCH,
      source: { kind: "snapshot", disk: source, snapshotUid },
    } as const;
    await killedWhileCopying({ kind: "ensure", want }, "convert");
    const directory = join(storage.local, "volumes", want.ref.uid);
    expect(listing(directory)).toEqual(["base.qcow2.new", "disk.json"]);
    expect(await volumes.disks.list(options)).toMatchObject([{ ref: want.ref, state: "unfinished" }, {}]);
    const { path } = await ready(volumes, want);
    expect(listing(directory)).toEqual(["base.qcow2", "disk.json"]);
    expectSound(path);
    expectPatterns(path, `0x41 0 ${MUCH}M`);
  });

  test("in the middle of a copy that nobody wants any more leaves what can be removed", async () => {
    const snapshotUid = await snapshotOfMuch();
    const want = {
      ref: newVolume(),
      sizeMiB: MUCH,
      source: { kind: "snapshot", disk: source, snapshotUid },
    } as const;
    await killedWhileCopying({ kind: "ensure", want }, "convert");
    expect(await settled(volumes, () => volumes.disks.remove(want.ref, options))).toEqual({ kind: "gone" });
    expect(listing(join(storage.local, "volumes"))).toEqual([]);
  });

  const withUnneededLayer = async (): Promise<void> => {
    const snapshotUid = await snapshotOfMuch();
    qemuIo(await headOf(volumes, source), "write -P 0x42 8M 1M");
    await volumes.snapshots.discard(snapshotUid, [source], options);
  };
  const expected = ["0x41 0 8M", "0x42 8M 1M", `0x41 9M ${MUCH - 9}M`] as const;

  test("in the middle of a merge has the next one finish it", async () => {
    await withUnneededLayer();
    await killedWhileCopying({ kind: "merge", ref: source }, "rebase");
    expect(await volumes.disks.list(options)).toMatchObject([{ pending: { kind: "merge" } }]);
    expectPatterns(await headOf(volumes, source), ...expected);
    expect(await advance(volumes, source)).toEqual({ kind: "clean" });
    const path = await headOf(volumes, source);
    expect(listing(join(path, ".."))).toHaveLength(2);
    expectSound(path);
    expectPatterns(path, ...expected);
  });

  test("in the middle of a merge does not keep the guest from being started", async () => {
    await withUnneededLayer();
    await killedWhileCopying({ kind: "merge", ref: source }, "rebase");
    const chain = await ready(volumes, blank(source));
    expect(chain.backing).toHaveLength(1);
    qemuIo(chain.path, "write -P 0x43 0 1M");
    expect(await advance(volumes, source)).toEqual({ kind: "clean" });
    expectPatterns(chain.path, "0x43 0 1M", "0x41 1M 7M", "0x42 8M 1M");
  });

  test("in the middle of an export has the next one make it", async () => {
    const snapshotUid = await snapshotOfMuch();
    const task = { kind: "export", imageUid: newVolume().uid, disk: source, snapshotUid } as const;
    await killedWhileCopying(task, "convert");
    expect(await volumes.exports.list(options)).toEqual([task.imageUid]);
    const outcome = await settled(volumes, () => volumes.exports.ensure(task, options));
    if (outcome.kind !== "ready") throw new Error(JSON.stringify(outcome));
    expectPatterns(outcome.file.path, `0x41 0 ${MUCH}M`);
    await volumes.exports.remove(task.imageUid, options);
    expect(existsSync(join(outcome.file.path, ".."))).toBe(false);
  });
});

describe("a merge", () => {
  test("waits for a qemu-img that has outlived its agent", async () => {
    qemuIo(await headOf(volumes, source), "write -P 0x41 0 8M");
    const snapshotUid = await takeSnapshot(volumes, [source]);
    await volumes.snapshots.discard(snapshotUid, [source], options);
    // Whoever it is that has the file open.
    const holder = spawn("qemu-io", ["-f", "qcow2", await headOf(volumes, source)], {
      stdio: ["pipe", "pipe", "inherit"],
    });
    await once(holder.stdout, "data");
    const outcome = await advance(volumes, source);
    expect(outcome).toMatchObject({ kind: "failed", reason: "Failed" });
    expect(JSON.stringify(outcome)).toContain("another process has it open");
    holder.stdin.end("quit\n");
    await once(holder, "exit");
    await volumes.merges.abandon(source, { isRunning: false }, options);
    expect(await advance(volumes, source)).toEqual({ kind: "clean" });
    expectPatterns(await headOf(volumes, source), "0x41 0 8M");
  });
});

import { mkdtemp, readdir, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";

import { afterEach, beforeEach, describe, expect, test } from "@jest/globals";

import { probeAcceleration } from "../../../../src/node-agent/domains/acceleration.ts";
import { bootSector, EXIT_CODE } from "../../../../src/node-agent/domains/probe-guest.ts";
import { CommandError, type RunCommand } from "../../../../src/node-agent/host/command.ts";
import { createFiles } from "../../../../src/node-agent/host/files.ts";

type Accelerator = "kvm" | "tcg";
type End = "answers" | "fails" | "ends quietly" | "is missing" | "hangs";

describe("the probe of acceleration", () => {
  let stateDirectory: string;
  let aborted: Accelerator[];

  beforeEach(async () => {
    stateDirectory = await mkdtemp(join(tmpdir(), "probe-"));
    aborted = [];
  });
  afterEach(() => rm(stateDirectory, { recursive: true }));

  /** QEMUs that end as told: those with KVM first when `first` says so, the other when that one has ended. */
  const qemu = (ends: Record<Accelerator, End>, first: Accelerator): RunCommand => {
    const firstEnded = Promise.withResolvers<void>();
    return async (file, args, { signal }) => {
      const accelerator = args[args.indexOf("-accel") + 1] as Accelerator;
      const failed = (failure: CommandError["failure"], exitCode?: number) =>
        new CommandError(failure, file, args, { exitCode });
      const end = ends[accelerator];
      if (end === "hangs") {
        const abort = new Promise((resolve) => signal.addEventListener("abort", resolve, { once: true }));
        if (!signal.aborted) await abort;
        aborted.push(accelerator);
        throw failed("aborted");
      }
      if (accelerator !== first && ends[first] !== "hangs") await firstEnded.promise;
      setImmediate(firstEnded.resolve);
      if (end === "ends quietly") return { stdout: "", stderr: "" };
      throw end === "is missing" ? failed("not-found") : failed("exit", end === "answers" ? EXIT_CODE : 1);
    };
  };

  const probe = (run: RunCommand, signal = new AbortController().signal) =>
    probeAcceleration({ run, files: createFiles({ roots: [stateDirectory] }), stateDirectory, signal });

  test.each<[string, End, End, Accelerator, Accelerator]>([
    ["kvm when the guest with KVM answers first", "answers", "answers", "kvm", "kvm"],
    ["kvm when the emulated one never answers", "answers", "hangs", "kvm", "kvm"],
    ["kvm when the emulator is not there", "answers", "fails", "tcg", "kvm"],
    ["tcg when the emulated guest answers first", "answers", "answers", "tcg", "tcg"],
    ["tcg when KVM fails", "fails", "answers", "kvm", "tcg"],
    ["tcg when the guest with KVM ends without an answer", "ends quietly", "answers", "kvm", "tcg"],
    ["tcg when the guest with KVM hangs", "hangs", "answers", "kvm", "tcg"],
    ["tcg when there is no QEMU", "is missing", "is missing", "kvm", "tcg"],
    ["tcg at once when KVM fails and emulation hangs", "fails", "hangs", "kvm", "tcg"],
  ])("says %s", async (_what, kvm, tcg, first, expected) => {
    expect(await probe(qemu({ kvm, tcg }, first))).toBe(expected);
    const hanging = (["kvm", "tcg"] as const).filter((name) => ({ kvm, tcg })[name] === "hangs");
    expect(aborted).toEqual(hanging);
    expect(await readdir(stateDirectory)).toEqual([]);
  });

  test("rejects when it is aborted: nothing was found out", async () => {
    const controller = new AbortController();
    const probing = probe(qemu({ kvm: "hangs", tcg: "hangs" }, "kvm"), controller.signal);
    controller.abort(new Error("the agent stops"));
    await expect(probing).rejects.toThrow("the agent stops");
    expect(await readdir(stateDirectory)).toEqual([]);
  });

  test("boots a sector that a BIOS takes for bootable", () => {
    const sector = bootSector();
    expect(sector).toHaveLength(512);
    expect([...sector.subarray(510)]).toEqual([0x55, 0xaa]);
    // The addresses in the code are those of what they point to.
    expect([...sector.subarray(0x5a, 0x5b)]).toEqual([0xb9]);
    expect([...sector.subarray(0x6d, 0x71)]).toEqual([0x0f, 0x00, 0x73, 0x7c]);
    expect([...sector.subarray(0x7b, 0x83)]).toEqual([0, 0, 0, 0, 0, 0x9a, 0x20, 0]);
  });
});

import { afterAll, beforeAll, describe, expect, test } from "@jest/globals";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { CommandError } from "../../../../src/node-agent/host/command.ts";
import { createFiles } from "../../../../src/node-agent/host/files.ts";
import { runFilter } from "../../../../src/node-agent/host/filter.ts";

const never = new AbortController().signal;
let directory: string;

beforeAll(() => {
  directory = mkdtempSync(join(tmpdir(), "vireo-filter-"));
  writeFileSync(join(directory, "input"), "hello\n".repeat(100_000));
});
afterAll(() => rmSync(directory, { recursive: true, force: true }));

const filter = async (
  program: readonly [string, ...string[]],
  output: (chunks: AsyncIterable<Buffer>) => Promise<void>,
  options: { readonly signal?: AbortSignal; readonly timeoutMs?: number } = {},
): Promise<void> => {
  await using input = await createFiles({ roots: [directory] }).openForReading(join(directory, "input"));
  if (input === undefined) throw new Error("no input");
  const [file, ...args] = program;
  await runFilter(file, args, { signal: never, timeoutMs: 30_000, ...options, input, output });
};

const drain = async (chunks: AsyncIterable<Buffer>): Promise<void> => {
  for await (const chunk of chunks) void chunk;
};

const failureOf = (work: Promise<void>): Promise<unknown> =>
  work.then(
    () => "none",
    (error: unknown) => (error instanceof CommandError ? error.failure : error),
  );

describe("runFilter", () => {
  test("passes a file through a program", async () => {
    let size = 0;
    await filter(["tr", "a-z", "A-Z"], async (chunks) => {
      for await (const chunk of chunks) {
        expect(chunk.includes("h")).toBe(false);
        size += chunk.length;
      }
    });
    expect(size).toBe(600_000);
  });

  test.each([
    ["an exit code other than 0 is a failure", ["sh", "-c", "echo broken >&2; exit 3"], "exit", 60_000],
    ["a missing program is named so", ["/nonexistent/program"], "not-found", 60_000],
    ["a program that runs too long is killed", ["sleep", "60"], "timeout", 500],
  ] as const)("%s", async (_sentence, program, failure, timeoutMs) => {
    expect(await failureOf(filter(program, drain, { timeoutMs }))).toBe(failure);
  });

  test("an abort kills the program, before and after it started", async () => {
    const controller = new AbortController();
    const run = filter(["sleep", "60"], drain, { signal: controller.signal });
    setTimeout(() => controller.abort(), 20);
    expect(await failureOf(run)).toBe("aborted");
    expect(await failureOf(filter(["sleep", "60"], drain, { signal: controller.signal }))).toBe("aborted");
  });

  test("a consumer that has had enough ends an endless program, and its reason is told", async () => {
    const enough = new Error("enough");
    const run = filter(["cat", "/dev/zero"], async (chunks) => {
      for await (const chunk of chunks) if (chunk.length > 0) throw enough;
    });
    expect(await failureOf(run)).toBe(enough);
  });
});

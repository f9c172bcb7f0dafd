import { describe, expect, test } from "@jest/globals";
import { CommandError, runCommand } from "../../../../src/node-agent/host/command.ts";

const signal = new AbortController().signal;
const failureOf = async (run: Promise<unknown>): Promise<string> => {
  const error = await run.catch((caught: unknown) => caught);
  return error instanceof CommandError ? error.failure : `not a CommandError: ${String(error)}`;
};

describe("runCommand", () => {
  test("passes arguments as they are, without a shell", async () => {
    const hostile = "$(touch /tmp/x); 'a' \"b\" `c`\n../ü";
    const result = await runCommand("printf", ["%s", hostile], { signal, timeoutMs: 5_000 });
    expect(result.stdout).toBe(hostile);
  });

  test("feeds standard input", async () => {
    const result = await runCommand("cat", [], { signal, timeoutMs: 5_000, stdin: "hello" });
    expect(result.stdout).toBe("hello");
  });

  test.each([
    ["an exit code other than 0 is a failure", "false", [], "exit", 60_000],
    ["a missing program is named so", "/nonexistent/program", [], "not-found", 60_000],
    ["a program that runs too long is killed", "sleep", ["60"], "timeout", 200],
  ])("%s", async (_sentence, file, args, failure, timeoutMs) => {
    expect(await failureOf(runCommand(file, args, { signal, timeoutMs }))).toBe(failure);
  });

  test("an abort kills the program and its children", async () => {
    const controller = new AbortController();
    const run = runCommand("sh", ["-c", "sleep 60 & wait"], { signal: controller.signal, timeoutMs: 30_000 });
    setTimeout(() => controller.abort(), 50);
    expect(await failureOf(run)).toBe("aborted");
  });

  test("tells what a program writes before it has ended", async () => {
    const controller = new AbortController();
    // It ends only because it was heard.
    const run = runCommand("sh", ["-c", "printf '(50.00/100%%)'; sleep 60"], {
      signal: controller.signal,
      timeoutMs: 30_000,
      onStdout: (text) => text === "(50.00/100%)" && controller.abort(),
    });
    expect(await failureOf(run)).toBe("aborted");
  });

  test("more output than the limit ends the program", async () => {
    const run = runCommand("yes", [], { signal, timeoutMs: 10_000, maxOutputBytes: 1000 });
    expect(await failureOf(run)).toBe("output-limit");
  });
});

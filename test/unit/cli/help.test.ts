import { describe, expect, test } from "@jest/globals";

import { commands } from "../../../src/cli/commands/index.ts";
import { commandHelp, overview } from "../../../src/cli/help.ts";
import { parseCommandLine } from "../../../src/cli/parse.ts";

describe("help", () => {
  test("of all has every command, in lines that fit a terminal", () => {
    const text = overview(commands);
    for (const { name, summary } of commands)
      expect(text).toMatch(new RegExp(`^  ${name} +${summary.slice(0, 20)}`, "m"));
    expect(Math.max(...text.split("\n").map((line) => line.length))).toBeLessThanOrEqual(125);
  });

  test.each(commands.map((command) => [command.name, command] as const))(
    "of %s tells of each flag and argument, and has an example",
    (_name, command) => {
      const text = commandHelp(command);
      for (const { name } of command.flags) expect(text).toContain(name);
      for (const { name, description } of command.arguments) {
        expect(text).toContain(name);
        expect(description).not.toBe("");
      }
      expect(command.examples.length).toBeGreaterThan(0);
      expect(command.summary).not.toMatch(/\.$/);
    },
  );

  test.each(commands.flatMap(({ examples }) => examples.map(({ command }) => [command] as const)))(
    "shows a command that is understood: %s",
    (line) => {
      const [first = ""] = line.split(/ [|>] | && /);
      const words = first
        .replace(/^source <\(/, "")
        .replace(/\)$/, "")
        .split(" ");
      expect(words.slice(0, 2)).toEqual(["kubectl", "vireo"]);
      expect(parseCommandLine(commands, words.slice(2)).kind).toBe("run");
    },
  );

  test.each(commands.map((command) => [command.name, command] as const))(
    "has no two flags of one name or letter: %s",
    (_name, { flags }) => {
      const letters = flags.flatMap(({ short }) => (short === undefined ? [] : [short]));
      expect(new Set(letters).size).toBe(letters.length);
      expect([...letters, ...flags.map(({ name }) => name)]).not.toEqual(
        expect.arrayContaining([expect.stringMatching(/^(n|h|help|namespace|context|kubeconfig)$/)]),
      );
    },
  );
});

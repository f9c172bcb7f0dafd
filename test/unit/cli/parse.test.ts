import { describe, expect, test } from "@jest/globals";

import type { Command } from "../../../src/cli/command.ts";
import { UsageError } from "../../../src/cli/errors.ts";
import { parseCommandLine } from "../../../src/cli/parse.ts";

const command = (name: string, more: Partial<Command> = {}): Command => ({
  name,
  summary: name,
  description: [],
  arguments: [],
  flags: [],
  examples: [],
  run: async () => undefined,
  ...more,
});

const commands: readonly Command[] = [
  command("start", {
    arguments: [{ name: "VM", description: "machines", count: "many" }],
    flags: [
      { name: "wait", kind: "switch", on: true, description: "" },
      { name: "force", kind: "switch", description: "" },
      { name: "state", kind: "text", placeholder: "STATE", choices: ["on", "off"], description: "" },
      { name: "label", short: "l", kind: "list", placeholder: "LABEL", description: "" },
    ],
  }),
  command("copy", {
    arguments: [
      { name: "FROM", description: "sources", count: "many" },
      { name: "TO", description: "target" },
    ],
  }),
  command("take", {
    arguments: [
      { name: "VM", description: "machine" },
      { name: "NAME", description: "name", count: "optional" },
    ],
  }),
  command("create vm", { arguments: [{ name: "NAME", description: "name" }] }),
  command("ssh", {
    arguments: [{ name: "VM", description: "machine" }],
    flags: [{ name: "login", short: "l", kind: "text", placeholder: "USER", description: "" }],
    handsOn: "ARGUMENT",
  }),
];

const invocation = (...args: readonly string[]) => {
  const parsed = parseCommandLine(commands, args);
  if (parsed.kind !== "run") throw new Error(`it is ${parsed.kind}`);
  return parsed.invocation;
};

describe("words", () => {
  test("of an argument that may be many are all there, wherever flags stand", () => {
    const { words, isOn } = invocation("start", "a", "--force", "b");
    expect(words("VM")).toEqual(["a", "b"]);
    expect(isOn("force")).toBe(true);
  });

  test("leave the last one to the argument after", () => {
    const { words, word } = invocation("copy", "a", "b", "c");
    expect([words("FROM"), word("TO")]).toEqual([["a", "b"], "c"]);
  });

  test("may lack what is optional", () => {
    expect(invocation("take", "web").words("NAME")).toEqual([]);
    expect(invocation("take", "web", "one").word("NAME")).toBe("one");
  });

  test("name a command of two words, with global flags before it", () => {
    const { word, text } = invocation("-n", "shop", "create", "vm", "web");
    expect([word("NAME"), text("namespace")]).toEqual(["web", "shop"]);
  });
});

describe("flags", () => {
  test.each([
    [["--no-wait"], false],
    [[], true],
    [["--wait=false"], false],
    [["--no-wait", "--wait"], true],
  ] as const)("%j: wait is %s", (flags, wanted) => {
    expect(invocation("start", "a", ...flags).isOn("wait")).toBe(wanted);
  });

  test("with a value take the last one, lists take all", () => {
    const { text, list } = invocation("start", "a", "--state=on", "--state", "off", "-l", "x", "-ly");
    expect(text("state")).toBe("off");
    expect(list("label")).toEqual(["x", "y"]);
  });
});

describe("what is handed on", () => {
  test("is everything after the first argument, flags that we have too", () => {
    const { text, word, rest } = invocation("ssh", "-l", "me", "web", "-l", "x", "--help", "uptime");
    expect([text("login"), word("VM"), rest]).toEqual(["me", "web", ["-l", "x", "--help", "uptime"]]);
  });

  test("may be set off by two dashes", () => {
    expect(invocation("ssh", "web", "--", "ls", "-l").rest).toEqual(["ls", "-l"]);
  });
});

describe("help", () => {
  test.each([
    [["--help"], undefined],
    [["help"], undefined],
    [["start", "--help"], "start"],
    [["help", "create", "vm"], "create vm"],
    [["start", "--force", "-h"], "start"],
  ] as const)("%j", (args, wanted) => {
    const parsed = parseCommandLine(commands, args);
    expect(parsed).toMatchObject({ kind: "help" });
    expect(parsed.kind === "help" ? parsed.command?.name : "other").toBe(wanted);
  });
});

describe("errors say what is wrong", () => {
  test.each([
    [[], "no command given"],
    [["strat"], 'there is no command "strat" (did you mean start?)'],
    [["create"], "say what to create: create vm"],
    [["start"], "start needs VM: machines"],
    [["copy", "a"], "copy needs FROM: sources"],
    [["take", "a", "b", "c"], 'take takes no "c" after what it needs'],
    [["start", "a", "--forse"], "start has no flag --forse (did you mean --force?)"],
    [["start", "a", "--no-force"], "start has no flag --no-force"],
    [["start", "a", "--state"], "--state needs a value: --state STATE"],
    [["start", "a", "--state", "onn"], '--state: "onn" is not one of on, off (did you mean on?)'],
    [["start", "a", "--force=perhaps"], '--force: "perhaps" is not true or false'],
    [["start", "a", "-x"], "start has no flag -x"],
    [["--foo"], "kubectl vireo has no flag --foo"],
  ] as const)("%j: %s", (args, message) => {
    expect(() => parseCommandLine(commands, args)).toThrow(UsageError);
    expect(() => parseCommandLine(commands, args)).toThrow(message);
  });
});

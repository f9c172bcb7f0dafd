import { describe, expect, test } from "@jest/globals";

import { commands } from "../../../src/cli/commands/index.ts";
import { whatIsNext } from "../../../src/cli/completion/next.ts";

const next = (...words: readonly string[]) => whatIsNext(commands, words);
const values = (...words: readonly string[]): readonly string[] =>
  next(...words)
    .candidates.map(({ value }) => value)
    .filter((value) => value.startsWith(words.at(-1) ?? ""));

describe("completion", () => {
  test("offers commands, and their second words", () => {
    expect(values("sn")).toEqual(["snapshot"]);
    expect(values("cr")).toEqual(["create"]);
    expect(values("create", "")).toEqual(["vm"]);
  });

  test("offers the flags of the command and those of all", () => {
    expect(values("start", "--")).toEqual(
      expect.arrayContaining(["--run-strategy", "--no-wait", "--namespace"]),
    );
    expect(values("start", "--")).not.toContain("--power-state");
  });

  test("offers the values of a flag, in one word and in two", () => {
    expect(values("start", "--run-strategy", "")).toEqual(["Always", "RerunOnFailure", "Once"]);
    expect(values("start", "--run-strategy=O")).toEqual(["--run-strategy=Once"]);
  });

  test.each([
    [["start", ""], "machine", ""],
    [["start", "web", ""], "machine", ""],
    [["--namespace", "shop", "stop", "w"], "machine", ""],
    [["snapshot", "web", ""], undefined, ""],
    [["restore", "web", ""], "snapshot", ""],
    [["clone", ""], "disk", ""],
    [["start", "--context", ""], "context", ""],
    [["start", "--context=k"], "context", "--context="],
    [["start", "-n", ""], "namespace", ""],
    [["create", "vm", "--network", ""], "network", ""],
    [["ssh", "web", ""], "file", ""],
    [["ssh", "-i", ""], "file", ""],
    [["scp", ""], "file", ""],
    [["unknown", ""], undefined, ""],
  ] as const)("looks up after %j: %s", (words, completes, prefix) => {
    expect(next(...words)).toMatchObject({ completes, prefix });
  });

  test("knows which cluster and namespace the line is about", () => {
    const { globals } = next("start", "-n", "shop", "--context=kind", "--kubeconfig", "f", "");
    expect(Object.fromEntries(globals)).toEqual({ namespace: "shop", context: "kind", kubeconfig: "f" });
  });
});

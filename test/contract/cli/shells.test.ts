import { chmod, mkdir, mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { gzipSync } from "node:zlib";

import { afterAll, beforeAll, describe, expect, test } from "@jest/globals";
import fc from "fast-check";

import { bundlePlugin } from "../../../scripts/plugin.ts";
import { completionScripts } from "../../../src/cli/completion/scripts.ts";
import { tar } from "../../../src/cli/report/tar.ts";
import { quoteForProxyCommand, sshOptions } from "../../../src/cli/ssh/options.ts";
import { run } from "../../testbed/programs.ts";

/** What this program says to shells, ssh and tar, and how they take it. */

let directory: string;
let path: string;

const executable = async (name: string, text: string): Promise<void> => {
  await writeFile(join(directory, "bin", name), text);
  await chmod(join(directory, "bin", name), 0o755);
};

beforeAll(async () => {
  directory = await mkdtemp(join(tmpdir(), "vireo-shells-"));
  await mkdir(join(directory, "bin"));
  // The node that runs this test is the one of the program's shebang.
  path = [join(directory, "bin"), dirname(process.execPath), process.env["PATH"]].join(":");
  await bundlePlugin(join(directory, "bin/kubectl-vireo"));
  for (const [shell, text] of Object.entries(completionScripts))
    await executable(`completion.${shell}`, text);
});

afterAll(() => rm(directory, { recursive: true, force: true }));

const shell = (program: string, ...args: readonly string[]): Promise<string> =>
  run(program, args, { env: { PATH: path, HOME: directory } });

/** The candidates for a line, each shell asked in its own way. */
const complete = {
  bash: (line: string) =>
    shell(
      "bash",
      "--norc",
      "-c",
      `source ${directory}/bin/completion.bash; COMP_LINE=$1 COMP_POINT=\${#1}; _kubectl_vireo; printf '%s\\n' "\${COMPREPLY[@]}"`,
      "bash",
      line,
    ),
  zsh: (line: string) =>
    shell(
      "zsh",
      "-f",
      "-c",
      // The functions of zsh's completion system need a line editor; this shows what they are given.
      `compdef() { :; }; _files() { print files; }; _describe() { print -l -- "\${(@)\${(@P)2}%%:*}"; }; source ${directory}/bin/completion.zsh; words=("\${(@s: :)1}"); CURRENT=\${#words}; _kubectl_vireo`,
      "zsh",
      line,
    ),
  fish: (line: string) =>
    shell(
      "fish",
      "--no-config",
      "-c",
      `source ${directory}/bin/completion.fish; complete -C $argv[1] | string replace -r '\\t.*' ''; true`,
      line,
    ),
} as const;
const shells = ["bash", "zsh", "fish"] as const;

describe.each(shells)("%s completes", (name) => {
  const candidates = async (line: string): Promise<readonly string[]> =>
    (await complete[name](line))
      .split("\n")
      .filter((word) => word !== "")
      .toSorted();

  test.each([
    ["kubectl-vireo sn", ["snapshot"]],
    ["kubectl-vireo create ", ["vm"]],
    ["kubectl-vireo start --no-w", ["--no-wait"]],
    ["kubectl-vireo start --run-strategy ", ["Always", "Once", "RerunOnFailure"]],
    ["kubectl-vireo completion z", ["zsh"]],
  ] as const)("%s", async (line, wanted) => {
    expect(await candidates(line)).toEqual(wanted);
  });
});

test("bash completes the value after an equals sign, where it breaks the word", async () => {
  expect(await complete.bash("kubectl-vireo start --run-strategy=O")).toBe("Once\n");
});

test("kubectl's helper answers in Cobra's protocol", async () => {
  expect(await shell(join(directory, "bin/completion.kubectl"), "sto")).toBe(
    "stop\tShuts machines down, and keeps them off\n:4\n",
  );
});

test.each(["sh", "bash", "fish"])(
  "a word that is quoted for ssh reaches a program unharmed through %s",
  async (program) => {
    const word = fc.string({ unit: "grapheme-ascii", maxLength: 12 });
    await fc.assert(
      fc.asyncProperty(fc.array(word, { minLength: 1, maxLength: 4 }), async (words) => {
        // ssh turns %% into % before it gives the text to the shell.
        const text = words.map(quoteForProxyCommand).join(" ").replaceAll("%%", "%");
        expect(await shell(program, "-c", `/usr/bin/printf '%s\\n' ${text}`)).toBe(`${words.join("\n")}\n`);
      }),
      { numRuns: 15 },
    );
  },
);

test("ssh understands the options, and starts the command with its words", async () => {
  const said = join(directory, "said");
  await executable("my proxy's", `#!/bin/sh\nprintf '%s\\n' "$@" >'${said}'\n`);
  const options = sshOptions(
    { machine: "web", namespace: "shop", uid: "u-1", port: 2222 },
    {
      self: [join(directory, "bin/my proxy's")],
      kubeconfig: "/a b/100%/$HOME `id`",
      context: undefined,
      knownHosts: join(directory, "known hosts 100%"),
    },
  );
  // The proxy says nothing, and so ssh fails.
  await expect(
    shell("ssh", "-F", "none", "-o", "BatchMode=yes", ...options, "root@web.shop.vireo"),
  ).rejects.toThrow(/exit code 255/);
  expect((await readFile(said, "utf8")).split("\n")).toEqual([
    "port-forward",
    "--stdio",
    "--kubeconfig=/a b/100%/$HOME `id`",
    "--namespace=shop",
    "web",
    "2222",
    "",
  ]);
  const understood = await shell("ssh", "-F", "none", "-G", ...options, "root@web.shop.vireo");
  expect(understood).toContain("hostkeyalias vireo-u-1\n");
  expect(understood).toContain(`userknownhostsfile ${join(directory, "known hosts 100%")}\n`);
});

test("tar unpacks an archive as it was packed", async () => {
  const files = [
    { path: "about.json", content: Buffer.from("{}\n") },
    { path: `objects/${"x".repeat(87)}.yaml`, content: Buffer.alloc(70_000, "y") },
    { path: "empty", content: Buffer.alloc(0) },
  ];
  const archive = join(directory, "report.tar.gz");
  const packed = tar(files, { directory: "report-1", modifiedAt: new Date("2026-11-23T10:20:30Z") });
  await writeFile(archive, gzipSync(packed));
  await shell("tar", "-xzf", archive, "-C", directory);
  for (const { path: name, content } of files)
    expect((await readFile(join(directory, "report-1", name))).equals(content)).toBe(true);
});

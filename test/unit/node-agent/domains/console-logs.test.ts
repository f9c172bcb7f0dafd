import { mkdtemp, open, readFile, readdir, rm, stat, symlink, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";

import { afterEach, beforeEach, describe, expect, test } from "@jest/globals";

import { type ConsoleLogs, createConsoleLogs } from "../../../../src/node-agent/domains/console-logs.ts";
import { createFiles } from "../../../../src/node-agent/host/files.ts";

const UID = "4dea22b3-1d52-48f3-a516-782e98ab3fa0";
const OTHER = "5dea22b3-1d52-48f3-a516-782e98ab3fa0";
const signal = new AbortController().signal;

describe("console logs", () => {
  let stateDirectory: string;
  let directory: string;
  let logs: ConsoleLogs;

  beforeEach(async () => {
    stateDirectory = await mkdtemp(join(tmpdir(), "console-logs-"));
    directory = join(stateDirectory, "consoles");
    const files = createFiles({ roots: [stateDirectory] });
    logs = createConsoleLogs({ stateDirectory, files, maxBytes: 1000 });
    await logs.prepare();
  });
  afterEach(() => rm(stateDirectory, { recursive: true }));

  test("a log within its bound is left alone", async () => {
    await writeFile(logs.pathOf(UID), "x".repeat(1000));
    await logs.trim({ signal });
    expect(await readdir(directory)).toEqual([`${UID}.log`]);
    expect((await stat(logs.pathOf(UID))).size).toBe(1000);
  });

  test("beyond its bound its end is kept beside it, and the guest writes on at the start", async () => {
    const qemu = await open(logs.pathOf(UID), "a");
    try {
      await qemu.write("a".repeat(5000));
      await qemu.write("b".repeat(1000));
      await logs.trim({ signal });
      await qemu.write("login: ");
      expect(await readFile(logs.pathOf(UID), "utf8")).toBe("login: ");
      expect(await readFile(`${logs.pathOf(UID)}.0`, "utf8")).toBe("b".repeat(1000));
      await qemu.write("c".repeat(2000));
      await logs.trim({ signal });
      expect(await readFile(`${logs.pathOf(UID)}.0`, "utf8")).toBe("c".repeat(1000));
    } finally {
      await qemu.close();
    }
  });

  test("removing a machine's log takes its older parts too, and nothing of others", async () => {
    const foreign = [
      "README",
      `${OTHER}.log`,
      `${OTHER}.log.0`,
      `${OTHER}.sock`,
      `${UID}.logs`,
      `x-${UID}.log`,
    ];
    for (const name of [`${UID}.log`, `${UID}.log.0`, `${UID}.log.1`, `${UID}.sock`, ...foreign]) {
      await writeFile(join(directory, name), "text");
    }
    await logs.remove(UID);
    await logs.remove(UID);
    expect(await readdir(directory)).toEqual(foreign.toSorted());
  });

  test.each<[string, Readonly<Record<string, string>>, string]>([
    ["nothing of a machine without one", {}, ""],
    ["all of a short one", { ".log": "now" }, "now"],
    ["the older part first", { ".log": "now", ".log.0": "before " }, "before now"],
    ["the parts that virtlogd keeps", { ".log": "d", ".log.0": "c", ".log.1": "b", ".log.2": "a" }, "abcd"],
    [
      "the end of much",
      { ".log": "n".repeat(1000), ".log.0": `b${"a".repeat(1000)}`, ".log.1": "o" },
      "a".repeat(1000) + "n".repeat(1000),
    ],
  ])("are read: %s", async (_what, parts, expected) => {
    for (const [suffix, text] of Object.entries(parts)) await writeFile(join(directory, UID + suffix), text);
    await writeFile(logs.pathOf(OTHER), "another machine's");
    expect((await logs.read(UID, { signal })).toString()).toBe(expected);
  });

  test("a link in the place of a log is not followed", async () => {
    const target = join(stateDirectory, "precious");
    await writeFile(target, "p".repeat(5000));
    await symlink(target, logs.pathOf(UID));
    await logs.trim({ signal });
    expect((await stat(target)).size).toBe(5000);
  });

  test("only UIDs become paths", () => {
    expect(() => logs.pathOf("../../etc/passwd")).toThrow(RangeError);
  });

  test("without a directory there is nothing to trim or to remove", async () => {
    await rm(directory, { recursive: true });
    await logs.trim({ signal });
    await logs.remove(UID);
    expect(await readdir(stateDirectory)).toEqual([]);
  });
});

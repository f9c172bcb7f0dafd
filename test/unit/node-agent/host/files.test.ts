import { afterEach, beforeEach, describe, expect, test } from "@jest/globals";
import { execFileSync } from "node:child_process";
import { mkdirSync, mkdtempSync, readFileSync, rmSync, statSync, symlinkSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import {
  createFiles,
  errorCode,
  type Files,
  UnsafePathError,
} from "../../../../src/node-agent/host/files.ts";

let base: string;
let root: string;
let files: Files;

beforeEach(() => {
  base = mkdtempSync(join(tmpdir(), "vireo-files-"));
  root = join(base, "state");
  mkdirSync(root);
  mkdirSync(join(base, "outside"));
  writeFileSync(join(base, "outside", "secret"), "secret");
  files = createFiles({ roots: [root] });
});
afterEach(() => rmSync(base, { recursive: true, force: true }));

const textOf = (path: string) => files.readText(path, { maxBytes: 1000 });

describe("files", () => {
  test("a file is replaced as a whole, with the mode asked for, and no temporary file stays", async () => {
    const path = join(root, "a");
    writeFileSync(`${path}.new`, "left by a killed agent, and longer than what comes");
    await files.writeAtomically(path, "one", { mode: 0o644 });
    await files.writeAtomically(path, "two", { mode: 0o400 });
    expect(await textOf(path)).toBe("two");
    expect(statSync(path).mode & 0o7777).toBe(0o400);
    expect(await files.list(root)).toEqual(["a"]);
  });

  test("directories are made with their parents, and an old one gets the mode asked for", async () => {
    const path = join(root, "a", "b");
    await files.ensureDirectory(path, { mode: 0o755 });
    await files.ensureDirectory(path, { mode: 0o711 });
    expect(statSync(path).mode & 0o7777).toBe(0o711);
  });

  test("the root itself can be made", async () => {
    const fresh = join(base, "fresh", "state");
    await createFiles({ roots: [fresh] }).ensureDirectory(fresh, { mode: 0o711 });
    expect(statSync(fresh).isDirectory()).toBe(true);
  });

  test("what does not exist is undefined, empty, or nothing to do", async () => {
    const path = join(root, "absent", "x");
    expect(await textOf(path)).toBeUndefined();
    expect(await files.stat(path)).toBeUndefined();
    expect(await files.openForReading(path)).toBeUndefined();
    expect(await files.list(path)).toEqual([]);
    await files.remove(path);
  });

  test("a text that is too long is refused, not cut", async () => {
    writeFileSync(join(root, "a"), "x".repeat(1001));
    await expect(textOf(join(root, "a"))).rejects.toThrow(RangeError);
  });

  test("ranges of a file can be read, and chunks from an offset", async () => {
    writeFileSync(join(root, "a"), "0123456789");
    await using file = await files.openForReading(join(root, "a"));
    expect((await file?.read(8, 10))?.toString()).toBe("89");
    const chunks: Buffer[] = [];
    for await (const chunk of file?.chunks(3) ?? []) chunks.push(chunk);
    expect(Buffer.concat(chunks).toString()).toBe("3456789");
  });

  test("written bytes land at their offset, and a hole takes no space", async () => {
    const path = join(root, "a");
    await using file = await files.openForWriting(path, { mode: 0o600 });
    await file.write(Buffer.from("end"), 10_000_000);
    await file.sync();
    const status = await files.stat(path);
    expect(status?.sizeBytes).toBe(10_000_003);
    expect(status?.allocatedBytes).toBeLessThan(100_000);
  });

  test("a time of use can be written down", async () => {
    writeFileSync(join(root, "a"), "");
    await files.touch(join(root, "a"), new Date(1_000_000));
    expect((await files.stat(join(root, "a")))?.modifiedAt).toEqual(new Date(1_000_000));
  });

  test("space is that of the file system", async () => {
    const { sizeBytes, availableBytes } = await files.space(root);
    expect(availableBytes).toBeGreaterThan(0);
    expect(sizeBytes).toBeGreaterThanOrEqual(availableBytes);
  });
});

describe("files refuses", () => {
  const verbs: readonly [string, (path: string) => Promise<unknown>][] = [
    ["to make a directory", (path) => files.ensureDirectory(path, { mode: 0o755 })],
    ["to write", (path) => files.writeAtomically(path, "x", { mode: 0o600 })],
    ["to read", textOf],
    ["to list", (path) => files.list(path)],
    ["to open for writing", (path) => files.openForWriting(path, { mode: 0o600 })],
    ["to touch", (path) => files.touch(path, new Date(0))],
    ["to remove", (path) => files.remove(path)],
    ["to rename from", (path) => files.rename(path, join(root, "b"))],
    ["to rename to", (path) => files.rename(join(root, "b"), path)],
    ["to look", (path) => files.stat(path)],
  ];

  test.each(verbs)("%s through a symbolic link in the middle of the path", async (_sentence, verb) => {
    writeFileSync(join(root, "b"), "");
    symlinkSync(join(base, "outside"), join(root, "link"));
    await expect(verb(join(root, "link", "secret"))).rejects.toThrow(UnsafePathError);
    expect(readFileSync(join(base, "outside", "secret"), "utf8")).toBe("secret");
  });

  test.each(verbs)("%s outside its roots", async (_sentence, verb) => {
    for (const path of [join(base, "outside", "secret"), `${root}/../outside/secret`, "state/a", `${root}x`])
      await expect(verb(path)).rejects.toThrow(UnsafePathError);
  });

  test("to open a symbolic link", async () => {
    symlinkSync(join(base, "outside", "secret"), join(root, "link"));
    await expect(files.openForReading(join(root, "link"))).rejects.toThrow("symbolic link");
    await expect(files.openForWriting(join(root, "link"), { mode: 0o600 })).rejects.toThrow("symbolic link");
  });

  test("to open a directory or a FIFO, without waiting for the other end", async () => {
    execFileSync("mkfifo", [join(root, "fifo")]);
    await expect(files.openForReading(join(root, "fifo"))).rejects.toThrow("not a regular file");
    await expect(files.openForReading(root)).rejects.toThrow("not a regular file");
  });

  test("to remove a root, and removes a link instead of what it leads to", async () => {
    await expect(files.remove(root)).rejects.toThrow(UnsafePathError);
    symlinkSync(join(base, "outside"), join(root, "link"));
    await files.remove(join(root, "link"));
    expect(readFileSync(join(base, "outside", "secret"), "utf8")).toBe("secret");
  });
});

test("errorCode tells the code of system errors only", () => {
  expect(errorCode(Object.assign(new Error("full"), { code: "ENOSPC" }))).toBe("ENOSPC");
  expect(errorCode(new Error("other"))).toBeUndefined();
  expect(errorCode("ENOSPC")).toBeUndefined();
});

import { execFile } from "node:child_process";
import { mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { promisify } from "node:util";
import { afterAll, beforeAll, describe, expect, test } from "@jest/globals";
import { generateKeyPair } from "../../../src/controllers/key-pair/generate.ts";
import { judgeKey } from "../../../src/controllers/key-pair/judge.ts";

/** What OpenSSH itself says of keys. https://man.openbsd.org/ssh-keygen */

const run = promisify(execFile);
const sshKeygen = async (...args: string[]): Promise<string> => (await run("ssh-keygen", args)).stdout.trim();

let directory: string;

beforeAll(async () => {
  directory = await mkdtemp(join(tmpdir(), "vireo-keys-"));
});

afterAll(() => rm(directory, { recursive: true, force: true }));

/** "256 SHA256:… comment (ED25519)" -> "SHA256:…" */
const fingerprintOf = async (file: string): Promise<string | undefined> =>
  (await sshKeygen("-l", "-f", file)).split(" ")[1];

describe("A key that ssh-keygen made", () => {
  test.each([
    ["ed25519", undefined],
    ["rsa", "1024"],
    ["rsa", "2048"],
    ["rsa", "3072"],
    ["ecdsa", "256"],
    ["ecdsa", "384"],
    ["ecdsa", "521"],
  ])("of type %s (%s bits) has the fingerprint that ssh-keygen prints", async (type, bits) => {
    const file = join(directory, `${type}-${bits}`);
    const size = bits === undefined ? [] : ["-b", bits];
    await sshKeygen("-q", "-t", type, ...size, "-N", "", "-C", "somebody@example.com", "-f", file);
    const publicKey = (await readFile(`${file}.pub`, "utf8")).trim();
    expect(judgeKey("spec.publicKey", publicKey)).toEqual({
      kind: "usable",
      publicKey,
      fingerprint: await fingerprintOf(`${file}.pub`),
    });
  });
});

describe("A key that Vireo made", () => {
  test("is read by ssh-keygen, and both halves belong together", async () => {
    const { publicKey, privateKey } = generateKeyPair("default/me");
    const file = join(directory, "generated");
    await writeFile(file, privateKey, { mode: 0o600 });
    expect(await sshKeygen("-y", "-f", file)).toBe(publicKey);
    expect(judgeKey("status.publicKey", publicKey)).toMatchObject({ fingerprint: await fingerprintOf(file) });
  });

  test("signs, and the signature holds", async () => {
    const { publicKey, privateKey } = generateKeyPair("default/signer");
    const key = join(directory, "signer");
    const message = join(directory, "message");
    const allowed = join(directory, "allowed");
    await writeFile(key, privateKey, { mode: 0o600 });
    await writeFile(message, "something\n");
    await writeFile(allowed, `me ${publicKey}\n`);
    await sshKeygen("-Y", "sign", "-f", key, "-n", "vireo", message);
    const verify = `ssh-keygen -Y verify -f "$1" -I me -n vireo -s "$2.sig" < "$2"`;
    const { stdout } = await run("sh", ["-c", verify, "sh", allowed, message]);
    expect(stdout).toContain('Good "vireo" signature for me');
  });

  test("is another one each time", () => {
    const [first, second] = [generateKeyPair("a/b"), generateKeyPair("a/b")];
    expect(first.publicKey).not.toBe(second.publicKey);
  });
});

import { describe, expect, test } from "@jest/globals";
import fc from "fast-check";
import { judgePublicKey } from "../../../src/controllers/key-pair/public-key.ts";
import { sshString } from "../../../src/controllers/key-pair/wire-format.ts";
import { PUBLIC_KEY } from "./objects.ts";

const line = (type: string, ...parts: readonly (string | Uint8Array)[]): string =>
  `${type} ${Buffer.concat(parts.map(sshString)).toString("base64")} me`;

const bytes = (length: number, first = 7): Uint8Array => {
  const all = new Uint8Array(length).fill(7);
  all[0] = first;
  return all;
};

describe("A public key", () => {
  test.each([
    ["ed25519", line("ssh-ed25519", "ssh-ed25519", bytes(32))],
    [
      "RSA of 1024 bits, the highest of which is set",
      line("ssh-rsa", "ssh-rsa", bytes(3), Buffer.concat([Buffer.of(0), bytes(128, 0x80)])),
    ],
    ["ECDSA of 256 bits", line("ecdsa-sha2-nistp256", "ecdsa-sha2-nistp256", "nistp256", bytes(65, 4))],
    ["ECDSA of 384 bits", line("ecdsa-sha2-nistp384", "ecdsa-sha2-nistp384", "nistp384", bytes(97, 4))],
    ["ECDSA of 521 bits", line("ecdsa-sha2-nistp521", "ecdsa-sha2-nistp521", "nistp521", bytes(133, 4))],
    [
      "ed25519 on a token",
      line("sk-ssh-ed25519@openssh.com", "sk-ssh-ed25519@openssh.com", bytes(32), "ssh:"),
    ],
    [
      "ECDSA on a token",
      line(
        "sk-ecdsa-sha2-nistp256@openssh.com",
        "sk-ecdsa-sha2-nistp256@openssh.com",
        "nistp256",
        bytes(65, 4),
        "ssh:",
      ),
    ],
  ])("%s is taken", (_, text) => {
    expect(judgePublicKey(text)).toEqual({
      kind: "valid",
      fingerprint: expect.stringMatching(/^SHA256:[A-Za-z0-9+/]{43}$/),
    });
  });

  test.each([
    ["of a type that is not known", "ssh-dss AAAA", 'is of an unknown type "ssh-dss"'],
    ["of a type that every object has", "constructor AAAA", 'is of an unknown type "constructor"'],
    ["that is empty", "ssh-ed25519 ", "ends too early: was it cut off?"],
    [
      "whose base64 is cut within a character",
      `${PUBLIC_KEY.slice(0, 28)}A`,
      "is not whole base64: was it cut off?",
    ],
    ["that is cut off", PUBLIC_KEY.slice(0, 48), "ends too early: was it cut off?"],
    [
      "that holds another type than it says",
      line("ssh-ed25519", "ssh-rsa", bytes(32)),
      'says ssh-ed25519 and holds a key of type "ssh-rsa"',
    ],
    ["that is too short", line("ssh-ed25519", "ssh-ed25519", bytes(31)), "is not 32 bytes long"],
    [
      "with something behind it",
      line("ssh-ed25519", "ssh-ed25519", bytes(32), "x"),
      "is longer than a key of its type",
    ],
    [
      "of RSA with too few bits",
      line("ssh-rsa", "ssh-rsa", bytes(3), bytes(127, 0x7f)),
      "has 1015 bits; sshd takes no RSA key under 1024",
    ],
    ["of RSA without an exponent", line("ssh-rsa", "ssh-rsa", "", bytes(128)), "has no exponent"],
    [
      "of RSA with nothing in it",
      line("ssh-rsa", "ssh-rsa", bytes(3), ""),
      "has 0 bits; sshd takes no RSA key under 1024",
    ],
    [
      "on another curve",
      line("ecdsa-sha2-nistp256", "ecdsa-sha2-nistp256", "nistp384", bytes(65, 4)),
      'names the curve "nistp384" instead of nistp256',
    ],
    [
      "with a compressed point",
      line("ecdsa-sha2-nistp256", "ecdsa-sha2-nistp256", "nistp256", bytes(33, 2)),
      "holds no point of nistp256",
    ],
    [
      "of a token without an application",
      line("sk-ssh-ed25519@openssh.com", "sk-ssh-ed25519@openssh.com", bytes(32), ""),
      "names no application",
    ],
  ])("%s is refused", (_, text, problem) => {
    expect(judgePublicKey(text)).toEqual({ kind: "invalid", problem });
  });

  test("is judged without a throw, whatever it is", () => {
    fc.assert(
      fc.property(
        fc.constantFrom("ssh-ed25519", "ssh-rsa", "ecdsa-sha2-nistp256", "x"),
        fc.uint8Array({ maxLength: 200 }),
        (type, blob) => {
          const verdict = judgePublicKey(`${type} ${Buffer.from(blob).toString("base64")}`);
          expect(["valid", "invalid"]).toContain(verdict.kind);
        },
      ),
    );
  });
});

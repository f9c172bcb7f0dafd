import { describe, expect, test } from "@jest/globals";
import fc from "fast-check";

import { redactObject } from "../../../src/cli/report/redact.ts";
import { tar } from "../../../src/cli/report/tar.ts";

const machine = {
  metadata: {
    name: "web",
    annotations: {
      "kubectl.kubernetes.io/last-applied-configuration": '{"spec":{"cloudInit":{"userData":"hunter2"}}}',
      "example.com/kept": "yes",
    },
    managedFields: [{ manager: "x" }],
  },
  spec: {
    cloudInit: { userData: "hunter2", userDataSecretRef: { name: "seed", key: "userdata" } },
    image: "debian",
  },
};

describe("a redacted object", () => {
  test("has a length and a digest in the place of user data, and no copy of the manifest", () => {
    expect(redactObject(machine)).toEqual({
      metadata: { name: "web", annotations: { "example.com/kept": "yes" } },
      spec: {
        cloudInit: {
          userData: `(redacted: 7 bytes, sha256:f52fbd32b2b3b86ff88ef6c490628285f482af15ddcb29541f94bcf526a3f6c7)`,
          userDataSecretRef: { name: "seed", key: "userdata" },
        },
        image: "debian",
      },
    });
  });

  test.each([
    ["https://images.example.com/a.qcow2?X-Signature=abc", "https://images.example.com/a.qcow2?redacted"],
    ["http://user:password@host/x", "http://redacted@host/x"],
    ["cannot fetch https://h/p?token=t: 403", "cannot fetch https://h/p?redacted 403"],
    ["ssh-ed25519 AAAA me@example.com", "ssh-ed25519 AAAA me@example.com"],
    ["https://images.example.com/a.qcow2", "https://images.example.com/a.qcow2"],
  ])("has %j as %j", (text, wanted) => {
    expect(redactObject({ metadata: {}, a: { url: [text] } })).toEqual({
      metadata: {},
      a: { url: [wanted] },
    });
  });

  test("never shows user data, however deep they are", () => {
    const secret = fc.string({ minLength: 12 }).map((text) => `secret:${text}`);
    fc.assert(
      fc.property(secret, fc.array(fc.constantFrom("a", "b", "spec"), { maxLength: 4 }), (text, path) => {
        const deep = path.reduce<object>((inner, name) => ({ [name]: [inner] }), { userData: text });
        expect(JSON.stringify(redactObject({ metadata: {}, deep }))).not.toContain(
          JSON.stringify(text).slice(1, -1),
        );
      }),
    );
  });
});

describe("an archive", () => {
  test("is made of blocks, and ends with two empty ones", () => {
    const file = { path: "a", content: Buffer.alloc(513, 1) };
    const archive = tar([file, { path: "b", content: Buffer.alloc(0) }], {
      directory: "d",
      modifiedAt: new Date(0),
    });
    expect(archive.length).toBe((1 + 2 + 1 + 2) * 512);
    expect(archive.subarray(-1024).every((byte) => byte === 0)).toBe(true);
  });

  test("refuses a path that does not fit", () => {
    const files = [{ path: "x".repeat(101), content: Buffer.alloc(0) }];
    expect(() => tar(files, { directory: "d", modifiedAt: new Date(0) })).toThrow("too long for an archive");
  });
});

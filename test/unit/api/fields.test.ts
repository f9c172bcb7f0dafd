import { describe, expect, test } from "@jest/globals";
import fc from "fast-check";
import type { z } from "zod";

import {
  checksum,
  dnsLabel,
  ipv4Address,
  labelSelector,
  labelValue,
  macAddress,
  objectName,
  quantity,
  text,
  timestamp,
  versionText,
} from "../../../src/api/fields.ts";
import { imageFile, imageUrl } from "../../../src/api/image.ts";
import { sshPublicKey } from "../../../src/api/key-pair.ts";

const accepts = (schema: z.ZodType, value: unknown): boolean => schema.safeParse(value).success;

/** A good value of every field that becomes part of a path, a command line, XML or a rule. */
const goodValues: readonly (readonly [string, z.ZodType, string])[] = [
  ["an object's name", objectName, "web.example-1"],
  ["a DNS label", dnsLabel, "web-1"],
  ["a label's value", labelValue, "Fast_SSD.1"],
  ["an IPv4 address", ipv4Address, "10.0.0.1"],
  ["a MAC address", macAddress, "52:54:00:12:34:56"],
  ["a quantity", quantity, "512Mi"],
  ["a checksum", checksum, `sha256:${"0".repeat(64)}`],
  ["a time", timestamp, "2026-11-23T08:00:00Z"],
  ["a version", versionText, "10.0.2 (Debian 1:10.0.2+ds-2)"],
  ["an image's file", imageFile, "debian-13_amd64.qcow2"],
  ["an image's URL", imageUrl, "https://[2001:db8::1]:8443/a/b.qcow2?c=%20"],
  ["a public key", sshPublicKey, "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIGk me@example.com"],
];

const UNPRINTABLE = /[^ -~]/;

describe.each(goodValues)("%s", (_sentence, schema, good) => {
  test("is taken when it is good", () => {
    expect(accepts(schema, good)).toBe(true);
  });

  test.each(["\n", "\r", "\u0000", "\u2028", "\u00a0", "\ufeff"])("never ends with %j", (end) => {
    expect(accepts(schema, good + end)).toBe(false);
  });

  test("is printable ASCII, whatever is inserted", () => {
    const inserted = fc
      .tuple(fc.nat(good.length), fc.string({ unit: "binary", minLength: 1, maxLength: 3 }))
      .map(([at, added]) => good.slice(0, at) + added + good.slice(at));
    fc.assert(
      fc.property(inserted, (value) => {
        expect(accepts(schema, value) && UNPRINTABLE.test(value)).toBe(false);
      }),
    );
  });
});

describe("a name", () => {
  const alphabet = fc.string({ unit: fc.constantFrom("a", "0", "-", ".", "/", "A", "_"), maxLength: 12 });

  test("is never a path, an option or hidden", () => {
    fc.assert(
      fc.property(alphabet, (value) => {
        for (const schema of [objectName, dnsLabel, imageFile]) {
          expect(accepts(schema, value) && /\/|^[-.]|^$/.test(value)).toBe(false);
        }
      }),
    );
  });

  test("has at most 253 characters", () => {
    expect(accepts(objectName, "a".repeat(253))).toBe(true);
    expect(accepts(objectName, "a".repeat(254))).toBe(false);
  });
});

describe("text", () => {
  test("is counted in characters, as the API server does, not in UTF-16 units", () => {
    expect(accepts(text(3), "😀😀😀")).toBe(true);
    expect(accepts(text(3), "😀😀😀a")).toBe(false);
  });
});

describe("a label selector", () => {
  test.each<[string, unknown, boolean]>([
    ["may be empty", {}, true],
    ["takes a plain key", { disk: "fast" }, true],
    ["takes a key with a DNS prefix", { "example.com/disk": "" }, true],
    ["refuses a key with two slashes", { "a/b/c": "" }, false],
    ["refuses an empty key", { "": "" }, false],
    ["refuses a key that ends with a newline", { "disk\n": "" }, false],
    ["refuses a value that is a number", { disk: 1 }, false],
    [
      "refuses 17 labels",
      Object.fromEntries(Array.from({ length: 17 }, (_, index) => [`k${index}`, ""])),
      false,
    ],
  ])("%s", (_sentence, value, expected) => {
    expect(accepts(labelSelector, value)).toBe(expected);
  });
});

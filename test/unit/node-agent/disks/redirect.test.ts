import { describe, expect, test } from "@jest/globals";
import { displayUrl, redirectTarget } from "../../../../src/node-agent/disks/http-source.ts";

describe("redirectTarget", () => {
  test.each([
    ["to another server", "http://a/x", "http://b/y", "http://b/y"],
    ["to another path", "https://a/x/y", "../z", "https://a/z"],
    ["from http to https", "http://a/x", "https://a/x", "https://a/x"],
    ["without a scheme, which keeps it", "https://a/x", "//b/y", "https://b/y"],
  ])("follows one %s", (_sentence, from, location, expected) => {
    expect(redirectTarget(new URL(from), location).href).toBe(expected);
  });

  test.each([
    ["to a file", "http://a/x", "file:///etc/shadow"],
    ["to FTP", "http://a/x", "ftp://a/x"],
    ["to data", "http://a/x", "data:text/plain,x"],
    ["from https to http", "https://a/x", "http://a/x"],
    ["to nowhere", "http://a/x", undefined],
    ["to nonsense", "http://a/x", "http://["],
  ])("follows none %s", (_sentence, from, location) => {
    expect(() => redirectTarget(new URL(from), location)).toThrow(
      expect.objectContaining({ reason: "RedirectRefused" }),
    );
  });
});

test("secrets in a URL do not get into messages", () => {
  expect(displayUrl(new URL("https://user:password@host:8443/path?token=secret#part"))).toBe(
    "https://host:8443/path",
  );
});

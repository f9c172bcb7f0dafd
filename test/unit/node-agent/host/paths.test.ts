import { describe, expect, test } from "@jest/globals";
import fc from "fast-check";
import { isUid, uidPath } from "../../../../src/node-agent/host/paths.ts";

const uid = "0b0e6a4c-5d1f-4f43-9c1c-2f4f0c8f5a10";

describe("uidPath", () => {
  test("joins directory, UID and names", () => {
    expect(uidPath("/state/disks", uid, "root.qcow2")).toBe(`/state/disks/${uid}/root.qcow2`);
  });

  test.each([
    ["a name of an object", "my-machine"],
    ["nothing", ""],
    ["a way up", "../../etc"],
    ["a UID with a way up behind it", `${uid}/..`],
    ["a UID with a newline behind it", `${uid}\n`],
    ["an upper-case UUID, which would be a second name of the same directory", uid.toUpperCase()],
  ])("makes no path of %s", (_sentence, text) => {
    expect(isUid(text)).toBe(false);
    expect(() => uidPath("/state", text)).toThrow("not a UID");
  });

  test("takes every UUID that an API server makes", () => {
    fc.assert(fc.property(fc.uuid(), (text) => expect(uidPath("/s", text)).toBe(`/s/${text}`)));
  });
});

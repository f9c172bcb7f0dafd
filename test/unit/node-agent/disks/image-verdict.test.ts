import { describe, expect, test } from "@jest/globals";
import { FetchFailed, failureOf, ImageRefused } from "../../../../src/node-agent/disks/failure.ts";
import { reportImage, retryDelay, verdictOf } from "../../../../src/node-agent/disks/image-verdict.ts";

const uid = "0b0e6a4c-5d1f-4f43-9c1c-2f4f0c8f5a10";

describe("retryDelay", () => {
  test.each([
    ["the first retry comes after a second", 0, 1, 1000],
    ["or half of it, so that nodes do not come together", 0, 0, 500],
    ["each further one takes twice as long", 3, 1, 8000],
    ["never more than five minutes", 9, 1, 300_000],
    ["however often it failed", 100_000, 1, 300_000],
  ])("%s", (_sentence, failures, random, expected) => {
    expect(retryDelay(failures, random)).toBe(expected);
  });
});

describe("failureOf", () => {
  test.each([
    ["a full disk is NoSpace", Object.assign(new Error("write"), { code: "ENOSPC" }), "NoSpace"],
    ["a used-up quota is NoSpace", Object.assign(new Error("write"), { code: "EDQUOT" }), "NoSpace"],
    ["any other error is worth another try", new Error("EIO"), "FetchFailed"],
    ["even what is not an error", "text", "FetchFailed"],
    ["a refusal stays what it is", new ImageRefused("Corrupt", "x"), "Corrupt"],
  ])("%s", (_sentence, error, reason) => {
    expect(failureOf(error).reason).toBe(reason);
  });
});

describe("verdictOf", () => {
  test.each(["NotFound", "AddressRefused", "RedirectRefused"] as const)(
    "%s is looked at again, since asking costs one request",
    (reason) => {
      expect(verdictOf(new ImageRefused(reason, "x"), 7)).toMatchObject({ kind: "refused", retryAt: 7 });
    },
  );
  test.each(["ChecksumMismatch", "BackingFile", "TooLarge", "DecompressionFailed"] as const)(
    "%s is final, since asking costs a download",
    (reason) => {
      expect(verdictOf(new ImageRefused(reason, "x"), 7)).toMatchObject({
        kind: "refused",
        retryAt: undefined,
      });
    },
  );
});

describe("reportImage", () => {
  const failed = verdictOf(new FetchFailed("FetchFailed", "m".repeat(2000)), 7);
  const refused = verdictOf(new ImageRefused("NotFound", "no such file"), 7);
  test.each([
    ["an image without a verdict is being fetched", undefined, true, { state: "Fetching" }],
    ["a new attempt hides a failure that passes", failed, true, { state: "Fetching" }],
    ["a new attempt does not hide a refusal", refused, true, { state: "Failed", reason: "NotFound" }],
    ["a failure is told", failed, false, { state: "Failed", reason: "FetchFailed" }],
  ])("%s", (_sentence, verdict, isFetching, expected) => {
    expect(reportImage(uid, verdict, isFetching)).toMatchObject({ uid, ...expected });
  });

  test("messages fit the schema of Hypervisor", () => {
    expect(reportImage(uid, failed, false).message).toHaveLength(1024);
  });
});

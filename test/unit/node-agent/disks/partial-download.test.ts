import { describe, expect, test } from "@jest/globals";
import type { HttpAnswer } from "../../../../src/node-agent/disks/http-source.ts";
import { continues, validatorOf } from "../../../../src/node-agent/disks/partial-download.ts";

const answer = (headers: Readonly<Record<string, string | undefined>>): HttpAnswer => ({
  status: 206,
  header: (name) => headers[name],
  body: {
    async *[Symbol.asyncIterator]() {
      // Only the headers are looked at.
    },
  },
  discard: () => {},
});

describe("validatorOf", () => {
  test.each([
    ["a strong ETag identifies the content", { etag: '"a"', "last-modified": "Mon" }, '"a"'],
    ["a weak ETag does not, the date does", { etag: 'W/"a"', "last-modified": "Mon" }, "Mon"],
    ["a weak ETag alone is nothing", { etag: 'W/"a"' }, undefined],
    ["nothing is nothing", {}, undefined],
  ])("%s", (_sentence, headers, expected) => {
    expect(validatorOf(answer(headers))).toBe(expected);
  });
});

describe("a partial answer", () => {
  const record = { url: "http://h/", validator: '"a"', totalBytes: 100, durableBytes: 40 };
  const good = { "content-range": "bytes 40-99/100", etag: '"a"' };
  test.each([
    ["that begins where we ended goes on", {}, true],
    ["of unknown size goes on", { "content-range": "bytes 40-99/*" }, true],
    ["that does not say what it is part of goes on, since If-Range was asked", { etag: undefined }, true],
    ["that begins elsewhere does not", { "content-range": "bytes 0-99/100" }, false],
    ["of another size does not", { "content-range": "bytes 40-119/120" }, false],
    ["of another content does not", { etag: '"b"' }, false],
    ["without a range does not", { "content-range": undefined }, false],
    ["with nonsense for a range does not", { "content-range": "bytes 40-" }, false],
  ])("%s", (_sentence, change, expected) => {
    expect(continues(answer({ ...good, ...change }), record)).toBe(expected);
  });
});

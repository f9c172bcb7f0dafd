import { describe, expect, test } from "@jest/globals";
import fc from "fast-check";
import { ApiError } from "../../../src/kube/api-error.ts";
import { WatchProtocolError, linesOf, parseWatchLine } from "../../../src/kube/watch-stream.ts";

const chunksOf = (bytes: Uint8Array, cuts: readonly number[]): Uint8Array[] => {
  const places = [...new Set(cuts.map((cut) => cut % (bytes.length + 1)))].sort((a, b) => a - b);
  return [0, ...places].map((place, index) => bytes.subarray(place, places[index]));
};

async function* stream(chunks: readonly Uint8Array[]): AsyncGenerator<Uint8Array> {
  yield* chunks;
}

const collect = async (lines: AsyncIterable<string>): Promise<string[]> => {
  const result: string[] = [];
  for await (const line of lines) result.push(line);
  return result;
};

describe("linesOf", () => {
  test("however the bytes are cut, the lines are the same, and no character is broken", async () => {
    const text = fc.string({ unit: "grapheme" }).map((line) => line.replaceAll("\n", ""));
    await fc.assert(
      fc.asyncProperty(fc.array(text), fc.array(fc.nat(500)), async (lines, cuts) => {
        const bytes = new TextEncoder().encode(lines.map((line) => `${line}\n`).join(""));
        expect(await collect(linesOf(stream(chunksOf(bytes, cuts))))).toEqual(lines);
      }),
    );
  });

  test.each([
    ["a stream that is cut in a line is an error", new TextEncoder().encode('{"type":"ADDED"}\n{"ty')],
    ["bytes that are not UTF-8 are an error", new Uint8Array([0x7b, 0xff, 0xfe, 0x0a])],
    [
      "a line without end is an error before it fills the memory",
      new Uint8Array(17 * 1024 * 1024).fill(0x61),
    ],
  ])("%s", async (_sentence, bytes) => {
    await expect(collect(linesOf(stream([bytes])))).rejects.toThrow(WatchProtocolError);
  });
});

const bookmarkLine = (annotations: unknown): string =>
  JSON.stringify({ type: "BOOKMARK", object: { metadata: { resourceVersion: "9", annotations } } });

describe("parseWatchLine", () => {
  const metadata = { name: "web", namespace: "shop", resourceVersion: "7" };

  test.each([
    ["ADDED", "added"],
    ["MODIFIED", "modified"],
    ["DELETED", "deleted"],
  ])("%s carries the object and its version", (type, kind) => {
    const event = parseWatchLine("watch widgets", JSON.stringify({ type, object: { metadata } }));
    expect(event).toEqual({ kind, object: { metadata }, resourceVersion: "7" });
  });

  test("a bookmark tells the version, and whether all that existed was sent", () => {
    const bookmark = { kind: "bookmark", resourceVersion: "9" };
    expect(parseWatchLine("w", bookmarkLine(undefined))).toEqual({ ...bookmark, initialEventsEnd: false });
    expect(parseWatchLine("w", bookmarkLine({ "k8s.io/initial-events-end": "true" }))).toEqual({
      ...bookmark,
      initialEventsEnd: true,
    });
  });

  test("an ERROR event becomes an ApiError with the server's words", () => {
    const object = { code: 410, reason: "Expired", message: "too old resource version" };
    const parse = (): unknown => parseWatchLine("watch widgets", JSON.stringify({ type: "ERROR", object }));
    expect(parse).toThrow(ApiError);
    expect(parse).toThrow("watch widgets: 410 Expired: too old resource version");
  });

  test.each([
    ["what is not JSON", "}{"],
    ["what is no object", "42"],
    ["an unknown type", '{"type":"RENAMED","object":{}}'],
    ["an object without a name", '{"type":"ADDED","object":{"metadata":{"resourceVersion":"1"}}}'],
    ["an object without a version", '{"type":"ADDED","object":{"metadata":{"name":"a"}}}'],
    ["a bookmark without a version", '{"type":"BOOKMARK","object":{}}'],
  ])("%s is refused", (_what, line) => {
    expect(() => parseWatchLine("w", line)).toThrow(WatchProtocolError);
  });
});

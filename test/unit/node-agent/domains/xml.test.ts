import { describe, expect, test } from "@jest/globals";
import fc from "fast-check";

import {
  element,
  find,
  findAll,
  parseXml,
  readableText,
  serialize,
  textOf,
  type XmlElement,
} from "../../../../src/node-agent/domains/domain-xml/xml.ts";
import { hostileTexts } from "./parsed-domain.ts";

/** White space alone is what stands between elements, and says nothing. */
const words = fc
  .string({ unit: "binary", minLength: 1 })
  .map(readableText)
  .filter((text) => text.trim() !== "");

const { tree } = fc.letrec<{ tree: XmlElement }>((tie) => ({
  tree: fc
    .record({
      name: fc.constantFrom("a", "b", "vireo:c"),
      attributes: fc.dictionary(
        fc.constantFrom("file", "xmlns:v"),
        fc.string({ unit: "binary" }).map(readableText),
        {
          noNullPrototype: true,
        },
      ),
      children: fc.oneof(
        { depthSize: "small" },
        fc.constant([]),
        words.map((text) => [text]),
        fc.array(tie("tree"), { maxLength: 3 }),
      ),
    })
    .map((element): XmlElement => element),
}));

describe("XML", () => {
  test("is read as it was written", () => {
    fc.assert(
      fc.property(tree, (root) => {
        expect(parseXml(serialize(root))).toEqual(root);
      }),
    );
  });

  test.each(hostileTexts.map((text) => [JSON.stringify(text).slice(0, 60), readableText(text)]))(
    "carries %s there and back",
    (_what, text) => {
      const read = parseXml(serialize(element("a", { b: text }, element("c", {}, text))));
      expect(read.attributes["b"]).toBe(text);
      expect(textOf(find(read, "c"))).toBe(text);
    },
  );

  test("is read behind a declaration, and without the white space between elements", () => {
    const read = parseXml(`<?xml version='1.0'?>\n<!-- a -->\n<a>\n  <b>1</b>\n  <b c='2'/>\n</a>\n`);
    expect(findAll(read, "b").map(textOf)).toEqual(["1", ""]);
    expect(find(read, "b", "c")).toBeUndefined();
    expect(textOf(undefined)).toBe("");
  });

  test.each(["", "text", "<?xml version='1.0'?>"])("is not what is not: %j", (text) => {
    expect(() => parseXml(text)).toThrow();
  });
});

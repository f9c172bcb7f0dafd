import { describe, expect, test } from "@jest/globals";
import { z } from "zod";

import { labelSelector, rules, text } from "../../../src/api/fields.ts";
import { NotStructuralError, structuralSchema } from "../../../src/api/structural-schema.ts";

const convert = (field: z.ZodType) =>
  structuralSchema(z.object({ field }), "Kind.spec").properties?.["field"];

const never = { rule: "false", message: "never" };

interface Tree {
  readonly children: readonly Tree[];
}
const tree: z.ZodType<Tree> = z.object({
  get children() {
    return z.array(tree);
  },
});

describe("structuralSchema", () => {
  test.each<[string, z.ZodType, unknown]>([
    ["a string keeps its bounds", z.string().min(1).max(9), { type: "string", minLength: 1, maxLength: 9 }],
    [
      "a pattern loses the escapes of JavaScript",
      z.string().regex(/^a\/b$/),
      { type: "string", pattern: "^a/b$" },
    ],
    ["text is bounded in characters", text(10), { type: "string", maxLength: 10 }],
    ["an enum is a string with values", z.enum(["A", "B"]), { type: "string", enum: ["A", "B"] }],
    ["a boolean", z.boolean(), { type: "boolean" }],
    [
      "a small integer is an int32",
      z.int().min(0).max(9),
      { type: "integer", format: "int32", minimum: 0, maximum: 9 },
    ],
    [
      "an integer beyond 31 bits is an int64, with the bounds that JavaScript has",
      z.int().min(0),
      { type: "integer", format: "int64", minimum: 0, maximum: Number.MAX_SAFE_INTEGER },
    ],
    [
      "a default and a description are kept",
      z.enum(["A"]).default("A").describe("What."),
      { description: "What.", type: "string", default: "A", enum: ["A"] },
    ],
    [
      "an object with inner defaults is itself a default",
      z.object({ a: z.boolean().default(true) }).prefault({}),
      { type: "object", default: {}, properties: { a: { type: "boolean", default: true } } },
    ],
    [
      "a strict object is not said to be strict, for the server refuses unknown fields by itself",
      z.strictObject({ a: z.boolean() }),
      { type: "object", properties: { a: { type: "boolean" } }, required: ["a"] },
    ],
    [
      "extensions pass through",
      z.array(z.string()).max(2).meta({ "x-kubernetes-list-type": "set" }),
      { type: "array", items: { type: "string" }, maxItems: 2, "x-kubernetes-list-type": "set" },
    ],
    [
      "titles and examples are for readers of the source",
      z.boolean().meta({ title: "T", examples: [true] }),
      { type: "boolean" },
    ],
    [
      "an address is checked by CEL, and by no format, under which the server would take a list",
      z.ipv4().meta(rules(never)),
      {
        type: "string",
        pattern: "^[0-9.]+$",
        "x-kubernetes-validations": [expect.objectContaining({ rule: "isIP(self)" }), never],
      },
    ],
    [
      "a network is checked by CEL",
      z.cidrv4(),
      {
        type: "string",
        pattern: "^[0-9.]+/[0-9]+$",
        "x-kubernetes-validations": [expect.objectContaining({ rule: "isCIDR(self)" })],
      },
    ],
    [
      "a time is checked by its pattern",
      z.iso.datetime(),
      { type: "string", pattern: expect.stringMatching(/^\^.*Z\)\)\$$/) },
    ],
    [
      "a map with a rule for its keys",
      labelSelector,
      expect.objectContaining({
        type: "object",
        maxProperties: 16,
        additionalProperties: expect.objectContaining({ type: "string", maxLength: 63 }),
      }),
    ],
  ])("%s", (_sentence, schema, expected) => {
    expect(convert(schema)).toEqual(expected);
  });

  test("a member without default that is not optional is required", () => {
    const schema = z.object({ a: z.boolean(), b: z.boolean().optional(), c: z.boolean().default(true) });
    expect(structuralSchema(schema, "Kind.spec").required).toEqual(["a"]);
  });

  test.each<[string, z.ZodType, string]>([
    ["anything", z.unknown(), "its type is anything"],
    ["a date", z.date(), "its type is anything"],
    ["a float", z.number(), "its type is number"],
    ["null", z.null(), "can"],
    ["a nullable member", z.string().nullable(), "nullable cannot be said"],
    ["a union", z.union([z.string(), z.boolean()]), "it is a union"],
    [
      "a discriminated union",
      z.discriminatedUnion("kind", [z.object({ kind: z.literal("A") }), z.object({ kind: z.literal("B") })]),
      "it is a union",
    ],
    ["a tuple", z.tuple([z.string(), z.boolean()]), "it is a union"],
    ["a type that contains itself", tree, "it contains itself"],
    ["an object that takes any other member", z.looseObject({ a: z.string() }), "any others"],
    ["a map whose keys nothing checks", z.record(z.string().max(3), z.string()), "the keys of a map"],
    ["a format that the server does not know", z.email(), 'no format "email"'],
    ["two patterns", z.string().regex(/^a$/).regex(/^b$/), "allOf cannot be said"],
    ["a pattern with look-ahead", z.string().regex(/^(?=a)b$/), "not in RE2"],
    ["a pattern with a back-reference", z.string().regex(/^(a)\1$/), "not in RE2"],
    ["a pattern with \\s, which is Unicode's in JavaScript", z.string().regex(/^\s$/), "name the characters"],
    ["a pattern with a dot", z.string().regex(/^.$/), "a dot stands for"],
    ["a pattern that is open at its start", z.string().regex(/a$/), "anchored"],
    ["a pattern that is open at its end", z.string().regex(/^a/), "anchored"],
    ["a pattern whose alternatives have one anchor each", z.string().regex(/^a|b$/), "anchored"],
    ["a pattern whose alternatives follow a group", z.string().regex(/^((a)c)|b$/), "anchored"],
    ["a string or an integer", z.union([z.string(), z.int()]), "it is a union"],
  ])("%s is refused with its path", (_sentence, schema, why) => {
    const inList = () => convert(z.array(schema));
    expect(inList).toThrow(NotStructuralError);
    expect(inList).toThrow("Kind.spec.field[]");
    expect(inList).toThrow(why);
  });
});

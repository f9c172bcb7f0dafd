import { XMLBuilder } from "fast-xml-parser";

/** An element of XML as a value. Attributes and text are plain data; they are escaped when written. */
export interface XmlElement {
  readonly name: string;
  readonly attributes: Readonly<Record<string, string>>;
  readonly children: readonly (XmlElement | string)[];
}

type Attributes = Readonly<Record<string, string | number | undefined>>;

/** Attributes that are undefined are left out. */
export const element = (
  name: string,
  attributes: Attributes = {},
  ...children: readonly (XmlElement | string | number)[]
): XmlElement => ({
  name,
  attributes: Object.fromEntries(
    Object.entries(attributes).flatMap(([key, value]) => (value === undefined ? [] : [[key, String(value)]])),
  ),
  children: children.map((child) => (typeof child === "number" ? String(child) : child)),
});

/**
 * Characters that XML 1.0 cannot express, even escaped, and the white space
 * that libvirt refuses in a title. https://www.w3.org/TR/xml/#charsets
 */
const UNWANTED = /[\p{Cc}\ufffe\uffff]/gu;

/** Text for people: what cannot be shown becomes U+FFFD, the replacement character. */
export const readableText = (text: string): string => text.toWellFormed().replace(UNWANTED, "\ufffd");

/** Throws RangeError: a value that means something must not become another one on its way. */
const exact = (value: string, where: string): string => {
  if (readableText(value) !== value) {
    throw new RangeError(`${where} has a character that XML cannot carry: ${JSON.stringify(value)}`);
  }
  return value;
};

const TEXT = "#text";
const ATTRIBUTES = ":@";

/** The shape of fast-xml-parser's builder with `preserveOrder`. */
type Node = Readonly<Record<string, unknown>>;

const textNode = (text: string, where: string): Node => ({ [TEXT]: exact(text, where) });

const nodeOf = ({ name, attributes, children }: XmlElement): Node => {
  for (const [key, value] of Object.entries(attributes)) exact(value, `attribute ${key} of <${name}>`);
  return {
    [name]: children.map((child) =>
      typeof child === "string" ? textNode(child, `<${name}>`) : nodeOf(child),
    ),
    [ATTRIBUTES]: attributes,
  };
};

const builder = new XMLBuilder({
  preserveOrder: true,
  ignoreAttributes: false,
  attributeNamePrefix: "",
  suppressEmptyNode: true,
  format: true,
});

/** Throws RangeError for a character that XML cannot carry. */
export const serialize = (root: XmlElement): string => builder.build([nodeOf(root)]).trimStart();

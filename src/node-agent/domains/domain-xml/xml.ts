import { XMLBuilder, XMLParser } from "fast-xml-parser";

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

const parser = new XMLParser({
  preserveOrder: true,
  ignoreAttributes: false,
  attributeNamePrefix: "",
  parseTagValue: false,
  parseAttributeValue: false,
  trimValues: false,
});

const isRecord = (value: unknown): value is Node => typeof value === "object" && value !== null;

const recordIn = (value: unknown): Node => (isRecord(value) ? value : {});

/** What fast-xml-parser's `preserveOrder` makes of an element, or of text. */
const fromNode = (node: Node): XmlElement | string => {
  const text = node[TEXT];
  // The parser leaves every text a string: parseTagValue is off.
  if (typeof text === "string") return text;
  const name = Object.keys(node).find((key) => key !== ATTRIBUTES) ?? "";
  const attributes = Object.entries(recordIn(node[ATTRIBUTES])).map(([key, value]) => [key, String(value)]);
  return { name, attributes: Object.fromEntries(attributes), children: fromNodes(node[name]) };
};

/** White space between elements only makes them readable. */
const fromNodes = (nodes: unknown): XmlElement["children"] =>
  (Array.isArray(nodes) ? nodes : [])
    .map((node: unknown) => fromNode(recordIn(node)))
    .filter((child) => typeof child !== "string" || child.trim() !== "");

/** The root element. Throws Error when the text is not XML. */
export const parseXml = (text: string): XmlElement => {
  const root = fromNodes(parser.parse(text)).find(
    (child) => typeof child !== "string" && !child.name.startsWith("?"),
  );
  if (root === undefined || typeof root === "string") throw new Error("no XML, as it should be from libvirt");
  return root;
};

const isElement = (child: XmlElement | string): child is XmlElement => typeof child !== "string";

/** All elements at the end of a path of names. */
export const findAll = (root: XmlElement, ...path: readonly string[]): readonly XmlElement[] =>
  path.reduce<readonly XmlElement[]>(
    (parents, name) =>
      parents.flatMap(({ children }) => children.filter(isElement).filter((child) => child.name === name)),
    [root],
  );

/** The first element at the end of a path of names. */
export const find = (root: XmlElement, ...path: readonly string[]): XmlElement | undefined =>
  findAll(root, ...path)[0];

export const textOf = (root: XmlElement | undefined): string =>
  root?.children.filter((child) => typeof child === "string").join("") ?? "";

import { XMLParser } from "fast-xml-parser";

import { domainXml, type HostParts } from "../../../../src/node-agent/domains/domain-xml/index.ts";
import type { Domain } from "../../../../src/node-agent/domains/types.ts";
import { wantedDomain } from "./wanted.ts";

/** What libvirt would read of a guest's description, by another reader than ours. */

export const host: HostParts = {
  consoleLogPath: "/var/lib/vireo/consoles/4dea22b3-1d52-48f3-a516-782e98ab3fa0.log",
  spice: true,
  consoleSocketPath: "/var/lib/vireo/consoles/4dea22b3-1d52-48f3-a516-782e98ab3fa0.sock",
  uefi: { code: "/usr/share/OVMF/CODE.fd", variablesTemplate: "/usr/share/OVMF/VARS.fd" },
};

export const parser = new XMLParser({
  ignoreAttributes: false,
  attributeNamePrefix: "",
  parseTagValue: false,
  parseAttributeValue: false,
  trimValues: false,
});

/** Follows names through parsed XML. */
export const at = (value: unknown, ...path: readonly string[]): unknown =>
  path.reduce<unknown>(
    (inner, name) => (typeof inner === "object" && inner !== null ? Reflect.get(inner, name) : undefined),
    value,
  );

export const parsed = (changes: Partial<Domain> = {}): unknown =>
  at(parser.parse(domainXml(wantedDomain(changes), host)), "domain");

/** Without the white space between elements. */
export const plain = (value: unknown): unknown => {
  if (typeof value !== "object" || value === null) return value;
  const entries = Object.entries(value).filter(
    ([name, text]) => name !== "#text" || String(text).trim() !== "",
  );
  return Object.fromEntries(entries.map(([name, inner]) => [name, plain(inner)]));
};

export const listed = (value: unknown): readonly unknown[] =>
  Array.isArray(value) ? value : value === undefined ? [] : [value];

/** What users may write, and worse. */
export const hostileTexts = [
  "../../../etc/passwd",
  `"'><&`,
  "</title></domain><domain type='kvm'>",
  "]]>",
  "<!-- --><![CDATA[x]]>",
  "&amp;&#0;&xxe;",
  "line\nbreak\r\ttab",
  "\u0000\u0001\u001b[31m\u007f\u0085",
  "\ud800 half a pair",
  "\ufffe\uffff",
  "ünïcödé 💥 \u202e",
  "a".repeat(253),
  "__proto__",
];

import { createHash } from "node:crypto";
import { withoutManagedFields } from "../print.ts";

/** Members whose text is nobody's business but the guest's, wherever they are. */
const PRIVATE_MEMBERS: ReadonlySet<string> = new Set(["userData", "networkData"]);

/** kubectl keeps a copy of the whole manifest in it, private members included. */
const COPIES = "kubectl.kubernetes.io/last-applied-configuration";

/**
 * An object as it may be shown to others: user data are replaced by their length
 * and digest, addresses lose what may be a token, copies of the manifest are
 * left out. Public keys, names and states stay. Secrets are never read at all.
 */
export const redactObject = (object: Readonly<Record<string, unknown>>): Readonly<Record<string, unknown>> =>
  redactMembers(withoutManagedFields(object));

const redactMembers = (object: Readonly<Record<string, unknown>>): Readonly<Record<string, unknown>> =>
  Object.fromEntries(
    Object.entries(object)
      .filter(([name]) => name !== COPIES)
      .map(([name, value]) => [name, redactMember(name, value)]),
  );

const redactMember = (name: string, value: unknown): unknown => {
  if (typeof value === "string") {
    if (PRIVATE_MEMBERS.has(name)) return `(redacted: ${digestOf(value)})`;
    return redactUrl(value);
  }
  if (Array.isArray(value)) return value.map((item: unknown) => redactMember("", item));
  if (typeof value === "object" && value !== null) return redactMembers(value as Record<string, unknown>);
  return value;
};

/** Tells whether two texts are the same, and nothing else. */
const digestOf = (text: string): string =>
  `${Buffer.byteLength(text)} bytes, sha256:${createHash("sha256").update(text).digest("hex")}`;

/** A query may be a signature, and a name before the host a password. */
const redactUrl = (text: string): string =>
  text.replaceAll(
    /\b(https?:\/\/)([^\s/?#@]*@)?([^\s?#]*)(\?[^\s#"']*)?/gu,
    (_, scheme: string, user, rest: string, query) =>
      [scheme, user === undefined ? "" : "redacted@", rest, query === undefined ? "" : "?redacted"].join(""),
  );

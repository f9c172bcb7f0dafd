import { z } from "zod";

/** How kube-apiserver proves that it is the one who hands a user's request on, and where it says who the user is. */
export interface FrontProxy {
  /** Authorities of its client certificate, PEM. */
  readonly clientAuthorities: string;
  /** Common names that the certificate may have; empty: any. */
  readonly allowedNames: readonly string[];
  /** Names of headers, in lower case; the first that is there counts. */
  readonly userHeaders: readonly string[];
  readonly groupHeaders: readonly string[];
  readonly extraPrefixes: readonly string[];
}

/** A user as kube-apiserver has authenticated him. */
export interface User {
  readonly name: string;
  readonly groups: readonly string[];
  readonly extra: Readonly<Record<string, readonly string[]>>;
}

const names = z
  .string()
  .default("[]")
  .transform((text, context) => {
    try {
      return z.array(z.string()).parse(JSON.parse(text));
    } catch {
      context.addIssue({ code: "custom", message: "must be a JSON list of texts" });
      return z.NEVER;
    }
  });
const headerNames = names.transform((list) => list.map((name) => name.toLowerCase()));

const configuration = z
  .object({
    "client-ca-file": z.string().optional(),
    "requestheader-client-ca-file": z.string().min(1),
    "requestheader-allowed-names": names,
    "requestheader-username-headers": headerNames,
    "requestheader-group-headers": headerNames,
    "requestheader-extra-headers-prefix": headerNames,
  })
  .refine(
    (read) =>
      read["requestheader-allowed-names"].length > 0 ||
      read["requestheader-client-ca-file"] !== read["client-ca-file"],
    "users have certificates of the front proxy's authority, and every name is allowed: anybody could be anybody. " +
      "Give kube-apiserver --requestheader-allowed-names, or an authority of its own",
  );

/**
 * Reads the data of ConfigMap kube-system/extension-apiserver-authentication,
 * which kube-apiserver keeps. Throws when it does not say what it must.
 */
export const readFrontProxy = (data: Readonly<Record<string, string>>): FrontProxy => {
  const read = configuration.parse(data);
  return {
    clientAuthorities: read["requestheader-client-ca-file"],
    allowedNames: read["requestheader-allowed-names"],
    userHeaders: read["requestheader-username-headers"],
    groupHeaders: read["requestheader-group-headers"],
    extraPrefixes: read["requestheader-extra-headers-prefix"],
  };
};

export interface Caller {
  /** Whether TLS has verified the client's certificate against `clientAuthorities`. */
  readonly verified: boolean;
  /** Common name of that certificate. */
  readonly commonName: string | undefined;
  /** With each value on its own, names in lower case. */
  readonly headers: Readonly<Record<string, readonly string[] | undefined>>;
}

/**
 * Who asks. Undefined unless the connection is kube-apiserver's own: headers
 * alone anybody can send.
 */
export const authenticate = (
  proxy: FrontProxy,
  { verified, commonName, headers }: Caller,
): User | undefined => {
  if (!verified || commonName === undefined) return undefined;
  if (proxy.allowedNames.length > 0 && !proxy.allowedNames.includes(commonName)) return undefined;
  const [name] = proxy.userHeaders.flatMap((header) => headers[header] ?? []);
  if (name === undefined || name === "") return undefined;
  return {
    name,
    groups: proxy.groupHeaders.flatMap((header) => headers[header] ?? []),
    extra: extraOf(proxy, headers),
  };
};

/** X-Remote-Extra-authentication.kubernetes.io%2fnode-name: the rest of the header's name is the key, percent-encoded. */
const extraOf = (proxy: FrontProxy, headers: Caller["headers"]): User["extra"] => {
  const extra: Record<string, readonly string[]> = {};
  for (const [header, values] of Object.entries(headers)) {
    const prefix = proxy.extraPrefixes.find((candidate) => header.startsWith(candidate));
    if (prefix === undefined || values === undefined) continue;
    const key = decode(header.slice(prefix.length));
    extra[key] = [...(extra[key] ?? []), ...values];
  }
  return extra;
};

const decode = (text: string): string => {
  try {
    return decodeURIComponent(text).toLowerCase();
  } catch {
    return text;
  }
};

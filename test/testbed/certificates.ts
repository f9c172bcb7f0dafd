import { rename, writeFile } from "node:fs/promises";
import { isIP } from "node:net";
import { join } from "node:path";

import { exists } from "./cache.ts";
import { run } from "./programs.ts";

/** A certificate and its private key, as PEM files. */
export interface KeyPairFiles {
  readonly certificateFile: string;
  readonly keyFile: string;
}

/** Who a client certificate says it is: Kubernetes reads the user from CN and the groups from O. */
export interface Subject {
  readonly user: string;
  readonly groups: readonly string[];
}

/** openssl with its arguments in groups of what belongs together. */
const openssl = async (...groups: readonly (readonly string[])[]): Promise<void> => {
  await run("openssl", groups.flat());
};

const VALID_DAYS = "3650";
const NEW_KEY = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"] as const;

const filesOf = (directory: string, name: string): KeyPairFiles => ({
  certificateFile: join(directory, `${name}.crt`),
  keyFile: join(directory, `${name}.key`),
});

/** A slash would start the next field of -subj. */
const escape = (value: string): string => value.replaceAll(/[\\/+=]/g, String.raw`\$&`);

/** One line of openssl's -subj. */
const subjectText = (subject: Subject): string => {
  return [...subject.groups.map((group) => `/O=${escape(group)}`), `/CN=${escape(subject.user)}`].join("");
};

/** ca: of the API server and its clients. front-proxy-ca: of the API server as a client of aggregated APIs. */
export type AuthorityName = "ca" | "front-proxy-ca";

/** One of the testbed's certificate authorities: made once per directory, kept by later starts. */
export const ensureAuthority = async (
  directory: string,
  authority: AuthorityName = "ca",
): Promise<KeyPairFiles> => {
  const files = filesOf(directory, authority);
  if (await exists(files.certificateFile)) return files;
  const unfinished = `${files.certificateFile}.tmp`;
  await openssl(
    ["req", "-x509", ...NEW_KEY, "-keyout", files.keyFile, "-out", unfinished],
    ["-days", VALID_DAYS, "-subj", `/CN=vireo-testbed-${authority}`],
    ["-addext", "keyUsage=critical,keyCertSign,cRLSign,digitalSignature"],
  );
  await rename(unfinished, files.certificateFile);
  return files;
};

const issue = async (
  directory: string,
  name: string,
  subject: Subject,
  extensions: readonly string[],
  authorityName: AuthorityName = "ca",
): Promise<KeyPairFiles> => {
  const authority = await ensureAuthority(directory, authorityName);
  const files = filesOf(directory, name);
  const requestFile = join(directory, `${name}.csr`);
  const extensionFile = join(directory, `${name}.ext`);
  await writeFile(extensionFile, `${["basicConstraints=critical,CA:FALSE", ...extensions].join("\n")}\n`);
  await openssl(
    ["req", "-new", ...NEW_KEY, "-utf8", "-subj", subjectText(subject)],
    ["-keyout", files.keyFile, "-out", requestFile],
  );
  await openssl(
    ["x509", "-req", "-in", requestFile, "-out", files.certificateFile, "-days", VALID_DAYS],
    ["-CA", authority.certificateFile, "-CAkey", authority.keyFile, "-extfile", extensionFile],
    ["-set_serial", `0x${crypto.randomUUID().replaceAll("-", "")}`],
  );
  return files;
};

/** The API server's own certificate, good for the given host names and addresses. */
export const issueServingCertificate = (directory: string, hosts: readonly string[]): Promise<KeyPairFiles> =>
  issue(directory, "serving", { user: "kube-apiserver", groups: [] }, [
    "extendedKeyUsage=serverAuth",
    `subjectAltName=${hosts.map((host) => `${isIP(host) === 0 ? "DNS" : "IP"}:${host}`).join(",")}`,
  ]);

/** A client certificate in files NAME.crt and NAME.key. */
export const issueClientCertificate = (
  directory: string,
  name: string,
  subject: Subject,
): Promise<KeyPairFiles> => issue(directory, name, subject, ["extendedKeyUsage=clientAuth"]);

/** By which aggregated APIs know the API server: the only certificate of an authority of its own. */
export const issueFrontProxyCertificate = (directory: string): Promise<KeyPairFiles> =>
  issue(
    directory,
    "front-proxy",
    { user: FRONT_PROXY, groups: [] },
    ["extendedKeyUsage=clientAuth"],
    "front-proxy-ca",
  );

/** The common name of that certificate. */
export const FRONT_PROXY = "front-proxy-client";

/**
 * The pair of keys that ServiceAccount tokens are signed and checked with, in the
 * traditional form: of PKCS #8 the API server reads no public key.
 */
export const ensureServiceAccountKey = async (directory: string): Promise<string> => {
  const keyFile = join(directory, "service-account.key");
  if (await exists(keyFile)) return keyFile;
  await openssl(["ecparam", "-name", "prime256v1", "-genkey", "-noout"], ["-out", `${keyFile}.tmp`]);
  await rename(`${keyFile}.tmp`, keyFile);
  return keyFile;
};

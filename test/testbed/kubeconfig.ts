import { readFile, rename, writeFile } from "node:fs/promises";

import { stringify } from "yaml";

import type { KeyPairFiles } from "./certificates.ts";

/** What proves who a client is: a client certificate, or a bearer token (of a ServiceAccount). */
export type Credential =
  | { readonly kind: "certificate"; readonly files: KeyPairFiles }
  | { readonly kind: "token"; readonly token: string };

export interface KubeconfigOptions {
  /** Name of the cluster, the user and the context. */
  readonly name: string;
  readonly server: string;
  readonly authorityFile: string;
  readonly credential: Credential;
}

const base64Of = async (file: string): Promise<string> => (await readFile(file)).toString("base64");

/** A kubeconfig with one context that contains all it needs, so that it can be copied anywhere. */
export const renderKubeconfig = async (options: KubeconfigOptions): Promise<object> => {
  const { credential, name } = options;
  const user =
    credential.kind === "token"
      ? { token: credential.token }
      : {
          "client-certificate-data": await base64Of(credential.files.certificateFile),
          "client-key-data": await base64Of(credential.files.keyFile),
        };
  const cluster = {
    server: options.server,
    "certificate-authority-data": await base64Of(options.authorityFile),
  };
  return {
    apiVersion: "v1",
    kind: "Config",
    clusters: [{ name, cluster }],
    users: [{ name, user }],
    contexts: [{ name, context: { cluster: name, user: name } }],
    "current-context": name,
  };
};

/** Writes a kubeconfig in one step, readable by its owner only: a client sees the old or the new one. */
export const writeKubeconfig = async (file: string, kubeconfig: object): Promise<void> => {
  await writeFile(`${file}.tmp`, stringify(kubeconfig), { mode: 0o600 });
  await rename(`${file}.tmp`, file);
};

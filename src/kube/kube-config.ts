import type { RequestOptions } from "node:https";
import { KubeConfig } from "@kubernetes/client-node";

export type { KubeConfig } from "@kubernetes/client-node";

export interface LoadKubeConfigOptions {
  /** Path of a kubeconfig file. Default: KUBECONFIG, ~/.kube/config, or the pod's service account. */
  readonly kubeconfig?: string | undefined;
  /** The context to use. Default: the file's current-context. */
  readonly context?: string | undefined;
}

/** Finds out which API server to talk to and who to be there. */
export const loadKubeConfig = (options: LoadKubeConfigOptions = {}): KubeConfig => {
  const config = new KubeConfig();
  if (options.kubeconfig === undefined) config.loadFromDefault();
  else config.loadFromFile(options.kubeconfig);
  if (options.context !== undefined) {
    if (config.getContextObject(options.context) === null)
      throw new Error(`kubeconfig: no context named ${options.context}; it has: ${contextNames(config)}`);
    config.setCurrentContext(options.context);
  }
  return config;
};

const contextNames = (config: KubeConfig): string =>
  config
    .getContexts()
    .map((context) => context.name)
    .join(", ") || "none";

/** Where to connect to and how to prove who we are, as of now. */
export interface Credentials {
  readonly tls: TlsMaterial;
  readonly headers: Readonly<Record<string, string>>;
}

export interface TlsMaterial {
  readonly ca?: string | Buffer;
  readonly cert?: string | Buffer;
  readonly key?: string | Buffer;
  readonly servername?: string;
  readonly rejectUnauthorized?: boolean;
}

/** The URL of the API server, without a slash at the end. */
export const serverOf = (config: KubeConfig): URL => {
  const cluster = config.getCurrentCluster();
  if (cluster === null)
    throw new Error("kubeconfig: no cluster for the current context; set current-context or name one");
  if (cluster.proxyUrl !== undefined)
    throw new Error(`kubeconfig: cluster ${cluster.name} has a proxy-url, which is not supported; remove it`);
  const url = new URL(cluster.server.replace(/\/+$/u, ""));
  if (url.protocol !== "https:" && !cluster.skipTLSVerify)
    throw new Error(
      `kubeconfig: ${cluster.server} is not https. If you did not name it, no kubeconfig was found: ` +
        `set KUBECONFIG or pass --kubeconfig. If you did, set insecure-skip-tls-verify`,
    );
  return url;
};

/** Asks client-node, which knows certificates, tokens, token files, exec plugins and OIDC. */
export const readCredentials = async (config: KubeConfig): Promise<Credentials> => {
  const options: RequestOptions = { headers: {} };
  await config.applyToHTTPSOptions(options);
  const headers: Record<string, string> = {};
  for (const [name, value] of Object.entries(options.headers ?? {}))
    headers[name.toLowerCase()] = String(value);
  if (typeof options.auth === "string")
    headers["authorization"] = `Basic ${Buffer.from(options.auth).toString("base64")}`;
  return { headers, tls: tlsOf(options) };
};

const isMaterial = (value: unknown): value is string | Buffer =>
  typeof value === "string" || Buffer.isBuffer(value);

const tlsOf = ({ ca, cert, key, servername, rejectUnauthorized }: RequestOptions): TlsMaterial => ({
  ...(isMaterial(ca) && { ca }),
  ...(isMaterial(cert) && { cert }),
  ...(isMaterial(key) && { key }),
  ...(servername !== undefined && { servername }),
  ...(rejectUnauthorized !== undefined && { rejectUnauthorized }),
});

import { createHash } from "node:crypto";
import { mkdir, readFile, rm, writeFile } from "node:fs/promises";
import { get } from "node:https";
import { join } from "node:path";

import { stringify } from "yaml";
import { z } from "zod";

import { AUDIT_POLICY } from "./audit.ts";
import { ensureBinaries, type Binaries } from "./binaries.ts";
import { exists } from "./cache.ts";
import {
  ensureAuthority,
  ensureServiceAccountKey,
  FRONT_PROXY,
  issueClientCertificate,
  issueFrontProxyCertificate,
  issueServingCertificate,
} from "./certificates.ts";
import { assertRunning, findDaemon, startDaemon, type Daemon, type Lifetime } from "./daemon.ts";
import { renderKubeconfig, writeKubeconfig, type Credential } from "./kubeconfig.ts";
import { kubectlRunner, requestToken } from "./kubectl.ts";
import { findFreePort } from "./ports.ts";
import { makeTemporaryDirectory } from "./temporary-directory.ts";
import type { ControlPlane, ControlPlaneOptions, Identity } from "./types.ts";
import { waitFor } from "./wait.ts";

const READY_TIMEOUT_MS = 120_000;
const ETCD = "etcd";
const API_SERVER = "kube-apiserver";

const portsSchema = z.object({ apiServer: z.int(), etcdClient: z.int(), etcdPeer: z.int() });
type Ports = z.infer<typeof portsSchema>;

/** What is decided once for a cluster's directory, and everything derived from it. */
interface Site {
  readonly directory: string;
  readonly temporary: boolean;
  readonly durable: boolean;
  readonly bindAddress: string;
  readonly ports: Ports;
  readonly binaries: Binaries;
  readonly lifetime: Lifetime;
  readonly auditLog: boolean;
  readonly signal: AbortSignal | undefined;
}

const certificatesOf = (site: Site): string => join(site.directory, "certificates");
const auditLogOf = (site: Site): string => join(site.directory, "audit.log");
const urlOf = (site: Site): string => `https://${site.bindAddress}:${site.ports.apiServer}`;

const ensurePorts = async (directory: string, bindAddress: string): Promise<Ports> => {
  const file = join(directory, "ports.json");
  if (await exists(file)) return portsSchema.parse(JSON.parse(await readFile(file, "utf8")));
  const ports = {
    apiServer: await findFreePort(bindAddress),
    etcdClient: await findFreePort("127.0.0.1"),
    etcdPeer: await findFreePort("127.0.0.1"),
  };
  await writeFile(file, JSON.stringify(ports));
  return ports;
};

const etcdArguments = (site: Site): readonly string[] => {
  const client = `http://127.0.0.1:${site.ports.etcdClient}`;
  const peer = `http://127.0.0.1:${site.ports.etcdPeer}`;
  return [
    "--name=vireo",
    `--data-dir=${join(site.directory, "etcd")}`,
    `--listen-client-urls=${client}`,
    `--advertise-client-urls=${client}`,
    `--listen-peer-urls=${peer}`,
    `--initial-advertise-peer-urls=${peer}`,
    `--initial-cluster=vireo=${peer}`,
    "--log-level=warn",
    // State that is thrown away need not survive a power cut.
    ...(site.durable ? [] : ["--unsafe-no-fsync"]),
  ];
};

const apiServerArguments = (site: Site): readonly string[] => {
  const certificates = certificatesOf(site);
  const serviceAccountKey = join(certificates, "service-account.key");
  return [
    `--etcd-servers=http://127.0.0.1:${site.ports.etcdClient}`,
    `--bind-address=${site.bindAddress}`,
    `--secure-port=${site.ports.apiServer}`,
    `--tls-cert-file=${join(certificates, "serving.crt")}`,
    `--tls-private-key-file=${join(certificates, "serving.key")}`,
    `--client-ca-file=${join(certificates, "ca.crt")}`,
    `--service-account-key-file=${serviceAccountKey}`,
    `--service-account-signing-key-file=${serviceAccountKey}`,
    "--service-account-issuer=https://kubernetes.default.svc",
    "--service-cluster-ip-range=10.96.0.0/16",
    "--authorization-mode=RBAC",
    // The kubernetes Service would get an endpoint, which must not be a loopback address.
    "--endpoint-reconciler-type=none",
    ...aggregationArguments(certificates),
    ...(site.auditLog
      ? [
          `--audit-policy-file=${join(site.directory, "audit-policy.yaml")}`,
          `--audit-log-path=${auditLogOf(site)}`,
          // Blocking: a request has been logged before its answer is sent.
          "--audit-log-mode=blocking",
        ]
      : []),
  ];
};

/** How it hands requests on to aggregated APIs. Without pods a Service of type ExternalName leads to them. */
const aggregationArguments = (certificates: string): readonly string[] => [
  `--requestheader-client-ca-file=${join(certificates, "front-proxy-ca.crt")}`,
  `--requestheader-allowed-names=${FRONT_PROXY}`,
  "--requestheader-username-headers=X-Remote-User",
  "--requestheader-group-headers=X-Remote-Group",
  "--requestheader-extra-headers-prefix=X-Remote-Extra-",
  `--proxy-client-cert-file=${join(certificates, "front-proxy.crt")}`,
  `--proxy-client-key-file=${join(certificates, "front-proxy.key")}`,
  "--enable-aggregator-routing=false",
];

const start = async (site: Site, name: string, file: string, args: readonly string[]): Promise<Daemon> =>
  findDaemon(site.directory, name) ??
  (await startDaemon({
    name,
    directory: site.directory,
    argv: [file, ...args],
    lifetime: site.lifetime,
  }));

/** Asks without credentials, which RBAC allows for /readyz once its own roles are in place. */
const readyzOf = async (site: Site): Promise<string> => {
  const ca = await readFile(join(certificatesOf(site), "ca.crt"));
  return new Promise((resolve, reject) => {
    const request = get(`${urlOf(site)}/readyz`, { ca, agent: false, timeout: 5_000 }, (response) => {
      let text = "";
      response.setEncoding("utf8");
      response.on("data", (chunk: string) => {
        text += chunk;
      });
      response.on("end", () => resolve(`${response.statusCode} ${text}`));
      response.on("error", reject);
    });
    request.on("timeout", () => request.destroy(new Error("no answer within 5 s")));
    request.on("error", reject);
  });
};

const ensureApiServer = async (site: Site): Promise<void> => {
  const daemon = await start(site, API_SERVER, site.binaries.kubeApiServer, apiServerArguments(site));
  await waitFor(
    `${API_SERVER} at ${urlOf(site)} ready`,
    async () => {
      await assertRunning(daemon);
      const answer = await readyzOf(site);
      if (answer !== "200 ok") throw new Error(answer);
      return true;
    },
    { timeoutMs: READY_TIMEOUT_MS, ...(site.signal === undefined ? {} : { signal: site.signal }) },
  );
};

const credentialFor = async (site: Site, identity: Identity): Promise<Credential> => {
  if ("token" in identity) return { kind: "token", token: identity.token };
  const name = `client-${createHash("sha256").update(JSON.stringify(identity)).digest("hex").slice(0, 16)}`;
  return { kind: "certificate", files: await issueClientCertificate(certificatesOf(site), name, identity) };
};

const writeKubeconfigFor = async (site: Site, identity: Identity, file: string): Promise<void> => {
  const kubeconfig = await renderKubeconfig({
    name: "vireo",
    server: urlOf(site),
    authorityFile: join(certificatesOf(site), "ca.crt"),
    credential: await credentialFor(site, identity),
  });
  await writeKubeconfig(file, kubeconfig);
};

const stopCluster = async (site: Site): Promise<void> => {
  // Nothing is lost by a kill: what etcd has accepted is in its files.
  const graceMs = site.durable ? 5_000 : 0;
  await findDaemon(site.directory, API_SERVER)?.stop(graceMs);
  await findDaemon(site.directory, ETCD)?.stop(graceMs);
  if (site.temporary) await rm(site.directory, { recursive: true, force: true });
};

const controlPlaneOf = (site: Site): ControlPlane => {
  const kubeconfig = join(site.directory, "admin.kubeconfig");
  const kubectl = kubectlRunner({
    file: site.binaries.kubectl,
    kubeconfig,
    cacheDirectory: join(site.directory, "kubectl-cache"),
    signal: site.signal,
  });
  const killApiServer = async (signal: NodeJS.Signals): Promise<void> =>
    findDaemon(site.directory, API_SERVER)?.kill(signal);
  return {
    directory: site.directory,
    kubeconfig,
    url: urlOf(site),
    caFile: join(certificatesOf(site), "ca.crt"),
    auditLogPath: auditLogOf(site),
    kubectlPath: site.binaries.kubectl,
    kubectl,
    killApiServer,
    startApiServer: () => ensureApiServer(site),
    restartApiServer: async () => {
      await killApiServer("SIGKILL");
      await ensureApiServer(site);
    },
    kubeconfigFor: (identity, file) => writeKubeconfigFor(site, identity, file),
    issueToken: (serviceAccount, namespace, node) => requestToken(kubectl, serviceAccount, namespace, node),
    stop: () => stopCluster(site),
  };
};

const prepare = async (options: ControlPlaneOptions): Promise<Site> => {
  const binaries = await ensureBinaries();
  const temporary = options.directory === undefined;
  const directory = options.directory ?? (await makeTemporaryDirectory("control-plane"));
  await mkdir(directory, { recursive: true, mode: 0o700 });
  const bindAddress = options.bindAddress ?? "127.0.0.1";
  const site: Site = {
    directory,
    temporary,
    durable: options.durable ?? !temporary,
    bindAddress,
    binaries,
    ports: await ensurePorts(directory, bindAddress),
    lifetime: options.lifetime ?? "owner",
    auditLog: options.auditLog ?? true,
    signal: options.signal,
  };
  const certificates = certificatesOf(site);
  await mkdir(certificates, { recursive: true, mode: 0o700 });
  await ensureAuthority(certificates);
  await ensureServiceAccountKey(certificates);
  await writeFile(join(directory, "audit-policy.yaml"), stringify(AUDIT_POLICY));
  return site;
};

/** Starts etcd and kube-apiserver, or finds them running in the directory. */
export const startLocalCluster = async (options: ControlPlaneOptions): Promise<ControlPlane> => {
  const site = await prepare(options);
  const controlPlane = controlPlaneOf(site);
  try {
    await start(site, ETCD, site.binaries.etcd, etcdArguments(site));
    if (findDaemon(site.directory, API_SERVER) === undefined) {
      const hosts = [...new Set(["localhost", "127.0.0.1", site.bindAddress])];
      await issueServingCertificate(certificatesOf(site), hosts);
      await issueFrontProxyCertificate(certificatesOf(site));
    }
    const administrator = { user: "vireo-testbed-admin", groups: ["system:masters"] };
    await controlPlane.kubeconfigFor(administrator, controlPlane.kubeconfig);
    await controlPlane.startApiServer();
    return controlPlane;
  } catch (error) {
    // A lasting cluster keeps running, and keeps its logs, for a person to look at.
    if (site.lifetime === "owner") await controlPlane.stop();
    throw error;
  }
};

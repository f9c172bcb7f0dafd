import {
  configMaps,
  createHealthServer,
  createKubeClient,
  createMetrics,
  createStore,
  type KubeClient,
  loadKubeConfig,
  type Logger,
  type Metrics,
  runTogether,
  untilAborted,
} from "../kube/index.ts";
import { createPeerClient, createPeerCredentials, type PeerCredentials } from "../pki/index.ts";
import type { ApiServerConfig } from "./config.ts";
import { type FrontProxy, readFrontProxy } from "./front-proxy.ts";
import { createHandlers } from "./handlers.ts";
import { createMachines } from "./machines.ts";
import { createApiServerMetrics } from "./metrics.ts";
import { createSubresourceServer, type SubresourceServer, type Trust } from "./server.ts";

const USER_AGENT = "vireo-api-server";

/** Where kube-apiserver says how it is known. https://kubernetes.io/docs/tasks/extend-kubernetes/configure-aggregation-layer/ */
const AUTHENTICATION = { namespace: "kube-system", name: "extension-apiserver-authentication" } as const;

/**
 * The api-server: subresources of machines for kube-apiserver's aggregator
 * (docs/design/api-server.md). Holds nothing; any number may run.
 */
export const runApiServer = async (
  { config, logger }: { readonly config: ApiServerConfig; readonly logger: Logger },
  signal: AbortSignal,
): Promise<void> => {
  const metrics = createMetrics({ process: true });
  const client = createKubeClient({ kubeConfig: loadKubeConfig(config), metrics, userAgent: USER_AGENT });
  const credentials = createPeerCredentials({ identity: { kind: "api-server" }, client, logger, metrics });
  const frontProxy = followFrontProxy(client, logger, metrics);
  const server = createSubresourceServer({
    address: config.address,
    handlers: createHandlers({
      client,
      machines: createMachines(client),
      peers: createPeerClient(() => credentials.current()),
    }),
    logger,
    metrics: createApiServerMetrics(metrics),
  });
  const sources = { credentials, frontProxy };
  try {
    await runTogether(
      {
        credentials: (taskSignal) => credentials.run(taskSignal),
        "front-proxy": (taskSignal) => frontProxy.run(taskSignal),
        health: (taskSignal) => serveHealth({ config, logger, metrics, server }, taskSignal),
        server: (taskSignal) => serveTrusted(server, sources, taskSignal),
      },
      signal,
    );
  } finally {
    await client.close();
  }
};

interface TrustSources {
  readonly credentials: PeerCredentials;
  readonly frontProxy: ReturnType<typeof followFrontProxy>;
}

/** Serves once both are known, who we are and who kube-apiserver is, and takes what is new of either. */
const serveTrusted = async (
  server: SubresourceServer,
  { credentials, frontProxy }: TrustSources,
  signal: AbortSignal,
): Promise<void> => {
  const { promise: first, resolve } = Promise.withResolvers<Trust>();
  const onChange = (): void => {
    const material = credentials.current();
    const proxy = frontProxy.current();
    if (material === undefined || proxy === undefined) return;
    resolve({ material, proxy });
    server.update({ material, proxy });
  };
  const stops = [credentials.onChange(onChange), frontProxy.onChange(onChange)];
  try {
    onChange();
    await server.run(await untilAborted(first, signal), signal);
  } finally {
    for (const stop of stops) stop();
  }
};

const followFrontProxy = (client: KubeClient, logger: Logger, metrics: Metrics) => {
  const store = createStore({
    client,
    resource: configMaps,
    namespace: AUTHENTICATION.namespace,
    fieldSelector: `metadata.name=${AUTHENTICATION.name}`,
    logger,
    metrics,
  });
  return {
    run: (signal: AbortSignal) => store.run(signal),
    onChange: (listener: () => void) => store.onChange(listener),
    /** Undefined when it cannot be read: then what was known before stays, and nobody is believed before that. */
    current: (): FrontProxy | undefined => {
      const data = store.get(AUTHENTICATION)?.data;
      if (data === undefined) return undefined;
      try {
        return readFrontProxy(data);
      } catch (err) {
        logger.error(
          { err },
          "ConfigMap kube-system/extension-apiserver-authentication cannot be understood",
        );
        return undefined;
      }
    },
  };
};

interface Health {
  readonly config: ApiServerConfig;
  readonly logger: Logger;
  readonly metrics: Metrics;
  readonly server: SubresourceServer;
}

const serveHealth = async (
  { config, logger, metrics, server }: Health,
  signal: AbortSignal,
): Promise<void> => {
  const health = createHealthServer({ ...config.metrics, metrics, logger });
  health.addReadinessCheck("server", () =>
    server.port() === undefined
      ? "it waits for its certificate, or for how to know kube-apiserver, and does not listen yet"
      : undefined,
  );
  const { port, closed } = await health.listen(signal);
  logger.info({ port }, "serving /metrics, /healthz and /readyz");
  await closed;
};

import {
  FLOATING_RENEW_MS,
  floatingIps,
  floatingLeaseName,
  type FloatingIp,
} from "../../../src/api/floating-ip.ts";
import { timestampOf } from "../../../src/api/condition.ts";
import { SYSTEM_NAMESPACE } from "../../../src/api/hypervisor.ts";
import {
  createController,
  createFencingLease,
  createKubeClient,
  createStore,
  done,
  keyOf,
  type KubeConfig,
  type KubeClient,
  runTogether,
  silentLogger,
  sleep,
  systemClock,
} from "../../../src/kube/index.ts";

const FIELD_MANAGER = "vireo-node-agent";

export interface FloatingAgentOptions {
  readonly kubeConfig: KubeConfig;
  readonly nodeName: string;
  /** It renews its Lease, and takes nothing that it is given. Default false. */
  readonly takesNothing?: boolean;
}

/** What a node agent writes about floating addresses, without any address. */
export interface FloatingAgent {
  /** As kill -9: nothing is said any more, and nothing given back. */
  stop(): Promise<void>;
}

export const startFloatingAgent = (options: FloatingAgentOptions): FloatingAgent => {
  const life = new AbortController();
  const ended = runAgent(options, life.signal);
  return {
    stop: async () => {
      life.abort();
      await ended;
    },
  };
};

const runAgent = async (options: FloatingAgentOptions, signal: AbortSignal): Promise<void> => {
  const { nodeName, kubeConfig } = options;
  const logger = silentLogger;
  const client = createKubeClient({ kubeConfig, userAgent: FIELD_MANAGER });
  const store = createStore({ client, resource: floatingIps, logger });
  const name = floatingLeaseName(nodeName);
  const lease = createFencingLease({ client, namespace: SYSTEM_NAMESPACE, name, identity: nodeName });
  // One call at a time.
  let renewing: Promise<unknown> = Promise.resolve();
  const renewLease = (task: AbortSignal): Promise<unknown> =>
    (renewing = renewing.catch(() => {}).then(() => lease.renew(task)));
  const concerns = ({ status }: FloatingIp): boolean =>
    status?.claim?.nodeName === nodeName || status?.holder?.nodeName === nodeName;
  const controller = createController({
    name: "fake-floating",
    logger,
    watches: [{ store }],
    reconcile: async (key, task) => {
      const floatingIp = store.get(key);
      if (floatingIp === undefined) return done;
      const { claim, holder } = floatingIp.status ?? {};
      const isOwn = holder?.nodeName === nodeName;
      if (isOwn && claim?.nodeName !== nodeName) await writeHolder(client, floatingIp, undefined, task);
      if (claim?.nodeName === nodeName && holder === undefined && options.takesNothing !== true) {
        await renewLease(task);
        await writeHolder(client, floatingIp, nodeName, task);
      }
      return done;
    },
  });
  const renew = async (task: AbortSignal): Promise<void> => {
    while (!task.aborted) {
      if (store.list().some(concerns)) await renewLease(task).catch(() => {});
      await sleep(systemClock, FLOATING_RENEW_MS, task).catch(() => {});
    }
  };
  try {
    await runTogether(
      { store: (task) => store.run(task), controller: (task) => controller.run(task), renew },
      signal,
    );
  } finally {
    await client.close();
  }
};

/** Bound to the version that was looked at; a field that is left out is given back. */
const writeHolder = async (
  client: KubeClient,
  floatingIp: FloatingIp,
  nodeName: string | undefined,
  signal: AbortSignal,
): Promise<void> => {
  const { resourceVersion } = floatingIp.metadata;
  const status = nodeName === undefined ? {} : { holder: { nodeName, since: timestampOf(new Date()) } };
  const body = {
    metadata: { ...keyOf(floatingIp), name: floatingIp.metadata.name, resourceVersion },
    status,
  };
  await client.applyStatus(floatingIps, body, { fieldManager: FIELD_MANAGER, force: true, signal });
};

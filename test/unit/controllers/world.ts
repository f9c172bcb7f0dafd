import { type Hypervisor, hypervisors } from "../../../src/api/hypervisor.ts";
import type { KubernetesObject } from "../../../src/api/meta.ts";
import { apiVersionOf, type Resource } from "../../../src/api/resource.ts";
import { type VirtualMachine, virtualMachines } from "../../../src/api/virtual-machine.ts";
import { createBooks } from "../../../src/controllers/books.ts";
import type { ControllerContext } from "../../../src/controllers/context.ts";
import { createControllerMetrics } from "../../../src/controllers/metrics.ts";
import { createStores } from "../../../src/controllers/stores.ts";
import { createVirtualMachineController } from "../../../src/controllers/virtual-machine/controller.ts";
import {
  type Controller,
  createKubeClient,
  createMetrics,
  type KubeClient,
  runTogether,
  silentLogger,
  systemClock,
} from "../../../src/kube/index.ts";
import type { FakeKubeApiServer } from "../../fakes/kube-api-server.ts";

export interface RunOptions {
  /** Awaited before each event of a watch is delivered: makes the stores stale. */
  readonly lag?: () => Promise<void>;
  /** The process dies with its n-th write, which is carried out ("after") or not ("before"). */
  /** Names of the nodes that this process knows of. Default: all. */
  readonly nodes?: readonly string[];
  readonly death?: { readonly atWrite: number; readonly when: "before" | "after" };
}

/** One life of a controller over a fake API server. */
export interface ControllerRun {
  /** Resolves when it has died or was stopped. */
  readonly ended: Promise<void>;
  readonly events: readonly string[];
  stop(): Promise<void>;
}

export const runMachineController = (server: FakeKubeApiServer, options: RunOptions = {}): ControllerRun =>
  runController(
    server,
    (context) => createVirtualMachineController(context, createBooks(context.stores)),
    options,
  );

/** As a process of its own: with its own client, stores and queue. */
export const runController = (
  server: FakeKubeApiServer,
  create: (context: ControllerContext) => Controller,
  options: RunOptions = {},
): ControllerRun => {
  const life = new AbortController();
  const plain = createKubeClient({ kubeConfig: server.kubeConfig(), userAgent: "vireo-controller" });
  const client = mortal(lagging(blinkered(plain, options.nodes), options.lag), options.death, () =>
    life.abort(new Error("killed")),
  );
  const runtime = createMetrics();
  const metrics = { ...runtime, ...createControllerMetrics(runtime.registry) };
  const stores = createStores({ client, logger: silentLogger, metrics, clock: systemClock });
  const events: string[] = [];
  const context: ControllerContext = {
    client,
    stores,
    events: {
      event: (object, type, reason) => void events.push(`${object.metadata.name} ${type} ${reason}`),
      flush: () => Promise.resolve(),
    },
    logger: silentLogger,
    metrics,
    clock: systemClock,
  };
  const controller = create(context);
  const tasks = {
    ...Object.fromEntries(
      Object.entries(stores).map(([name, store]) => [name, (signal: AbortSignal) => store.run(signal)]),
    ),
    controller: (signal: AbortSignal) => controller.run(signal),
  };
  const live = async (): Promise<void> => {
    try {
      await runTogether(tasks, life.signal);
    } finally {
      await plain.close();
    }
  };
  const ended = live();
  return {
    ended,
    events,
    stop: () => {
      life.abort(new Error("stopped"));
      return ended;
    },
  };
};

const lagging = (client: KubeClient, lag: RunOptions["lag"]): KubeClient => {
  if (lag === undefined) return client;
  return {
    ...client,
    async *watch(resource, options) {
      for await (const event of client.watch(resource, options)) {
        await lag();
        yield event;
      }
    },
  };
};

const blinkered = (client: KubeClient, nodes: RunOptions["nodes"]): KubeClient => {
  if (nodes === undefined) return client;
  return {
    ...client,
    async *watch(resource, options) {
      for await (const event of client.watch(resource, options)) {
        const isHidden =
          resource.kind === hypervisors.kind &&
          event.kind !== "bookmark" &&
          !nodes.includes(event.object.metadata.name);
        if (!isHidden) yield event;
      }
    },
  };
};

const mortal = (client: KubeClient, death: RunOptions["death"], die: () => void): KubeClient => {
  if (death === undefined) return client;
  const earlier: Promise<unknown>[] = [];
  const dying = async <R>(write: () => Promise<R>): Promise<R> => {
    if (earlier.length >= death.atWrite) throw new Error("dead");
    if (earlier.length + 1 < death.atWrite) {
      const answer = write();
      earlier.push(answer);
      return answer;
    }
    const before = [...earlier];
    earlier.push(Promise.resolve());
    // What was sent before arrives: each life gets something done.
    await Promise.allSettled(before);
    if (death.when === "after") await write();
    die();
    throw new Error("dead");
  };
  return {
    ...client,
    applyStatus: (resource, body, options) => dying(() => client.applyStatus(resource, body, options)),
    mergePatch: (resource, key, patch, options) =>
      dying(() => client.mergePatch(resource, key, patch, options)),
  };
};

export const addressOf = (resource: Resource, { name, namespace }: KubernetesObject["metadata"]) => ({
  collection: `${apiVersionOf(resource)}/${resource.plural}`,
  namespace,
  name,
});

/** Puts an object into the server, its status too. */
export const put = <T extends KubernetesObject & { readonly status?: unknown }>(
  server: FakeKubeApiServer,
  resource: Resource<T>,
  object: T,
): void => {
  const address = addressOf(resource, object.metadata);
  const { status, metadata, ...rest } = object;
  const { name, namespace, labels } = metadata;
  const body = {
    ...rest,
    metadata: {
      name,
      ...(namespace !== undefined && { namespace }),
      ...(labels !== undefined && { labels }),
    },
  };
  server.objects.create(address, body, "tester");
  if (status !== undefined) server.objects.patch(address, { status }, "status", "tester");
};

export const machinesOf = (server: FakeKubeApiServer): readonly VirtualMachine[] =>
  server.objects
    .list(`${apiVersionOf(virtualMachines)}/${virtualMachines.plural}`, undefined)
    .map((object) => virtualMachines.parse(object));

/** What the node's agent does about a machine that is deleted. */
export const release = (server: FakeKubeApiServer, { metadata, status }: VirtualMachine): void => {
  const guest = { nodeName: status?.nodeName, powerState: "ShutOff", restarts: 0 };
  const released = {
    type: "Released",
    status: "True",
    reason: "Released",
    message: "Gone.",
    lastTransitionTime: "2026-01-01T00:00:00Z",
  };
  const conditions = [...(status?.conditions ?? []), released];
  server.objects.patch(
    addressOf(virtualMachines, metadata),
    { status: { guest, conditions } },
    "status",
    "vireo-node-agent",
  );
};

export const remove = (server: FakeKubeApiServer, { metadata }: VirtualMachine): void => {
  server.objects.delete(addressOf(virtualMachines, metadata), {});
};

/** Everything that must be true of what was given out, at any moment. */
export const findDoubles = (
  machines: readonly VirtualMachine[],
  nodes: readonly Hypervisor[],
): readonly string[] => {
  const problems: string[] = [];
  const seen = new Map<string, string>();
  for (const { metadata, status } of machines)
    for (const { address, macAddress } of status?.allocation?.interfaces ?? [])
      for (const value of [address, macAddress]) {
        const other = seen.get(value);
        if (other !== undefined) problems.push(`${value} is given to ${other} and ${metadata.name}`);
        seen.set(value, metadata.name);
      }
  for (const { metadata, status } of nodes) {
    const here = machines.filter((machine) => machine.status?.nodeName === metadata.name);
    const sum = (of: "vcpus" | "memoryMiB" | "diskMiB"): number =>
      here.reduce((total, machine) => total + (machine.status?.allocation?.flavor[of] ?? 0), 0);
    const { cpus = 0, memoryMiB = 0, diskMiB = 0 } = status?.capacity ?? {};
    if (sum("vcpus") > cpus || sum("memoryMiB") > memoryMiB || sum("diskMiB") > diskMiB)
      problems.push(`${metadata.name} gives out more than it has`);
  }
  return problems;
};

import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";

import { apiVersionOf, type Resource } from "../../../../src/api/resource.ts";
import { commands } from "../../../../src/cli/commands/index.ts";
import { runProgram } from "../../../../src/cli/program.ts";
import type { Json } from "../../../fakes/kube-api-flat.ts";
import { FakeKubeApiServer } from "../../../fakes/kube-api-server.ts";
import { createFakeHost, type FakeHost, type FakeHostOptions } from "./fake-host.ts";

export const NAMESPACE = "shop";

export interface Ran {
  readonly exitCode: number;
  readonly out: string;
  readonly err: string;
  readonly host: FakeHost;
}

type RunOptions = FakeHostOptions & { readonly signal?: AbortSignal };

/** A Kubernetes API in memory, and the program in this process. */
export interface FakeCluster {
  readonly server: FakeKubeApiServer;
  put(resource: Resource, name: string, object: Json): void;
  get(resource: Resource, name: string): Json;
  patch(resource: Resource, name: string, patch: Json): void;
  list(resource: Resource): readonly Json[];
  run(args: readonly string[], options?: RunOptions): Promise<Ran>;
  /** The flags that name the cluster stand between these words. */
  runAfterGlobals(first: readonly string[], args: readonly string[], options?: RunOptions): Promise<Ran>;
  stop(): Promise<void>;
}

const { signal: never } = new AbortController();

const runHere = async (args: readonly string[], options: RunOptions = {}): Promise<Ran> => {
  const host = createFakeHost(options);
  const exitCode = await runProgram({
    commands,
    host,
    args,
    signal: options.signal ?? never,
    version: "0.0.0-test",
    viewerScript: undefined,
  });
  return { exitCode, out: host.out(), err: host.err(), host };
};

export const startFakeCluster = async (): Promise<FakeCluster> => {
  const server = new FakeKubeApiServer();
  await server.start();
  const directory = await mkdtemp(join(tmpdir(), "vireo-cli-"));
  const kubeconfig = join(directory, "config");
  await writeFile(kubeconfig, server.kubeConfig().exportConfig());
  const addressOf = (resource: Resource, name: string) => ({
    collection: `${apiVersionOf(resource)}/${resource.plural}`,
    namespace: resource.namespaced ? NAMESPACE : undefined,
    name,
  });
  const globals = [`--kubeconfig=${kubeconfig}`, `--namespace=${NAMESPACE}`];
  return {
    server,
    put: (resource, name, { status, ...object }) => {
      const metadata = {
        name,
        ...(resource.namespaced && { namespace: NAMESPACE }),
        ...(object["metadata"] as Json),
      };
      const body = { apiVersion: apiVersionOf(resource), kind: resource.kind, ...object, metadata } as Json;
      const address = addressOf(resource, name);
      server.objects.create(address, body, "test/");
      // As in a real one, the status of a new object is nobody's to give.
      if (status !== undefined) server.objects.patch(address, { status }, "status", "test");
    },
    get: (resource, name) => server.objects.get(addressOf(resource, name)),
    patch: (resource, name, patch) => {
      const subresource = "status" in patch ? "status" : undefined;
      server.objects.patch(addressOf(resource, name), patch, subresource, "test");
    },
    list: (resource) => {
      const { collection, namespace } = addressOf(resource, "any");
      return server.objects.list(collection, namespace);
    },
    run: (args, options) => runHere([...args, ...globals], options),
    runAfterGlobals: (first, args, options) => runHere([...first, ...globals, ...args], options),
    stop: async () => {
      await server.stop();
      await rm(directory, { recursive: true, force: true });
    },
  };
};

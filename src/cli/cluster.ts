import { z } from "zod";
import type { KubernetesObject } from "../api/meta.ts";
import { apiVersionOf, type Resource } from "../api/resource.ts";
import { subresourcePath, type Subresource } from "../api/subresources.ts";
import { virtualMachines } from "../api/virtual-machine.ts";
import {
  asRawObject,
  collectionPath,
  createRawKubeClient,
  isNotFound,
  objectPath,
  TransportError,
  withQuery,
  type Query,
  type KubeConfig,
  type RawKubeClient,
  type RawObject,
  type WebSocketStream,
} from "../kube/index.ts";

/** Under which name the API server notes who changed a field. */
export const FIELD_MANAGER = "kubectl-vireo";

export interface WriteOptions {
  /** Let the API server check the change and throw it away. */
  readonly dryRun: boolean;
  readonly signal: AbortSignal;
}

/** An object as it came, and as this program understands it. */
export interface Found<T> {
  readonly raw: RawObject;
  readonly object: T;
}

export interface Listed<T> {
  readonly items: readonly Found<T>[];
  /** The moment of the list, from which a watch goes on. */
  readonly resourceVersion: string | undefined;
}

/** The API of one cluster, in one namespace. Its errors are those of RawKubeClient. */
export interface Cluster {
  readonly namespace: string;
  readonly client: RawKubeClient;
  get<T extends KubernetesObject>(
    resource: Resource<T>,
    name: string,
    signal: AbortSignal,
    /** Default: the cluster's. */
    namespace?: string,
  ): Promise<Found<T> | undefined>;
  /** All objects of a kind, those of other namespaces left out. */
  list<T extends KubernetesObject>(resource: Resource<T>, options: ListOptions): Promise<Listed<T>>;
  create(resource: Resource, body: object, options: WriteOptions): Promise<RawObject>;
  /** JSON merge patch. */
  patch(resource: Resource, name: string, patch: object, options: WriteOptions): Promise<RawObject>;
  /** POST to a subresource that the nodes serve. */
  post(machine: string, subresource: Subresource, signal: AbortSignal): Promise<void>;
  /** GET of one. */
  read(machine: string, subresource: Subresource, signal: AbortSignal): Promise<Buffer>;
  /** Connects to one: a stream of bytes both ways. */
  connect(machine: string, subresource: Subresource, options: ConnectOptions): Promise<WebSocketStream>;
  close(): Promise<void>;
}

export interface ConnectOptions {
  /** Ends the opening only. */
  readonly signal: AbortSignal;
  readonly query?: Query;
}

export interface ListOptions {
  readonly signal: AbortSignal;
  /** Default: of the cluster's namespace. */
  readonly allNamespaces?: boolean;
}

export interface ClusterOptions {
  readonly kubeConfig: KubeConfig;
  /** Default: that of the context, else "default". */
  readonly namespace: string | undefined;
  readonly userAgent: string;
}

/** Throws what is wrong with the kubeconfig. */
export const connectCluster = (options: ClusterOptions): Cluster => {
  const { kubeConfig, userAgent } = options;
  const client = createRawKubeClient({ kubeConfig, userAgent });
  const namespace = options.namespace ?? namespaceOf(kubeConfig);
  return {
    namespace,
    client,
    ...readVerbs(client, namespace),
    ...writeVerbs(client, namespace),
    ...subresourceVerbs(client, namespace),
    close: () => client.close(),
  };
};

export const namespaceOf = (kubeConfig: KubeConfig): string =>
  kubeConfig.getContextObject(kubeConfig.getCurrentContext())?.namespace ?? "default";

/** An object in words: "VirtualMachine shop/web". */
export const nameOf = (resource: Resource, namespace: string, name: string): string =>
  resource.namespaced ? `${resource.kind} ${namespace}/${name}` : `${resource.kind} ${name}`;

const scopeOf = (resource: Resource, namespace: string): { readonly namespace?: string } =>
  resource.namespaced ? { namespace } : {};

const readVerbs = (client: RawKubeClient, namespace: string): Pick<Cluster, "get" | "list"> => ({
  get: async (resource, name, signal, other = namespace) => {
    const what = `read ${nameOf(resource, other, name)}`;
    const path = objectPath(resource, { ...scopeOf(resource, other), name });
    try {
      const raw = rawOrThrow(what, await client.json({ what, method: "GET", path, signal }));
      return { raw, object: resource.parse(raw) };
    } catch (error) {
      if (isNotFound(error)) return undefined;
      throw error;
    }
  },
  list: async (resource, { signal, allNamespaces = false }) => {
    const what = `list ${resource.plural}`;
    const scope = allNamespaces ? undefined : scopeOf(resource, namespace).namespace;
    const path = collectionPath(resource, scope);
    const answer = await client.json({ what, method: "GET", path, signal });
    const { items, metadata } = listSchema.parse(answer);
    return {
      resourceVersion: metadata.resourceVersion,
      items: (items ?? []).map((item) => {
        const listed = rawOrThrow(what, item);
        // Items of a list lack what the list says once.
        const raw = { ...listed, apiVersion: apiVersionOf(resource), kind: resource.kind };
        return { raw, object: resource.parse(raw) };
      }),
    };
  },
});

const listSchema = z.object({
  items: z.array(z.unknown()).nullish(),
  metadata: z.object({ resourceVersion: z.string().optional() }).default({}),
});

const rawOrThrow = (what: string, value: unknown): RawObject => {
  const raw = asRawObject(value);
  if (raw === undefined) throw new TransportError(what, new Error("the answer is no object with a name"));
  return raw;
};

const queryOf = (dryRun: boolean) => ({
  fieldManager: FIELD_MANAGER,
  fieldValidation: "Strict",
  ...(dryRun && { dryRun: "All" }),
});

const writeVerbs = (client: RawKubeClient, namespace: string): Pick<Cluster, "create" | "patch"> => ({
  create: async (resource, body, { dryRun, signal }) => {
    const what = `create ${resource.kind}`;
    const path = withQuery(collectionPath(resource, scopeOf(resource, namespace).namespace), queryOf(dryRun));
    const complete = { apiVersion: apiVersionOf(resource), kind: resource.kind, ...body };
    return rawOrThrow(what, await client.json({ what, method: "POST", path, body: complete, signal }));
  },
  patch: async (resource, name, patch, { dryRun, signal }) => {
    const what = `change ${nameOf(resource, namespace, name)}`;
    const path = withQuery(objectPath(resource, { ...scopeOf(resource, namespace), name }), queryOf(dryRun));
    const contentType = "application/merge-patch+json";
    return rawOrThrow(
      what,
      await client.json({ what, method: "PATCH", path, body: patch, contentType, signal }),
    );
  },
});

const subresourceVerbs = (
  client: RawKubeClient,
  namespace: string,
): Pick<Cluster, "post" | "read" | "connect"> => {
  const requestOf = (name: string, subresource: Subresource) => ({
    what: `${subresource} of ${nameOf(virtualMachines, namespace, name)}`,
    path: subresourcePath({ namespace, name }, subresource),
  });
  return {
    post: async (machine, subresource, signal) => {
      await client.bytes({ ...requestOf(machine, subresource), method: "POST", signal });
    },
    read: (machine, subresource, signal) =>
      client.bytes({ ...requestOf(machine, subresource), method: "GET", signal }),
    connect: (machine, subresource, { signal, query = {} }) => {
      const { what, path } = requestOf(machine, subresource);
      return client.connect({ what, path: withQuery(path, query), signal });
    },
  };
};

import { type FloatingIp, floatingIps } from "../../../api/floating-ip.ts";
import { createStore, isAtLeast, type KubeClient, type Logger, type Metrics } from "../../../kube/index.ts";

/** The FloatingIPs that concern this node: those that it has a claim to, and those that it is the holder of. */
export interface FloatingObjects {
  /** Keeps the copy fresh until the signal is aborted. Call it once. */
  run(signal: AbortSignal): Promise<void>;
  /** Has everything that exists been read once? */
  readonly synced: boolean;
  /** Resolves when it has. */
  whenSynced(signal: AbortSignal): Promise<void>;
  /** Are there objects that cannot be understood? */
  readonly hasUnreadable: boolean;
  /** Each object once, in its newest version. */
  list(): readonly FloatingIp[];
  /** Calls back after each change; the returned function ends that. */
  onChange(listener: () => void): () => void;
}

export interface FloatingObjectsOptions {
  readonly nodeName: string;
  readonly client: KubeClient;
  readonly logger: Logger;
  readonly metrics?: Metrics | undefined;
}

/** The newest of several copies of the same objects. */
export const newestOf = (copies: readonly FloatingIp[]): readonly FloatingIp[] => {
  const newest = new Map<string, FloatingIp>();
  for (const copy of copies) {
    const other = newest.get(copy.metadata.uid);
    if (other === undefined || isAtLeast(copy.metadata.resourceVersion, other.metadata.resourceVersion)) {
      newest.set(copy.metadata.uid, copy);
    }
  }
  return [...newest.values()];
};

/** Two watches, since a field selector cannot say "or"; each is confined to this node by the API server. */
export const createFloatingObjects = ({ nodeName, ...options }: FloatingObjectsOptions): FloatingObjects => {
  const stores = ["claim", "holder"].map((member) =>
    createStore({
      ...options,
      resource: floatingIps,
      fieldSelector: `status.${member}.nodeName=${nodeName}`,
    }),
  );
  return {
    run: async (signal) => {
      await Promise.all(stores.map((store) => store.run(signal)));
    },
    get synced() {
      return stores.every((store) => store.synced);
    },
    whenSynced: async (signal) => {
      await Promise.all(stores.map((store) => store.whenSynced(signal)));
    },
    get hasUnreadable() {
      return stores.some((store) => store.unreadable().length > 0);
    },
    list: () => newestOf(stores.flatMap((store) => store.list())),
    onChange: (listener) => {
      const stops = stores.map((store) => store.onChange(listener));
      return () => stops.forEach((stop) => stop());
    },
  };
};

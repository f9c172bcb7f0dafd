import type { MigrationRole } from "../../migrations/index.ts";
import {
  type VirtualMachineMigration,
  virtualMachineMigrations,
} from "../../../api/virtual-machine-migration.ts";
import {
  createStore,
  type KubeClient,
  keyOf,
  type Logger,
  type Metrics,
  type Store,
} from "../../../kube/index.ts";
import { isNews, type MigrationNews, migrationStatus } from "./migration-status.ts";
import { FIELD_MANAGER } from "../../object-view.ts";

/** Live copies of the migrations that this node is an end of. */
export interface MigrationStores {
  readonly outgoing: Store<VirtualMachineMigration>;
  readonly incoming: Store<VirtualMachineMigration>;
}

interface Options {
  readonly signal: AbortSignal;
}

/** The migrations of this node, by UID. */
export interface MigrationView {
  get(uid: string): VirtualMachineMigration | undefined;
  list(): readonly VirtualMachineMigration[];
  /** Which end this node is. */
  roleOf(migration: VirtualMachineMigration): MigrationRole | undefined;
  /** As the API server has it at this moment; undefined when it is gone or another one. */
  read(migration: VirtualMachineMigration, options: Options): Promise<VirtualMachineMigration | undefined>;
  /**
   * Compare-and-swap: rejects with a conflict when anybody has changed the
   * migration since this version of it. Resolves with the new one.
   */
  swap(
    migration: VirtualMachineMigration,
    news: MigrationNews,
    options: Options,
  ): Promise<VirtualMachineMigration>;
}

export const createMigrationStores = ({
  nodeName,
  ...common
}: {
  readonly nodeName: string;
  readonly client: KubeClient;
  readonly logger: Logger;
  readonly metrics: Metrics;
}): MigrationStores => {
  const storeOf = (field: string): Store<VirtualMachineMigration> =>
    createStore({
      ...common,
      resource: virtualMachineMigrations,
      fieldSelector: `${field}=${nodeName}`,
      indexes: { uid: ({ metadata }) => [metadata.uid] },
    });
  return { outgoing: storeOf("status.sourceNode"), incoming: storeOf("status.targetNode") };
};

const versionOf = ({ metadata }: VirtualMachineMigration): bigint => BigInt(metadata.resourceVersion);

export const createMigrationView = (
  { outgoing, incoming }: MigrationStores,
  { nodeName, client, now }: { nodeName: string; client: KubeClient; now: () => Date },
): MigrationView => {
  /** What this process wrote, until the watch has brought it. */
  const written = new Map<string, VirtualMachineMigration>();
  const newest = (stored: VirtualMachineMigration): VirtualMachineMigration => {
    const ours = written.get(stored.metadata.uid);
    if (ours !== undefined && versionOf(ours) > versionOf(stored)) return ours;
    written.delete(stored.metadata.uid);
    return stored;
  };
  for (const store of [outgoing, incoming])
    store.onChange(({ before, after }) => {
      if (after === undefined && before !== undefined) written.delete(before.metadata.uid);
    });
  return {
    get: (uid) => {
      const [stored] = [...outgoing.byIndex("uid", uid), ...incoming.byIndex("uid", uid)];
      return stored === undefined ? undefined : newest(stored);
    },
    list: () => [...outgoing.list(), ...incoming.list()].map(newest),
    roleOf: ({ status }) => {
      if (status?.sourceNode === nodeName) return "source";
      return status?.targetNode === nodeName ? "target" : undefined;
    },
    read: async (migration, options) => {
      const found = await client.get(virtualMachineMigrations, keyOf(migration), options);
      return found?.metadata.uid === migration.metadata.uid ? found : undefined;
    },
    swap: async (migration, news, { signal }) => {
      if (!isNews(migration, news)) return migration;
      const apply = migrationStatus(migration, news, now());
      const { resourceVersion } = migration.metadata;
      const body = { ...apply, metadata: { ...apply.metadata, resourceVersion } };
      const options = { fieldManager: FIELD_MANAGER, force: true, signal };
      const answer = await client.applyStatus(virtualMachineMigrations, body, options);
      written.set(answer.metadata.uid, answer);
      return answer;
    },
  };
};

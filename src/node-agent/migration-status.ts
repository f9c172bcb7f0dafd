import { type ConditionDraft, findCondition, timestampOf, withTransitionTimes } from "../api/condition.ts";
import { apiVersionOf } from "../api/resource.ts";
import {
  type MigrationPhase,
  type VirtualMachineMigration,
  virtualMachineMigrations,
} from "../api/virtual-machine-migration.ts";

type Status = NonNullable<VirtualMachineMigration["status"]>;

/** What an agent has to say of a migration; the rest stays as it was said. */
export interface MigrationNews {
  /** A change of the phase is compare-and-swap. Default: as it is. */
  readonly phase?: MigrationPhase;
  /** Reason and sentence of the conditions. */
  readonly reason: string;
  readonly message: string;
  readonly targetReady?: boolean;
  readonly progress?: Status["progress"] | undefined;
  readonly downtimeMilliseconds?: number | undefined;
}

const OVER: ReadonlySet<MigrationPhase | undefined> = new Set(["Succeeded", "Failed", "Cancelled"]);

const draftsOf = (migration: VirtualMachineMigration, phase: MigrationPhase, said: MigrationNews) => {
  const draft = (type: string, status: "True" | "False"): ConditionDraft => ({
    type,
    status,
    observedGeneration: migration.metadata.generation ?? 0,
    reason: said.reason,
    message: said.message,
  });
  if (phase === "Succeeded") return [draft("Ready", "True")];
  const other = phase === "Failed" || phase === "Cancelled" ? "Stalled" : "Reconciling";
  return [draft("Ready", "False"), draft(other, "True")];
};

const defined = <T extends object>(fields: T): T =>
  Object.fromEntries(Object.entries(fields).filter(([, value]) => value !== undefined)) as T;

/** Everything that the node agents say of a migration, as one server-side apply of its status. */
export const migrationStatus = (migration: VirtualMachineMigration, news: MigrationNews, now: Date) => {
  const before: Partial<Status> = migration.status ?? {};
  const phase = news.phase ?? before.phase ?? "Pending";
  const startsNow = phase === "Copying" && before.startedAt === undefined;
  const endsNow = OVER.has(phase) && before.completedAt === undefined;
  const { name, namespace, uid } = migration.metadata;
  return {
    apiVersion: apiVersionOf(virtualMachineMigrations),
    kind: virtualMachineMigrations.kind,
    metadata: { name, namespace, uid },
    status: defined({
      observedGeneration: migration.metadata.generation ?? 0,
      phase,
      targetReady: news.targetReady ?? before.targetReady,
      progress: news.progress ?? before.progress,
      downtimeMilliseconds: news.downtimeMilliseconds ?? before.downtimeMilliseconds,
      startedAt: startsNow ? timestampOf(now) : before.startedAt,
      completedAt: endsNow ? timestampOf(now) : before.completedAt,
      conditions: withTransitionTimes(draftsOf(migration, phase, news), before.conditions, now),
    }),
  };
};

export type MigrationStatusApply = ReturnType<typeof migrationStatus>;

/** Whether it is said already: what only says the same needs no write. */
export const isNews = ({ status }: VirtualMachineMigration, news: MigrationNews): boolean =>
  (news.phase !== undefined && news.phase !== status?.phase) ||
  (news.targetReady !== undefined && news.targetReady !== status?.targetReady) ||
  news.progress !== undefined ||
  findCondition(status?.conditions, "Ready")?.reason !== news.reason ||
  findCondition(status?.conditions, "Ready")?.message !== news.message;

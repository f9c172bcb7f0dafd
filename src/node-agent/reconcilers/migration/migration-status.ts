import {
  type ConditionDraft,
  findCondition,
  isTrue,
  timestampOf,
  withTransitionTimes,
} from "../../../api/condition.ts";
import { apiVersionOf } from "../../../api/resource.ts";
import {
  type MigrationPhase,
  RELEASED,
  type VirtualMachineMigration,
  virtualMachineMigrations,
} from "../../../api/virtual-machine-migration.ts";

type Status = NonNullable<VirtualMachineMigration["status"]>;

/** What an agent has to say of a migration; the rest stays as it was said. */
export interface MigrationNews {
  /** A change of the phase is compare-and-swap. Default: as it is. */
  readonly phase?: MigrationPhase;
  /** Reason and sentence of Ready. Default: as they are. */
  readonly said?: { readonly reason: string; readonly message: string };
  readonly targetReady?: boolean;
  readonly progress?: Status["progress"] | undefined;
  readonly downtimeMilliseconds?: number | undefined;
  /** The node that the machine is not on has nothing left of it. */
  readonly released?: true;
}

const OVER: ReadonlySet<MigrationPhase | undefined> = new Set(["Succeeded", "Failed", "Cancelled"]);

/** Of these there is one at most beside Ready. */
const KSTATUS = ["Ready", "Reconciling", "Stalled"] as const;

const draftsOf = (
  { metadata, status }: VirtualMachineMigration,
  phase: MigrationPhase,
  { said, released }: MigrationNews,
): readonly ConditionDraft[] => {
  const draft = (type: string, value: "True" | "False", words: NonNullable<MigrationNews["said"]>) => ({
    type,
    status: value,
    observedGeneration: metadata.generation ?? 0,
    ...words,
  });
  const stored = (type: string): readonly ConditionDraft[] => {
    const found = findCondition(status?.conditions, type);
    return found === undefined ? [] : [found];
  };
  const left = released ? [draft(RELEASED, "True", NOTHING_LEFT)] : stored(RELEASED);
  if (said === undefined) return [...KSTATUS.flatMap(stored), ...left];
  if (phase === "Succeeded") return [draft("Ready", "True", said), ...left];
  const other = phase === "Failed" || phase === "Cancelled" ? "Stalled" : "Reconciling";
  return [draft("Ready", "False", said), draft(other, "True", said), ...left];
};

const NOTHING_LEFT = {
  reason: RELEASED,
  message: "Nothing of the machine is left on the node that it is not on.",
} as const;

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
export const isNews = ({ status }: VirtualMachineMigration, news: MigrationNews): boolean => {
  const { phase, targetReady, progress, released, said } = news;
  const ready = findCondition(status?.conditions, "Ready");
  return (
    (phase !== undefined && phase !== status?.phase) ||
    (targetReady !== undefined && targetReady !== status?.targetReady) ||
    progress !== undefined ||
    (released === true && !isTrue(status?.conditions, RELEASED)) ||
    (said !== undefined && (ready?.reason !== said.reason || ready.message !== said.message))
  );
};

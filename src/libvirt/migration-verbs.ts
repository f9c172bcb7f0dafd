import { NO_DEADLINE, type CallOnLane } from "./call-on-lane.ts";
import { migrateParameters, type MigrateParameters } from "./migrate-parameters.ts";
import { procedures } from "./procedures.ts";
import type { CallOptions, DomainRef, FlaggedOptions, TypedValue } from "./types.ts";

/**
 * What one phase of a migration hands to the next. Its content is libvirt's
 * own; it is handed on as it is, in the order begin, prepare, perform, finish, confirm.
 */
export type MigrateCookie = Buffer;

/** `flags`: DomainMigrateFlags, the same in all phases but for those that a phase says otherwise of. */
export interface MigrateOptions extends FlaggedOptions, MigrateParameters {}

export interface MigratePhaseOptions extends MigrateOptions {
  /**
   * The cookie that the phase before has resolved with. Default: empty, which is
   * right after a phase that failed; an older cookie is not.
   */
  readonly cookie?: MigrateCookie;
}

export interface MigrateFinishOptions extends MigratePhaseOptions {
  /** The name of the incoming domain. libvirt finds it by nothing else. */
  readonly destinationName: string;
  /** Ends the incoming domain instead of resuming it. */
  readonly cancelled: boolean;
}

export interface MigrateConfirmOptions extends MigratePhaseOptions {
  /** Resumes the domain at the source instead of ending it. */
  readonly cancelled: boolean;
}

/** https://libvirt.org/html/libvirt-libvirt-domain.html#virDomainGetJobStats */
export interface JobStats {
  /** One of DomainJobType; NONE when there is no job. */
  readonly type: number;
  readonly stats: ReadonlyMap<string, TypedValue>;
}

/** https://libvirt.org/html/libvirt-libvirt-domain.html#virDomainJobInfo */
export interface JobInfo {
  /** One of DomainJobType; NONE when there is no job. */
  readonly type: number;
  /** Milliseconds. */
  readonly timeElapsed: bigint;
  /** Milliseconds; 0 when the job does not know. */
  readonly timeRemaining: bigint;
  /** Bytes, of memory and disks together; and so below. */
  readonly dataTotal: bigint;
  readonly dataProcessed: bigint;
  readonly dataRemaining: bigint;
  readonly memTotal: bigint;
  readonly memProcessed: bigint;
  readonly memRemaining: bigint;
  /** Of disks. */
  readonly fileTotal: bigint;
  readonly fileProcessed: bigint;
  readonly fileRemaining: bigint;
}

/**
 * A migration in its five phases, as libvirt's own client carries them out:
 * begin (source), prepare (target), perform (source), finish (target), confirm
 * (source). Each talks to one daemon only.
 * https://libvirt.org/migration.html
 *
 * libvirt ties a migration to the connection that made the last phase's call:
 * when that connection ends, the migration is undone as far as it can be
 * (docs/design/libvirt.md says how far). So each side makes all its calls of
 * one migration on one connection, and closes that when the migration has
 * ended: LibvirtClient.openDedicated().
 */
export interface MigrationVerbs {
  /**
   * At the source: resolves with the domain's XML for the target. With
   * CHANGE_PROTECTION the domain is held from now on until confirm.
   * https://libvirt.org/html/libvirt-libvirt-domain.html#virDomainMigrate3
   */
  migrateBegin(
    domain: DomainRef,
    options?: MigrateOptions,
  ): Promise<{ readonly cookie: MigrateCookie; readonly xml: string }>;
  /**
   * At the target: makes the incoming domain from `destinationXml`, and listens.
   * Resolves with the URI for `perform`, or none when `uri` was given. `flags`:
   * without ABORT_ON_ERROR and AUTO_CONVERGE.
   */
  migratePrepare(
    options: MigratePhaseOptions,
  ): Promise<{ readonly cookie: MigrateCookie; readonly uri: string | undefined }>;
  /**
   * At the source: moves disks and memory, and resolves with the domain paused.
   * When it rejects as LibvirtError the domain runs on at the source and needs no
   * confirm. No deadline unless one is named.
   */
  migratePerform(
    domain: DomainRef,
    options: MigratePhaseOptions,
  ): Promise<{ readonly cookie: MigrateCookie }>;
  /**
   * At the target: resumes the incoming domain, or ends it with `cancelled`,
   * whereupon it rejects with MIGRATE_FINISH_OK. `flags` as in prepare. No
   * deadline unless one is named.
   */
  migrateFinish(
    options: MigrateFinishOptions,
  ): Promise<{ readonly cookie: MigrateCookie; readonly domain: DomainRef }>;
  /** At the source: ends the paused domain, or resumes it with `cancelled`, then without a cookie. */
  migrateConfirm(domain: DomainRef, options: MigrateConfirmOptions): Promise<void>;
  /**
   * How long the guest may stand still at the end of a migration that is under way, in ms.
   * https://libvirt.org/html/libvirt-libvirt-domain.html#virDomainMigrateSetMaxDowntime
   */
  setMigrationMaxDowntime(domain: DomainRef, ms: bigint, options?: CallOptions): Promise<void>;
  /**
   * How fast a migration may be, in MiB per second, also of one that is under way.
   * https://libvirt.org/html/libvirt-libvirt-domain.html#virDomainMigrateSetMaxSpeed
   */
  setMigrationMaxSpeed(domain: DomainRef, mibPerSecond: bigint, options?: CallOptions): Promise<void>;
  /** The domain's job: migration, save, snapshot. `flags`: DomainJobStatsFlags. https://libvirt.org/html/libvirt-libvirt-domain.html#virDomainGetJobStats */
  jobStats(domain: DomainRef, options?: FlaggedOptions): Promise<JobStats>;
  /** The same in the few figures that all jobs have. https://libvirt.org/html/libvirt-libvirt-domain.html#virDomainGetJobInfo */
  jobInfo(domain: DomainRef, options?: CallOptions): Promise<JobInfo>;
  /**
   * Ends the domain's job: the call that began it rejects with
   * OPERATION_ABORTED, and the domain goes on.
   * https://libvirt.org/html/libvirt-libvirt-domain.html#virDomainAbortJob
   */
  abortJob(domain: DomainRef, options?: CallOptions): Promise<void>;
}

const NO_COOKIE = Buffer.alloc(0);

/** What the options of a phase are on the wire. */
const split = ({ flags = 0, signal, timeoutMs, ...parameters }: MigrateOptions) => ({
  flags,
  params: migrateParameters(parameters),
  options: {
    ...(signal === undefined ? {} : { signal }),
    ...(timeoutMs === undefined ? {} : { timeoutMs }),
  },
});

export const migrationVerbs = (call: CallOnLane): MigrationVerbs => ({ ...phases(call), ...jobs(call) });

type Phase = "migrateBegin" | "migratePrepare" | "migratePerform" | "migrateFinish" | "migrateConfirm";

const phases = (call: CallOnLane): Pick<MigrationVerbs, Phase> => ({
  migrateBegin: async (dom, begin = {}) => {
    const { flags, params, options } = split(begin);
    const args = { dom, params, flags };
    const { cookieOut, xml } = await call("long", procedures.domainMigrateBegin3Params, args, options);
    return { cookie: cookieOut, xml };
  },
  migratePrepare: async ({ cookie: cookieIn = NO_COOKIE, ...prepare }) => {
    const { flags, params, options } = split(prepare);
    const args = { params, cookieIn, flags };
    const { cookieOut, uriOut } = await call("long", procedures.domainMigratePrepare3Params, args, options);
    return { cookie: cookieOut, uri: uriOut };
  },
  migratePerform: async (dom, { cookie: cookieIn = NO_COOKIE, ...perform }) => {
    const { flags, params, options } = split(perform);
    const args = { dom, dconnuri: undefined, params, cookieIn, flags };
    const bounded = { ...NO_DEADLINE, ...options };
    const { cookieOut } = await call("long", procedures.domainMigratePerform3Params, args, bounded);
    return { cookie: cookieOut };
  },
  migrateFinish: async ({ cookie: cookieIn = NO_COOKIE, cancelled, ...finish }) => {
    const { flags, params, options } = split(finish);
    const args = { params, cookieIn, flags, cancelled: cancelled ? 1 : 0 };
    const bounded = { ...NO_DEADLINE, ...options };
    const { dom, cookieOut } = await call("long", procedures.domainMigrateFinish3Params, args, bounded);
    return { cookie: cookieOut, domain: dom };
  },
  migrateConfirm: (dom, { cookie: cookieIn = NO_COOKIE, cancelled, ...confirm }) => {
    const { flags, params, options } = split(confirm);
    const args = { dom, params, cookieIn, flags, cancelled: cancelled ? 1 : 0 };
    return call("long", procedures.domainMigrateConfirm3Params, args, options);
  },
});

const jobs = (call: CallOnLane): Omit<MigrationVerbs, Phase> => ({
  setMigrationMaxDowntime: (dom, downtime, options) =>
    call("long", procedures.domainMigrateSetMaxDowntime, { dom, downtime, flags: 0 }, options),
  setMigrationMaxSpeed: (dom, bandwidth, options) =>
    call("long", procedures.domainMigrateSetMaxSpeed, { dom, bandwidth, flags: 0 }, options),
  jobStats: async (dom, { flags = 0, ...options } = {}) => {
    const { type, params } = await call("long", procedures.domainGetJobStats, { dom, flags }, options);
    return { type, stats: params };
  },
  jobInfo: (dom, options) => call("long", procedures.domainGetJobInfo, { dom }, options),
  // The long lane may be full of the very jobs that are to be ended.
  abortJob: (dom, options) => call("control", procedures.domainAbortJob, { dom }, options),
});

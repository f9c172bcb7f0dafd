import {
  type CallOptions,
  DomainJobStatsFlags,
  type DomainRef,
  ErrorCode,
  LibvirtError,
  type LibvirtClient,
} from "../../libvirt/index.ts";
import type { Files } from "../host/files.ts";
import { type Arrival, type IncomingSession, startIncoming } from "./incoming.ts";
import { type Departure, type OutgoingSession, startOutgoing } from "./outgoing.ts";
import { observeArriving, observeLeaving } from "./standing.ts";
import type { DomainStanding, MigrationRole } from "./types.ts";
import { removeWay } from "./way.ts";

export { decide } from "./decide.ts";
export { isSuperseded, type MigrationHold, migrationHold } from "./holds.ts";
export { type Arrival, type IncomingSession, UnwantedCookieError } from "./incoming.ts";
export type { DepartureProgress } from "./follow.ts";
export type { Departure, OutgoingSession, TargetAgent } from "./outgoing.ts";
export type * from "./types.ts";
export { type Channel, channels } from "./way.ts";

interface Options {
  readonly signal: AbortSignal;
}

/**
 * Guests on their way from one node's libvirt to another's. What decides is not
 * here: see decide.ts, and docs/design/migrations.md.
 *
 * A session is this process's own work for one migration. It stands on a
 * connection to libvirt of its own, so that libvirt notices when the process
 * ends; it does not outlive it.
 */
export interface Migrations {
  /** What libvirt says of the machine's domain, for that end of a migration. */
  observe(role: MigrationRole, vmUid: string, options: Options): Promise<DomainStanding>;
  /** Begins to move the guest away. One that has begun already goes on. */
  depart(departure: Departure): OutgoingSession;
  outgoing(migrationUid: string): OutgoingSession | undefined;
  /** A session for a guest that is to come. An earlier one for the same migration is closed. */
  arrive(arrival: Arrival): Promise<IncomingSession>;
  incoming(migrationUid: string): IncomingSession | undefined;
  /** Forgets the sessions of a migration, and removes its sockets. Confirm or cancel an outgoing one first. */
  forget(migrationUid: string): Promise<void>;
  /** Has libvirt stop moving a guest away that no session stands for. */
  cancelJob(vmUid: string, options: Options): Promise<void>;
  /** Lets a guest go on that libvirt has left paused. */
  resume(vmUid: string, options: Options): Promise<void>;
  /** How long the guest that has arrived last stood still, in ms, as far as libvirt remembers. */
  downtimeOf(vmUid: string, options: Options): Promise<number | undefined>;
}

export interface MigrationsOptions {
  readonly libvirt: LibvirtClient;
  readonly stateDirectory: string;
  readonly files: Files;
  readonly domainName: (vmUid: string) => string;
}

/** What is to be reached may have come about by itself, or the domain has gone: the next look tells. */
const isStateError = (error: unknown): boolean =>
  error instanceof LibvirtError &&
  (error.code === ErrorCode.OPERATION_INVALID || error.code === ErrorCode.NO_DOMAIN);

const tolerating = async (work: Promise<unknown>): Promise<void> => {
  try {
    await work;
  } catch (error) {
    if (!isStateError(error)) throw error;
  }
};

export const createMigrations = (options: MigrationsOptions): Migrations => {
  const { libvirt } = options;
  const outgoing = new Map<string, OutgoingSession>();
  const incoming = new Map<string, IncomingSession>();
  const withDomain = async (
    vmUid: string,
    act: (ref: DomainRef) => Promise<unknown>,
    callOptions: CallOptions,
  ): Promise<void> => {
    const ref = await libvirt.lookupDomain(vmUid, callOptions);
    if (ref !== undefined) await tolerating(act(ref));
  };
  return {
    observe: (role, vmUid, { signal }) =>
      (role === "source" ? observeLeaving : observeArriving)(libvirt, vmUid, { signal }),
    depart: (departure) => {
      const session = outgoing.get(departure.migrationUid) ?? startOutgoing(departure, options);
      outgoing.set(departure.migrationUid, session);
      return session;
    },
    outgoing: (migrationUid) => outgoing.get(migrationUid),
    arrive: async (arrival) => {
      await incoming.get(arrival.migrationUid)?.close();
      const session = startIncoming(arrival, options);
      incoming.set(arrival.migrationUid, session);
      return session;
    },
    incoming: (migrationUid) => incoming.get(migrationUid),
    forget: async (migrationUid) => {
      outgoing.delete(migrationUid);
      const session = incoming.get(migrationUid);
      incoming.delete(migrationUid);
      await session?.close();
      await removeWay(migrationUid, options);
    },
    cancelJob: (vmUid, { signal }) =>
      withDomain(vmUid, (ref) => libvirt.abortJob(ref, { signal }), { signal }),
    resume: (vmUid, { signal }) =>
      withDomain(vmUid, (ref) => libvirt.resumeDomain(ref, { signal }), { signal }),
    downtimeOf: async (vmUid, { signal }) => {
      const ref = await libvirt.lookupDomain(vmUid, { signal });
      if (ref === undefined) return undefined;
      const flags = DomainJobStatsFlags.COMPLETED | DomainJobStatsFlags.KEEP_COMPLETED;
      const known = await libvirt.jobStats(ref, { flags, signal }).catch((error: unknown) => {
        if (error instanceof LibvirtError) return undefined;
        throw error;
      });
      const downtime = known?.stats.get("downtime");
      return typeof downtime === "bigint" ? Number(downtime) : undefined;
    },
  };
};

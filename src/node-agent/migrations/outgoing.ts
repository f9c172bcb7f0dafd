import type { Duplex } from "node:stream";
import {
  DomainMigrateFlags,
  DomainXmlFlags,
  type DomainRef,
  type LibvirtClient,
  type LibvirtConnection,
  type MigrateCookie,
  type MigrateOptions,
  procedures,
} from "../../libvirt/index.ts";
import { type DepartureProgress, downtimeLimit, follow } from "./follow.ts";
import type { SessionState } from "./types.ts";
import { type Channel, makeWay, openCarriers, removeWay, type WayOptions } from "./way.ts";

/** What the source asks of the target's agent. */
export interface TargetAgent {
  /** Makes its own description of the guest that runs here with this one. */
  describe(runningXml: string, options: Options): Promise<string>;
  /** Makes the incoming domain of that, and listens. */
  prepare(cookie: MigrateCookie, options: Options): Promise<MigrateCookie>;
  open(channel: Channel, options: Options): Promise<Duplex>;
  /** Writes Switching, and lets the guest go on there. */
  finish(cookie: MigrateCookie, options: Options): Promise<MigrateCookie>;
}

interface Options {
  readonly signal: AbortSignal;
}

export interface Departure {
  readonly migrationUid: string;
  readonly vmUid: string;
  /** libvirt's names of the disks that are copied; the others are in shared pools. */
  readonly copiedDisks: readonly string[];
  readonly hasSharedDisks: boolean;
  readonly bandwidthMiBps: number | undefined;
  readonly maxDowntimeMilliseconds: number;
  readonly autoConverge: boolean;
  readonly target: TargetAgent;
  readonly onProgress: (progress: DepartureProgress) => void;
  /** Called when the work has failed, or has come as far as it can by itself. */
  readonly onEnd: () => void;
}

/** The source's work for one migration, with the connection to libvirt that stands for it. */
export interface OutgoingSession {
  state(): SessionState;
  /** Why it has failed. */
  failure(): string | undefined;
  /** The guest runs at the target: libvirt ends it here. */
  confirm(options: Options): Promise<void>;
  /** The guest stays: what is under way is ended, and libvirt lets it go on. */
  cancel(options: Options): Promise<void>;
}

const { LIVE, NON_SHARED_INC, CHANGE_PROTECTION, UNSAFE, AUTO_CONVERGE, ABORT_ON_ERROR, PERSIST_DEST } =
  DomainMigrateFlags;

/** libvirt takes a pool that we know to be shared for a directory of this node. */
const commonFlags = ({ copiedDisks, hasSharedDisks }: Pick<Departure, "copiedDisks" | "hasSharedDisks">) =>
  LIVE | (copiedDisks.length > 0 ? NON_SHARED_INC : 0) | (hasSharedDisks ? UNSAFE : 0);

/**
 * The definition stays at the target from before the guest runs there, so that
 * one which ends at once leaves a trace. It is the target's own: the source
 * sends none.
 */
export const arrivalFlags = (what: Pick<Departure, "copiedDisks" | "hasSharedDisks">): number =>
  commonFlags(what) | PERSIST_DEST;

export const startOutgoing = (
  departure: Departure,
  { libvirt, domainName, ...places }: OutgoingOptions,
): OutgoingSession => new Outgoing(departure, libvirt, domainName(departure.vmUid), places);

export interface OutgoingOptions extends WayOptions {
  readonly libvirt: Pick<LibvirtClient, "openDedicated">;
  readonly domainName: (vmUid: string) => string;
}

class Outgoing implements OutgoingSession {
  readonly #departure: Departure;
  readonly #libvirt: OutgoingOptions["libvirt"];
  readonly #name: string;
  readonly #places: WayOptions;
  readonly #abort = new AbortController();
  readonly #ended: Promise<void>;
  #connection: LibvirtConnection | undefined;
  #ref: DomainRef | undefined;
  #isPerformed = false;
  #lastCookie: MigrateCookie | undefined;
  #failure: string | undefined;

  constructor(departure: Departure, libvirt: OutgoingOptions["libvirt"], name: string, places: WayOptions) {
    this.#departure = departure;
    this.#libvirt = libvirt;
    this.#name = name;
    this.#places = places;
    this.#ended = this.#run()
      .catch((error: unknown) => {
        this.#failure = error instanceof Error ? error.message : String(error);
      })
      .then(() => departure.onEnd());
  }

  state(): SessionState {
    return this.#failure === undefined ? "working" : "failed";
  }

  failure(): string | undefined {
    return this.#failure;
  }

  async confirm(options: Options): Promise<void> {
    await this.#ended;
    // Without the cookie when the target's last word was lost: the guest is destroyed then.
    if (this.#isPerformed && this.#lastCookie !== undefined)
      await this.#confirm(false, this.#lastCookie, options);
    await this.#close();
  }

  async cancel(options: Options): Promise<void> {
    if (!this.#isPerformed && this.#connection !== undefined && this.#ref !== undefined)
      await this.#connection.abortJob(this.#ref, options).catch(() => {});
    this.#abort.abort(new Error("the migration was given up"));
    await this.#ended;
    if (this.#isPerformed) await this.#confirm(true, undefined, options);
    await this.#close();
  }

  /** What libvirt has forgotten is found by the next look at the domain. */
  async #confirm(cancelled: boolean, cookie: MigrateCookie | undefined, { signal }: Options): Promise<void> {
    if (this.#connection === undefined || this.#ref === undefined) return;
    const common = { ...this.#common(), flags: this.#flags(), cancelled, signal };
    const confirm = cookie === undefined ? common : { ...common, cookie };
    await this.#connection.migrateConfirm(this.#ref, confirm).catch(() => {});
  }

  async #close(): Promise<void> {
    await this.#connection?.close();
    await removeWay(this.#departure.migrationUid, this.#places);
  }

  #flags(): number {
    const converge = this.#departure.autoConverge ? AUTO_CONVERGE : 0;
    return commonFlags(this.#departure) | CHANGE_PROTECTION | ABORT_ON_ERROR | converge;
  }

  #common(): MigrateOptions {
    const { copiedDisks, bandwidthMiBps } = this.#departure;
    return {
      destinationName: this.#name,
      ...(copiedDisks.length === 0 ? {} : { migrateDisks: copiedDisks }),
      ...(bandwidthMiBps === undefined ? {} : { bandwidth: BigInt(bandwidthMiBps) }),
    };
  }

  async #run(): Promise<void> {
    const { signal } = this.#abort;
    const { target, vmUid, migrationUid } = this.#departure;
    const connection = await this.#libvirt.openDedicated({ signal });
    this.#connection = connection;
    const ref = await connection.lookupDomain(vmUid, { signal });
    if (ref === undefined) throw new Error("libvirt has no such domain any more");
    this.#ref = ref;
    const flags = DomainXmlFlags.SECURE | DomainXmlFlags.MIGRATABLE;
    const { xml } = await connection.call(procedures.domainGetXmlDesc, { dom: ref, flags }, { signal });
    const destinationXml = await target.describe(xml, { signal });
    const common = { ...this.#common(), flags: this.#flags(), signal };
    const { maxDowntimeMilliseconds, onProgress } = this.#departure;
    // From Begin on libvirt takes no such call until QEMU has begun, which may then be done within a second.
    const limit = BigInt(downtimeLimit(maxDowntimeMilliseconds));
    await connection.setMigrationMaxDowntime(ref, limit, { signal });
    // libvirt compares the two descriptions: the guest must not see a difference.
    const begun = await connection.migrateBegin(ref, { ...common, destinationXml });
    const cookie = await target.prepare(begun.cookie, { signal });
    const way = await makeWay(migrationUid, this.#places);
    await using carriers = await openCarriers(way, (channel) => target.open(channel, { signal }));
    const uris = { uri: carriers.way.uriOf("memory"), disksUri: carriers.way.uriOf("disks") };
    const { signal: _, ...unbounded } = common;
    const performing = connection.migratePerform(ref, { ...unbounded, ...uris, cookie });
    const sent = await follow(performing, { connection, ref, maxDowntimeMilliseconds, onProgress });
    this.#isPerformed = true;
    signal.throwIfAborted();
    this.#lastCookie = await target.finish(sent.cookie, { signal });
  }
}

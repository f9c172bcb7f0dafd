import type { Duplex } from "node:stream";
import type { LibvirtClient, LibvirtConnection, MigrateCookie } from "../../libvirt/index.ts";
import { arrivalFlags, type Departure } from "./outgoing.ts";
import type { SessionState } from "./types.ts";
import { type Channel, connectTo, makeWay, removeWay, type Way, type WayOptions } from "./way.ts";

interface Options {
  readonly signal: AbortSignal;
}

export interface Arrival extends Pick<Departure, "copiedDisks" | "hasSharedDisks"> {
  readonly migrationUid: string;
  readonly vmUid: string;
  /** This node's own description of the guest. */
  readonly xml: string;
}

/** The source has sent what a source of ours does not send. */
export class UnwantedCookieError extends Error {
  override readonly name = "UnwantedCookieError";
}

/** The target's work for one migration, with the connection to libvirt that stands for it. */
export interface IncomingSession {
  state(): SessionState;
  /** Makes the incoming domain, which listens from then on. */
  prepare(cookie: MigrateCookie, options: Options): Promise<MigrateCookie>;
  /** A stream to what QEMU listens on. */
  open(channel: Channel, options: Options): Promise<Duplex>;
  /** Lets the guest go on. Only after the migration has become Switching. */
  finish(cookie: MigrateCookie): Promise<MigrateCookie>;
  /** Ends the connection; libvirt ends a guest that has not arrived. */
  close(): Promise<void>;
}

export interface IncomingOptions extends WayOptions {
  readonly libvirt: Pick<LibvirtClient, "openDedicated">;
  readonly domainName: (vmUid: string) => string;
}

/**
 * A definition in a cookie would become the domain's here, with paths that the
 * other node has chosen. Ours sends none.
 */
const requireWithoutDefinition = (cookie: MigrateCookie): void => {
  if (/<\s*domain[\s>]/.test(cookie.toString("utf8")))
    throw new UnwantedCookieError("the source sends a definition of the domain, which nobody asked for");
};

export const startIncoming = (arrival: Arrival, options: IncomingOptions): IncomingSession =>
  new Incoming(arrival, options);

class Incoming implements IncomingSession {
  readonly #arrival: Arrival;
  readonly #options: IncomingOptions;
  #connection: LibvirtConnection | undefined;
  #way: Way | undefined;
  #isLost = false;

  constructor(arrival: Arrival, options: IncomingOptions) {
    this.#arrival = arrival;
    this.#options = options;
  }

  state(): SessionState {
    return this.#isLost ? "failed" : "working";
  }

  async prepare(cookie: MigrateCookie, { signal }: Options): Promise<MigrateCookie> {
    requireWithoutDefinition(cookie);
    const connection = await this.#options.libvirt.openDedicated({ signal });
    this.#connection = connection;
    void this.#notice(connection);
    const way = await makeWay(this.#arrival.migrationUid, this.#options);
    this.#way = way;
    const { xml } = this.#arrival;
    const prepared = await connection.migratePrepare({
      ...this.#common(way),
      destinationXml: xml,
      cookie,
      signal,
    });
    return prepared.cookie;
  }

  async #notice({ ended }: LibvirtConnection): Promise<void> {
    await ended;
    this.#isLost = true;
  }

  open(channel: Channel, { signal }: Options): Promise<Duplex> {
    if (this.#way === undefined) throw new Error("nothing listens yet");
    return connectTo(this.#way, channel, signal);
  }

  async finish(cookie: MigrateCookie): Promise<MigrateCookie> {
    if (this.#connection === undefined || this.#way === undefined) throw new Error("nothing was prepared");
    requireWithoutDefinition(cookie);
    const finish = { ...this.#common(this.#way), cookie, cancelled: false };
    return (await this.#connection.migrateFinish(finish)).cookie;
  }

  async close(): Promise<void> {
    await this.#connection?.close();
    await removeWay(this.#arrival.migrationUid, this.#options);
  }

  #common(way: Way) {
    const { vmUid, copiedDisks } = this.#arrival;
    return {
      flags: arrivalFlags(this.#arrival),
      uri: way.uriOf("memory"),
      disksUri: way.uriOf("disks"),
      destinationName: this.#options.domainName(vmUid),
      ...(copiedDisks.length === 0 ? {} : { migrateDisks: copiedDisks }),
    };
  }
}

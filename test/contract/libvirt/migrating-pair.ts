import { randomUUID } from "node:crypto";
import { chmod, mkdir, rm } from "node:fs/promises";
import { join } from "node:path";

import {
  connectLibvirt,
  DomainMigrateFlags,
  type DomainRef,
  type LibvirtConnection,
  type MigrateCookie,
  type MigrateParameters,
} from "../../../src/libvirt/index.ts";
import { makeTemporaryDirectory } from "../../testbed/temporary-directory.ts";
import { waitFor } from "../../testbed/wait.ts";
import type { DaemonKind, TestDaemon } from "./daemons.ts";
import { diskXml, guestXml } from "./guest-xml.ts";

const { LIVE, PERSIST_DEST, UNDEFINE_SOURCE, NON_SHARED_DISK, CHANGE_PROTECTION } = DomainMigrateFlags;

export const TARGET_FLAGS = LIVE | PERSIST_DEST | UNDEFINE_SOURCE | NON_SHARED_DISK;
export const SOURCE_FLAGS = TARGET_FLAGS | CHANGE_PROTECTION;

/** With a limit of 1 MiB per second, copying the disk takes longer than a test needs to step in. */
const DISK_MIB = 5;

/** How long `reset` may take, in ms. */
export const RESET_MS = 120_000;

const NO_COOKIE: MigrateCookie = Buffer.alloc(0);

export interface Way {
  readonly uri: string;
  readonly disksUri: string;
  readonly destinationName: string;
}

const restart = async (daemon: TestDaemon, connection: LibvirtConnection): Promise<LibvirtConnection> => {
  await daemon.kill();
  await connection.close();
  await daemon.restart();
  return connectLibvirt({ socketPath: daemon.socketPath });
};

/** Two daemons and a guest that is to move from one to the other. */
export class MigratingPair {
  readonly source: TestDaemon;
  readonly target: TestDaemon;
  #atSource: LibvirtConnection;
  #atTarget: LibvirtConnection;
  readonly #directory: string;
  readonly #opened: LibvirtConnection[] = [];

  private constructor(
    daemons: readonly [TestDaemon, TestDaemon],
    connections: readonly [LibvirtConnection, LibvirtConnection],
    directory: string,
  ) {
    [this.source, this.target] = daemons;
    [this.#atSource, this.#atTarget] = connections;
    this.#directory = directory;
  }

  static async start(kind: DaemonKind): Promise<MigratingPair> {
    const daemons = await Promise.all([kind.start(1), kind.start(2)]);
    const [source, target] = daemons;
    const connections = await Promise.all([
      connectLibvirt({ socketPath: source.socketPath }),
      connectLibvirt({ socketPath: target.socketPath }),
    ]);
    const directory = await makeTemporaryDirectory("migration");
    // For QEMU, which runs as another user.
    await chmod(directory, 0o711);
    await mkdir(join(directory, "sockets"));
    await chmod(join(directory, "sockets"), 0o777);
    return new MigratingPair(daemons, connections, directory);
  }

  /** Looks on, as atTarget does; the migrations have connections of their own. */
  get atSource(): LibvirtConnection {
    return this.#atSource;
  }

  get atTarget(): LibvirtConnection {
    return this.#atTarget;
  }

  /** kill -9 of the source's libvirtd, and a start. */
  async restartSource(): Promise<void> {
    this.#atSource = await restart(this.source, this.#atSource);
  }

  /** The same at the target. */
  async restartTarget(): Promise<void> {
    this.#atTarget = await restart(this.target, this.#atTarget);
  }

  /** A connection that is closed by reset(), if not before. */
  async connect(daemon: TestDaemon): Promise<LibvirtConnection> {
    const connection = await connectLibvirt({ socketPath: daemon.socketPath });
    this.#opened.push(connection);
    return connection;
  }

  async startGuest(): Promise<Migration> {
    const image = await this.source.image("moves", { sizeMib: DISK_MIB, writtenMib: DISK_MIB });
    await this.target.image("moves", { sizeMib: DISK_MIB });
    const xml = guestXml("guest", randomUUID(), diskXml(image, "vda", { bus: "virtio" }));
    const domain = await this.atSource.startDomain(await this.atSource.defineDomain(xml));
    const [outgoing, incoming] = await Promise.all([this.connect(this.source), this.connect(this.target)]);
    return new Migration({ pair: this, domain, outgoing, incoming, way: this.newWay() });
  }

  /** Ends all guests and closes the connections of migrations. */
  async reset(): Promise<void> {
    await Promise.all(this.#opened.splice(0).map((connection) => connection.close()));
    for (const connection of [this.atSource, this.atTarget]) {
      // libvirt is at work on the connections' end, and guests end by themselves meanwhile.
      await waitFor(
        "nothing is left",
        async () => {
          for (const each of await connection.listDomains()) {
            if (each.id !== -1) await connection.destroyDomain(each);
            if ((await connection.lookupDomain(each.uuid)) !== undefined)
              await connection.undefineDomain(each);
          }
          return (await connection.listDomains()).length === 0;
        },
        // A libvirtd that was started again lets nobody at a guest that QEMU is slow to tell of, for 30 s each time.
        { timeoutMs: RESET_MS },
      );
    }
  }

  async stop(): Promise<void> {
    await Promise.all([this.atSource, this.atTarget].map((connection) => connection.close()));
    await Promise.all([this.source, this.target].map((daemon) => daemon.stop()));
    await rm(this.#directory, { recursive: true, force: true });
  }

  /** Sockets that no migration has used before. */
  newWay(): Way {
    const path = join(this.#directory, "sockets", randomUUID().slice(0, 8));
    return {
      uri: `unix://${path}-memory`,
      disksUri: `unix://${path}-disks`,
      destinationName: "guest",
    };
  }
}

interface MigrationParts {
  readonly pair: MigratingPair;
  readonly domain: DomainRef;
  readonly outgoing: LibvirtConnection;
  readonly incoming: LibvirtConnection;
  readonly way: Way;
}

/** The phases of one migration, each with the cookie of the one before. */
export class Migration {
  readonly pair: MigratingPair;
  readonly domain: DomainRef;
  /** The connection to the source. */
  readonly outgoing: LibvirtConnection;
  /** The connection to the target. */
  readonly incoming: LibvirtConnection;
  readonly way: Way;
  #cookie: MigrateCookie = NO_COOKIE;

  constructor({ pair, domain, outgoing, incoming, way }: MigrationParts) {
    this.pair = pair;
    this.domain = domain;
    this.outgoing = outgoing;
    this.incoming = incoming;
    this.way = way;
  }

  /** The first two phases. */
  async prepare(): Promise<void> {
    const { xml, cookie } = await this.outgoing.migrateBegin(this.domain, { flags: SOURCE_FLAGS });
    const prepare = { ...this.way, destinationXml: xml, cookie, flags: TARGET_FLAGS };
    this.#cookie = (await this.incoming.migratePrepare(prepare)).cookie;
  }

  async perform(differences: MigrateParameters = {}): Promise<void> {
    const perform = { ...this.way, ...differences, cookie: this.#cookie, flags: SOURCE_FLAGS };
    this.#cookie = (await this.outgoing.migratePerform(this.domain, perform)).cookie;
  }

  async finish({ cancelled = false } = {}): Promise<DomainRef> {
    const finish = { ...this.way, cookie: this.#cookie, flags: TARGET_FLAGS, cancelled };
    const finished = await this.incoming.migrateFinish(finish);
    this.#cookie = finished.cookie;
    return finished.domain;
  }

  confirm({ cancelled = false, on = this.outgoing } = {}): Promise<void> {
    // The target has handed on nothing: libvirt takes the source's own cookie for a migration to the same host.
    const cookie = cancelled ? NO_COOKIE : this.#cookie;
    const confirm = { ...this.way, cookie, flags: SOURCE_FLAGS, cancelled };
    return on.migrateConfirm(this.domain, confirm);
  }

  stateAtSource() {
    return this.pair.atSource.domainState(this.domain);
  }

  stateAtTarget() {
    return this.pair.atTarget.domainState(this.domain);
  }

  async targetIsGone(): Promise<void> {
    await waitFor("the incoming domain has gone", async () => {
      return (await this.pair.atTarget.lookupDomain(this.domain.uuid)) === undefined;
    });
  }
}

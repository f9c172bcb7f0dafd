import { randomUUID } from "node:crypto";
import { chmod, copyFile, mkdir, readFile, rm, writeFile } from "node:fs/promises";
import { join } from "node:path";

import { openLibvirt, type LibvirtClient, type MigrateCookie } from "../../../src/libvirt/index.ts";
import {
  createDomains,
  type Domain,
  domainEventKinds,
  domainName,
  type Domains,
} from "../../../src/node-agent/domains/index.ts";
import { runCommand } from "../../../src/node-agent/host/command.ts";
import { createFiles } from "../../../src/node-agent/host/files.ts";
import {
  createMigrations,
  type Departure,
  type IncomingSession,
  type Migrations,
  type TargetAgent,
} from "../../../src/node-agent/migrations/index.ts";
import { createVolumes, type Volumes } from "../../../src/node-agent/volumes/index.ts";
import type { CachedImage, DiskChain, DiskRef } from "../../../src/node-agent/volumes/types.ts";
import { ensureGuestImage } from "../../testbed/guest-images/index.ts";
import { startNode, type TestNode } from "../../testbed/node.ts";
import { makeTemporaryDirectory } from "../../testbed/temporary-directory.ts";
import type { Underlay } from "../../testbed/underlay.ts";
import { waitFor } from "../../testbed/wait.ts";
import { type GuestShell, openShell } from "../domains/guest-shell.ts";
import { wantedDomain } from "../../unit/node-agent/domains/wanted.ts";

export const { signal } = new AbortController();
/** An emulated guest on a busy machine takes its time. */
export const PATIENCE_MS = 240_000;

const underlay: Pick<Underlay, "addressOf" | "attach"> = {
  addressOf: () => "127.0.0.1",
  attach: async () => {},
};

/** One node: its libvirt, its disks, and the agent's rooms that a migration needs. */
export interface End {
  readonly node: TestNode;
  readonly libvirt: LibvirtClient;
  readonly domains: Domains;
  readonly volumes: Volumes;
  readonly directory: string;
  /** The room of an agent that was started a moment ago, when `restartAgent` was called. */
  migrations: Migrations;
  restartAgent(): Promise<void>;
  /** After its libvirtd was started again. */
  reconnected(): Promise<void>;
  stop(): Promise<void>;
}

const imageUid = randomUUID();

const startEnd = async (number: number, directory: string, image: string): Promise<End> => {
  await mkdir(join(directory, "node"));
  const node = await startNode({
    name: `end-${number}`,
    number,
    directory: join(directory, "node"),
    underlay,
    lifetime: "owner",
  });
  const files = createFiles({ roots: [directory] });
  const cached = join(directory, "image.qcow2");
  await copyFile(image, cached);
  await chmod(cached, 0o444);
  const found: CachedImage = {
    uid: imageUid,
    checksum: `sha256:${"0".repeat(64)}`,
    path: cached,
    format: "qcow2",
    virtualSizeBytes: 64 * 2 ** 20,
  };
  const volumes = createVolumes({
    pools: [{ name: "local", path: directory, shared: false, wipe: "None" }],
    run: runCommand,
    files,
    logger: { info: () => {}, warn: () => {} },
    findImage: async (uid) => (uid === imageUid ? found : undefined),
  });
  const open = () =>
    openLibvirt({
      socketPath: node.libvirtSocket,
      events: domainEventKinds,
      backOff: { minMs: 20, maxMs: 200 },
    });
  const libvirt = open();
  await libvirt.whenConnected({ signal });
  let ofAgent = open();
  await ofAgent.whenConnected({ signal });
  const roomOn = (client: LibvirtClient): Migrations =>
    createMigrations({ libvirt: client, stateDirectory: directory, files, domainName });
  const end: End = {
    node,
    libvirt,
    volumes,
    directory,
    domains: createDomains({ libvirt, stateDirectory: directory, files }),
    migrations: roomOn(ofAgent),
    restartAgent: async () => {
      await ofAgent.close();
      ofAgent = open();
      await ofAgent.whenConnected({ signal });
      end.migrations = roomOn(ofAgent);
    },
    reconnected: async () => {
      await Promise.all([libvirt, ofAgent].map((client) => client.whenConnected({ signal })));
    },
    stop: async () => {
      await Promise.all([volumes.close(), libvirt.close(), ofAgent.close()]);
      await node.stop();
    },
  };
  return end;
};

/** A guest that is to move from the first end to the second. */
export interface Traveller {
  readonly vmUid: string;
  readonly migrationUid: string;
  readonly ref: DiskRef;
  /** Begins; the target's phase is written where `onFinish` is called. */
  depart(changes?: Partial<Departure & TargetAgent>): void;
  /** A guest's console, at one of the ends. */
  shell(end: End): Promise<GuestShell>;
}

const layersOf = ({ path, backing }: DiskChain): Domain["rootDisk"]["layers"] => [
  { path, format: "qcow2" },
  ...backing.map((layer) => ({ path: layer.path, format: layer.format, shared: layer.isImage })),
];

const tapOf = (vmUid: string): string => `vtap${vmUid.slice(0, 8)}000`;

export class Pair {
  readonly source: End;
  readonly target: End;
  readonly #directory: string;

  private constructor(source: End, target: End, directory: string) {
    this.source = source;
    this.target = target;
    this.#directory = directory;
  }

  static async start(): Promise<Pair> {
    const directory = await makeTemporaryDirectory("moves");
    await chmod(directory, 0o711);
    const image = (await ensureGuestImage("tiny")).path;
    const [one, two] = [join(directory, "1"), join(directory, "2")];
    await mkdir(one, { mode: 0o711 });
    await mkdir(two, { mode: 0o711 });
    const source = await startEnd(1, one, image);
    const target = await startEnd(2, two, image);
    return new Pair(source, target, directory);
  }

  /** What the guest is made of at that end, besides its root disk. */
  async wanted(end: End, vmUid: string, root: DiskChain): Promise<Domain> {
    const seedPath = join(end.directory, `${vmUid}.iso`);
    await writeFile(seedPath, Buffer.alloc(65_536));
    return wantedDomain({
      vmUid,
      vcpus: 1,
      memoryMiB: 128,
      rootDisk: { layers: layersOf(root) },
      seedPath,
      interfaces: [{ network: "blue", tap: tapOf(vmUid), macAddress: "02:00:00:00:00:0b", mtu: 1450 }],
    });
  }

  /** A guest that has booted at the source, with a frozen layer under what it writes. */
  async traveller(): Promise<Traveller> {
    const { source, target } = this;
    const vmUid = randomUUID();
    const ref: DiskRef = { pool: "local", kind: "root", uid: vmUid };
    for (const { node } of [source, target])
      await node.run(["ip", "tuntap", "add", "dev", tapOf(vmUid), "mode", "tap", "vnet_hdr"]);
    const image: CachedImage = {
      uid: imageUid,
      checksum: `sha256:${"0".repeat(64)}`,
      path: join(source.directory, "image.qcow2"),
      format: "qcow2",
      virtualSizeBytes: 64 * 2 ** 20,
    };
    const made = await source.volumes.disks.ensure(
      { ref, sizeMiB: 128, source: { kind: "image", image } },
      { signal },
    );
    if (made.kind !== "ready") throw new Error(`the disk is ${made.kind}`);
    const snapshotUid = randomUUID();
    await source.volumes.snapshots.prepare({ snapshotUid, disks: [ref], withMemory: false }, { signal });
    await source.volumes.snapshots.commit(snapshotUid, [ref], { signal });
    const chain = await source.volumes.disks.find(ref, { signal });
    if (chain === undefined) throw new Error("the disk has no head");
    await source.domains.start(await this.wanted(source, vmUid, chain), { signal });
    await waitFor(
      `guest ${vmUid} booted`,
      async () =>
        (await readFile(join(source.directory, "consoles", `${vmUid}.log`), "utf8")).includes(
          "vireo-guest ready",
        ),
      { timeoutMs: 120_000 },
    );
    return this.#travellerOf(vmUid, ref);
  }

  /** The same guest, at the source, with a migration to come that is another one. */
  again({ vmUid, ref }: Traveller): Traveller {
    return this.#travellerOf(vmUid, ref);
  }

  #travellerOf(vmUid: string, ref: DiskRef): Traveller {
    const { source } = this;
    const migrationUid = randomUUID();
    return {
      vmUid,
      migrationUid,
      ref,
      depart: (changes = {}) => {
        const agent = { ...this.targetAgent({ vmUid, migrationUid, ref }), ...changes };
        source.migrations.depart({
          migrationUid,
          vmUid,
          copiedDisks: ["vda"],
          hasSharedDisks: false,
          bandwidthMiBps: undefined,
          maxDowntimeMilliseconds: 500,
          autoConverge: true,
          onProgress: () => {},
          onEnd: () => {},
          ...changes,
          target: agent,
        });
      },
      shell: (end) => openShell(join(end.directory, "consoles", `${vmUid}.sock`)),
    };
  }

  /** Copies frozen layers, and makes an empty head. */
  async receive({ ref, migrationUid }: Pick<Traveller, "ref" | "migrationUid">): Promise<DiskChain> {
    const { source, target } = this;
    const manifest = await source.volumes.transfers.describe(ref, { isRunning: true }, { signal });
    return waitFor("the disk is there", async () => {
      const outcome = await target.volumes.transfers.receive(
        {
          migrationUid,
          ref,
          // As it comes off the wire.
          manifest: JSON.parse(JSON.stringify(manifest)) as typeof manifest,
          withHead: false,
          fetch: async function* (name) {
            await using file = await source.volumes.transfers.open(ref, name, { signal });
            if (file === undefined) throw new Error(`there is no file ${name}`);
            yield* file.chunks();
          },
        },
        { signal },
      );
      if (outcome.kind === "failed") throw new Error(outcome.message);
      return outcome.kind === "ready" ? outcome.chain : undefined;
    });
  }

  /** The target's agent without the network between, and without the object that both go by. */
  targetAgent({ vmUid, migrationUid, ref }: Pick<Traveller, "vmUid" | "migrationUid" | "ref">): TargetAgent {
    let xml = "";
    let session: IncomingSession | undefined;
    const arrived = (): IncomingSession => {
      if (session === undefined) throw new Error("nothing was prepared");
      return session;
    };
    return {
      describe: async (runningXml) => {
        const chain = await this.receive({ ref, migrationUid });
        const want = await this.wanted(this.target, vmUid, chain);
        ({ xml } = await this.target.domains.describeArriving(want, runningXml, { signal }));
        return xml;
      },
      prepare: async (cookie: MigrateCookie) => {
        session = await this.target.migrations.arrive({
          migrationUid,
          vmUid,
          xml,
          copiedDisks: ["vda"],
          hasSharedDisks: false,
        });
        return session.prepare(cookie, { signal });
      },
      open: (channel) => arrived().open(channel, { signal }),
      finish: async (cookie) => {
        const after = await arrived().finish(cookie);
        await this.target.migrations.forget(migrationUid);
        return after;
      },
    };
  }

  async stop(): Promise<void> {
    for (const end of [this.source, this.target]) await end.stop();
    await waitFor("the directory can be removed", () =>
      rm(this.#directory, { recursive: true, force: true }).then(() => true),
    );
  }
}

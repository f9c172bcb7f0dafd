import { DiskStateError, type Volumes } from "../../src/node-agent/volumes/index.ts";
import { leadFirst } from "../../src/node-agent/volumes/lead.ts";
import type {
  DiskChain,
  DiskRef,
  FoundDisk,
  MergeOutcome,
  RestoreState,
} from "../../src/node-agent/volumes/types.ts";

/** Something happens on the host; whoever makes it happen may be killed just before or just after. */
export type Effect = <T>(happen: () => T) => Promise<T>;

interface FakeDisk {
  readonly ref: DiskRef;
  sizeMiB: number;
  /** Names of its layers, the head last. */
  layers: string[];
  /** Snapshots with the layer that each has frozen. */
  snapshots: Map<string, { readonly layer: string; readonly hasMemory: boolean }>;
  freezing: string | undefined;
  restore: { readonly uid: string; readonly layer: string; state: RestoreState } | undefined;
  isRemoved: boolean;
}

const MiB = 2 ** 20;

/** The room of disks in memory: layers are names, and a merge is done at once. */
export class FakeVolumes {
  readonly disks = new Map<string, FakeDisk>();
  /** While this holds, disks that are copies are not finished. */
  copiesTakeTime = false;
  readonly #effect: Effect;

  constructor(effect: Effect) {
    this.#effect = effect;
  }

  /** The layers of a disk from the first one to the head, in words. */
  layersOf(uid: string): readonly string[] {
    return this.disks.get(uid)?.layers ?? [];
  }

  /** What the guest writes of each disk. */
  headOf(uid: string): string {
    return `/${uid}/${this.disks.get(uid)?.layers.at(-1)}`;
  }

  /** Whether a restore has changed some of these over and others not: no guest may be started then. */
  isHalfSwitched(uids: readonly string[]): boolean {
    const states = new Set(uids.map((uid) => this.disks.get(uid)?.restore?.state));
    return states.has("switched") && (states.has("prepared") || states.has("undoing"));
  }

  /** One disk after the other, as the real room does it: a kill may come in between. */
  async #each(disks: readonly DiskRef[], change: (disk: FakeDisk) => void): Promise<void> {
    for (const ref of disks) await this.#effect(() => change(this.#require(ref)));
  }

  #require({ uid }: DiskRef): FakeDisk {
    const disk = this.disks.get(uid);
    if (disk === undefined) throw new DiskStateError(`there is no disk ${uid}`);
    return disk;
  }

  #chain(disk: FakeDisk): DiskChain {
    const [head = "", ...below] = disk.layers.map((name) => `/${disk.ref.uid}/${name}`).toReversed();
    const backing = below.map((path) => ({ path, format: "qcow2" as const, isImage: false }));
    return { ref: disk.ref, path: head, backing, virtualSizeBytes: disk.sizeMiB * MiB };
  }

  /** Layers that neither the head nor a snapshot needs go; of a removed disk the head goes too. */
  #merge(disk: FakeDisk): MergeOutcome {
    const frozen = new Set([...disk.snapshots.values()].map(({ layer }) => layer));
    const head = disk.layers.at(-1);
    disk.layers = disk.layers.filter(
      (layer) => frozen.has(layer) || (layer === head && !disk.isRemoved) || layer === disk.freezing,
    );
    if (disk.layers.length > 0) return { kind: "clean" };
    this.disks.delete(disk.ref.uid);
    return { kind: "gone" };
  }

  readonly room: Volumes = {
    pools: async () => [],
    transfers: {
      describe: async () => {
        throw new DiskStateError("the fake sends nothing");
      },
      open: async () => undefined,
      receive: async () => ({ kind: "working", progressPercent: 0 }),
      drop: async () => {},
      accept: async () => {},
    },
    disks: {
      ensure: ({ ref, sizeMiB, source }) =>
        this.#effect(() => {
          const found = this.disks.get(ref.uid);
          if (found !== undefined) return { kind: "ready", chain: this.#chain(found) };
          if (source.kind === "snapshot" && this.copiesTakeTime) {
            return { kind: "working", progressPercent: 50 };
          }
          const disk: FakeDisk = {
            ref,
            sizeMiB,
            layers: ["base"],
            snapshots: new Map(),
            freezing: undefined,
            restore: undefined,
            isRemoved: false,
          };
          this.disks.set(ref.uid, disk);
          return { kind: "ready", chain: this.#chain(disk) };
        }),
      find: async ({ uid }) => {
        const disk = this.disks.get(uid);
        return disk === undefined || disk.isRemoved ? undefined : this.#chain(disk);
      },
      locate: async (_kind, uid) => this.disks.get(uid)?.ref,
      grow: (ref, sizeMiB) => this.#effect(() => void (this.#require(ref).sizeMiB = sizeMiB)),
      remove: ({ uid }) =>
        this.#effect(() => {
          const disk = this.disks.get(uid);
          if (disk === undefined) return { kind: "gone" };
          disk.isRemoved = true;
          return this.#merge(disk).kind === "gone"
            ? { kind: "gone" }
            : { kind: "kept", snapshotUids: [...disk.snapshots.keys()] };
        }),
      retain: async () => {},
      adopt: async () => ({ kind: "refused", message: "the fake keeps nothing" }),
      list: async () =>
        [...this.disks.values()].map((disk): FoundDisk => ({
          ref: disk.ref,
          state: disk.isRemoved ? "kept" : "ready",
          snapshots: [...disk.snapshots].map(([uid, { hasMemory }]) => ({
            uid,
            virtualSizeBytes: disk.sizeMiB * MiB,
            usedBytes: 1,
            memoryBytes: hasMemory ? 1 : 0,
          })),
          usedBytes: 1,
        })),
    },
    snapshots: {
      prepare: async ({ snapshotUid, disks, withMemory }) => {
        await this.#each(leadFirst(disks), (disk) => void (disk.freezing = snapshotUid));
        const freezing = disks.map((ref) => ({
          ref,
          path: this.headOf(ref.uid),
          overlayPath: `/${ref.uid}/${snapshotUid}`,
        }));
        return { disks: freezing, ...(withMemory ? { memoryPath: `/memory/${snapshotUid}` } : {}) };
      },
      commit: (snapshotUid, disks) =>
        this.#each(leadFirst(disks), (disk) => {
          if (disk.snapshots.has(snapshotUid)) return;
          const layer = disk.layers.at(-1) ?? "";
          const hasMemory = disk.ref.kind === "root" && this.memories.has(snapshotUid);
          if (disk.freezing !== snapshotUid) throw new DiskStateError(`${snapshotUid} has not been prepared`);
          disk.snapshots.set(snapshotUid, { layer, hasMemory });
          disk.layers.push(snapshotUid);
          disk.freezing = undefined;
        }),
      undo: (_snapshotUid, disks) =>
        this.#each(leadFirst(disks).toReversed(), (disk) => void (disk.freezing = undefined)),
      find: async (snapshotUid, disks) => {
        const all = disks.map((ref) => this.#require(ref));
        const taken = all.filter(({ snapshots }) => snapshots.has(snapshotUid));
        if (taken.length > 0) return taken.length === all.length ? "committed" : "committing";
        return all.some(({ freezing }) => freezing === snapshotUid) ? "prepared" : "none";
      },
      memoryPath: async (snapshotUid) =>
        this.memories.has(snapshotUid) ? `/memory/${snapshotUid}` : undefined,
      discard: (snapshotUid, disks) =>
        this.#effect(() => {
          for (const ref of disks) this.disks.get(ref.uid)?.snapshots.delete(snapshotUid);
          this.memories.delete(snapshotUid);
        }),
    },
    restores: {
      prepare: ({ restoreUid, snapshotUid, disks }) =>
        this.#each(leadFirst(disks), (disk) => {
          const frozen = disk.snapshots.get(snapshotUid);
          if (frozen === undefined) throw new DiskStateError(`there is no snapshot ${snapshotUid}`);
          disk.restore ??= { uid: restoreUid, layer: frozen.layer, state: "prepared" };
        }),
      switch: async (restoreUid, disks) => {
        if (disks.some((ref) => this.#require(ref).restore?.uid !== restoreUid))
          throw new DiskStateError(`restore ${restoreUid} has not been prepared`);
        await this.#each(leadFirst(disks), ({ restore }) => {
          if (restore !== undefined) restore.state = "switched";
        });
      },
      undo: async (restoreUid, disks) => {
        const [lead, ...others] = leadFirst(disks);
        if (lead === undefined) return;
        const isIts = (disk: FakeDisk): boolean => disk.restore?.uid === restoreUid;
        await this.#each([lead], (disk) => {
          if (isIts(disk) && disk.restore !== undefined) disk.restore.state = "undoing";
        });
        await this.#each([...others, lead], (disk) => {
          if (isIts(disk)) disk.restore = undefined;
        });
      },
      finish: async (restoreUid, disks) => {
        const [lead, ...others] = leadFirst(disks);
        if (lead === undefined || this.#require(lead).restore?.uid !== restoreUid) return;
        const isFinishing = this.#require(lead).restore?.state === "finishing";
        if (!isFinishing && disks.some((ref) => this.#require(ref).restore?.state !== "switched"))
          throw new DiskStateError(`restore ${restoreUid} has not been switched`);
        await this.#each([lead], ({ restore }) => {
          if (restore !== undefined) restore.state = "finishing";
        });
        await this.#each([...others, lead], (disk) => {
          const { restore } = disk;
          if (restore?.uid !== restoreUid) return;
          disk.layers = [...disk.layers.slice(0, disk.layers.indexOf(restore.layer) + 1), restoreUid];
          disk.restore = undefined;
        });
      },
      find: async (restoreUid, disks) => {
        const [lead] = leadFirst(disks);
        const restore = lead === undefined ? undefined : this.disks.get(lead.uid)?.restore;
        return restore?.uid === restoreUid ? restore.state : undefined;
      },
    },
    merges: {
      advance: ({ uid }) =>
        this.#effect((): MergeOutcome => {
          const disk = this.disks.get(uid);
          return disk === undefined ? { kind: "gone" } : this.#merge(disk);
        }),
      confirm: async () => {},
      abandon: async () => {},
    },
    exports: {
      ensure: async () => ({ kind: "working", progressPercent: 0 }),
      remove: async () => {},
      list: async () => [],
    },
    imagesInUse: async () => new Set<string>(),
    onChange: () => () => {},
    close: async () => {},
  };

  /** Snapshots that have the guest's memory. */
  readonly memories = new Set<string>();
}

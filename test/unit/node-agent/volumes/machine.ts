import { pathDown } from "../../../../src/node-agent/volumes/layers.ts";
import { type DiskRecord, parseRecord } from "../../../../src/node-agent/volumes/record.ts";
import type {
  DesiredDisk,
  DiskRef,
  LiveMerge,
  MergeOutcome,
} from "../../../../src/node-agent/volumes/types.ts";
import { inPool } from "./fake-host.ts";
import { image, Node, options, uidOf } from "./node.ts";

export const root: DiskRef = { pool: "local", kind: "root", uid: uidOf(2) };
export const data: DiskRef = { pool: "local", kind: "volume", uid: uidOf(3) };
export const disks = [data, root] as const;

const wanted: readonly DesiredDisk[] = [
  { ref: root, sizeMiB: 4, source: { kind: "image", image } },
  { ref: data, sizeMiB: 2, source: { kind: "blank" } },
];

type Content = Map<number, number>;

/**
 * A machine with two disks on a fake host, with the parts that are not the
 * room's: libvirt with its block jobs, and what the disks are to look like.
 */
export class Machine extends Node {
  /** Paths that QEMU has open for writing; empty while the guest is off. */
  readonly heads = new Map<string, string>();
  readonly #expected = new Map<string, Content>();
  readonly snapshots = new Map<string, ReadonlyMap<string, Content>>();
  /**
   * What QEMU still holds of its block jobs: a job's end writes the new backing
   * file into a header at once, and the tables that say where the job's clusters
   * are when something is flushed. By file, what was there before.
   */
  readonly #unflushed: {
    readonly path: string;
    readonly cluster: number;
    readonly former: number | undefined;
  }[] = [];

  constructor() {
    super();
    this.#expected.set(root.uid, new Map(this.host.content(image.path)));
    this.#expected.set(data.uid, new Map());
  }

  get isRunning(): boolean {
    return this.heads.size > 0;
  }

  async ensureAll(): Promise<void> {
    for (const want of wanted) await this.volumes.disks.ensure(want, options);
  }

  async powerOn(): Promise<void> {
    const heads = new Map<string, string>();
    for (const want of wanted) {
      const outcome = await this.volumes.disks.ensure(want, options);
      if (outcome.kind !== "ready") throw new Error(JSON.stringify(outcome));
      heads.set(want.ref.uid, outcome.chain.path);
    }
    for (const [uid, path] of heads) this.heads.set(uid, path);
  }

  /** As a power cut, or a kill of QEMU. */
  powerOff(): void {
    for (const { path, cluster, former } of this.#unflushed.splice(0).toReversed())
      if (former === undefined) this.host.qcow2(path).clusters.delete(cluster);
      else this.host.qcow2(path).clusters.set(cluster, former);
    this.heads.clear();
  }

  /** QEMU writes out all that it holds. */
  flush(): void {
    this.#unflushed.length = 0;
  }

  write(ref: DiskRef, cluster: number, value: number): void {
    const path = this.heads.get(ref.uid);
    if (path === undefined) return;
    this.flush();
    this.host.qcow2(path).clusters.set(cluster, value);
    this.expectedOf(ref).set(cluster, value);
  }

  expectedOf(ref: DiskRef): Content {
    return this.#expected.get(ref.uid) ?? new Map();
  }

  /** The machine's disks are to look as they do now, under this name. */
  remember(snapshotUid: string): void {
    this.snapshots.set(snapshotUid, this.#contents());
  }

  backTo(snapshotUid: string): void {
    for (const [uid, content] of this.snapshots.get(snapshotUid) ?? [])
      this.#expected.set(uid, new Map(content));
  }

  #contents(): ReadonlyMap<string, Content> {
    return new Map([...this.#expected].map(([uid, content]) => [uid, new Map(content)]));
  }

  record(ref: DiskRef): DiskRecord {
    const path = inPool(ref.kind === "root" ? "disks" : "volumes", ref.uid);
    const bytes = this.host.text(`${path}/disk.json`);
    const record = parseRecord(bytes, { hasFormerLayer: false });
    if (record === undefined) throw new Error(`no record of ${ref.uid}`);
    return record;
  }

  layerPath(ref: DiskRef, name: string): string {
    return inPool(ref.kind === "root" ? "disks" : "volumes", ref.uid, `${name}.qcow2`);
  }

  /**
   * QEMU was killed before it wrote out what it held of a job. The files show the
   * content again once an agent has put them back, which all do before they read.
   */
  #isToBePutBack({ pending }: DiskRecord): boolean {
    return !this.isRunning && pending?.kind === "merge" && pending.how !== "rebase";
  }

  /** What differs between the disks and snapshots as they are and as they are to be. */
  differences(): readonly string[] {
    const wrong: string[] = [];
    const compare = (what: string, path: string, expected: ReadonlyMap<number, number> | undefined): void => {
      const want = [...(expected ?? [])].sort(([a], [b]) => a - b);
      const have = [...this.host.content(path)];
      if (JSON.stringify(want) !== JSON.stringify(have))
        wrong.push(`${what}: ${JSON.stringify(have)} instead of ${JSON.stringify(want)}`);
    };
    for (const ref of disks) {
      const record = this.record(ref);
      if (this.#isToBePutBack(record)) continue;
      compare(`disk ${ref.kind}`, this.layerPath(ref, record.head ?? ""), this.expectedOf(ref));
      const open = this.heads.get(ref.uid);
      if (open !== undefined && open !== this.layerPath(ref, record.head ?? ""))
        wrong.push(`the guest has ${open} open, which is not the head ${record.head}`);
      for (const { uid, layer } of record.snapshots)
        compare(
          `snapshot ${uid} of ${ref.kind}`,
          this.layerPath(ref, layer),
          this.snapshots.get(uid)?.get(ref.uid),
        );
      for (const name of pathDown(record, record.head))
        if (!this.host.paths().includes(this.layerPath(ref, name))) wrong.push(`layer ${name} is missing`);
    }
    return wrong;
  }

  /**
   * A block job. It may be cut short after some clusters, as when QEMU ends. One
   * whose end nobody has heard of is asked for again: there is nothing left to do.
   */
  blockJob(ref: DiskRef, merge: LiveMerge, clustersLeft = Number.POSITIVE_INFINITY): void {
    if (this.#hasMerged(ref, merge)) return;
    const into = merge.kind === "pull" ? merge.diskPath : merge.basePath;
    const seen = this.host.content(merge.kind === "pull" ? merge.diskPath : merge.topPath);
    const target = this.host.qcow2(into);
    let left = clustersLeft;
    for (const [cluster, value] of seen) {
      if (left === 0) return;
      left -= 1;
      this.#unflushed.push({ path: into, cluster, former: target.clusters.get(cluster) });
      target.clusters.set(cluster, value);
    }
    if (merge.kind === "pull") target.backing = merge.basePath;
    else this.host.qcow2(this.#above(ref, merge.topPath)).backing = merge.basePath;
  }

  /** The files that the guest has open, from the head down. */
  #chain(ref: DiskRef): readonly string[] {
    const chain: string[] = [];
    for (let next = this.heads.get(ref.uid); next !== undefined; next = this.host.qcow2(next).backing)
      chain.push(next);
    return chain;
  }

  #hasMerged(ref: DiskRef, merge: LiveMerge): boolean {
    const chain = this.#chain(ref);
    if (merge.kind === "pull") return this.host.qcow2(merge.diskPath).backing === merge.basePath;
    return chain.includes(merge.basePath) && !chain.includes(merge.topPath);
  }

  /** The file of the running chain that stands on this one. */
  #above(ref: DiskRef, path: string): string {
    const above = this.#chain(ref).find((file) => this.host.qcow2(file).backing === path);
    if (above === undefined) throw new Error(`nothing of the running chain stands on ${path}`);
    return above;
  }

  /** Advances until something else than background work has to be done. */
  advance(ref: DiskRef): Promise<MergeOutcome> {
    return this.whileWorking(() => this.volumes.merges.advance(ref, { isRunning: this.isRunning }, options));
  }

  /** Merges all there is, with the block jobs that it takes. */
  async clean(): Promise<void> {
    for (const ref of disks)
      for (;;) {
        const outcome = await this.advance(ref);
        if (outcome.kind === "clean") break;
        if (outcome.kind !== "live") throw new Error(JSON.stringify(outcome));
        this.blockJob(ref, outcome.merge);
        this.flush();
        await this.volumes.merges.confirm(ref, options);
      }
  }
}

import { dirname, join } from "node:path";
import { CommandError, type RunCommand } from "../../../../src/node-agent/host/command.ts";
import type { Files, FileStatus, ReadableFile, WritableFile } from "../../../../src/node-agent/host/files.ts";

/** A qcow2 file as far as layers go: what is written in it, and what it stands on. */
export interface FakeQcow2 {
  readonly kind: "qcow2";
  sizeBytes: number;
  backing: string | undefined;
  /** What is in each cluster that was written; others show what is below. */
  readonly clusters: Map<number, number>;
}

type FakeFile = FakeQcow2 | { readonly kind: "bytes"; data: Buffer };

/** What one host was given of a qcow2 file, by which another one knows it again. */
const sent = new WeakMap<Uint8Array, FakeQcow2>();

/** The agent's process ended here. */
export class Killed extends Error {
  override readonly name = "Killed";
}

const L1_OFFSET = 4096;

const headerBytes = ({ sizeBytes, backing, clusters }: FakeQcow2): Buffer => {
  const bytes = Buffer.alloc(L1_OFFSET + 8);
  bytes.write("QFI\u00fb", 0, "latin1");
  bytes.writeUInt32BE(3, 4);
  const name = Buffer.from(backing ?? "");
  bytes.writeBigUInt64BE(backing === undefined ? 0n : 112n, 8);
  bytes.writeUInt32BE(name.length, 16);
  bytes.writeUInt32BE(16, 20);
  bytes.writeBigUInt64BE(BigInt(sizeBytes), 24);
  bytes.writeUInt32BE(1, 36);
  bytes.writeBigUInt64BE(BigInt(L1_OFFSET), 40);
  bytes.writeUInt32BE(4, 96);
  bytes.writeUInt32BE(112, 100);
  name.copy(bytes, 112);
  bytes[L1_OFFSET] = clusters.size > 0 ? 0x80 : 0;
  return bytes;
};

/**
 * A host in memory: files, and qemu-img on them. Each change counts, and it can
 * be told to die at one of them; a rebase or a convert is many changes.
 */
export class FakeHost {
  readonly #files = new Map<string, FakeFile>();
  readonly #directories = new Set<string>(["/"]);
  #changesLeft = Number.POSITIVE_INFINITY;
  #isDead = false;
  readonly commands: string[] = [];

  constructor(...directories: readonly string[]) {
    for (const path of directories) this.#makeDirectory(path);
  }

  /** The agent ends at the change after so many more. */
  dieAfter(changes: number): void {
    this.#changesLeft = changes;
  }

  /** A fresh agent comes up. */
  revive(): void {
    this.#isDead = false;
    this.#changesLeft = Number.POSITIVE_INFINITY;
  }

  get isDead(): boolean {
    return this.#isDead;
  }

  /** Paths of all files. */
  paths(): readonly string[] {
    return [...this.#files.keys()].sort();
  }

  qcow2(path: string): FakeQcow2 {
    const file = this.#files.get(path);
    if (file?.kind !== "qcow2") throw new Error(`${path} is no qcow2 file`);
    return file;
  }

  text(path: string): string {
    const file = this.#files.get(path);
    if (file?.kind !== "bytes") throw new Error(`${path} is no text`);
    return file.data.toString("utf8");
  }

  put(path: string, file: Omit<FakeQcow2, "kind">): void {
    this.#makeDirectory(dirname(path));
    this.#files.set(path, { kind: "qcow2", ...file });
  }

  /** All that is seen through a file, zeros left out. */
  content(path: string): Map<number, number> {
    const chain: FakeQcow2[] = [];
    for (let next: string | undefined = path; next !== undefined; next = chain[0]?.backing)
      chain.unshift(this.qcow2(next));
    const seen = new Map<number, number>();
    for (const { clusters } of chain) for (const [cluster, value] of clusters) seen.set(cluster, value);
    return new Map([...seen].filter(([, value]) => value !== 0).sort(([a], [b]) => a - b));
  }

  #makeDirectory(path: string): void {
    for (let next = path; !this.#directories.has(next); next = dirname(next)) this.#directories.add(next);
  }

  #look(): void {
    if (this.#isDead) throw new Killed();
  }

  #change(): void {
    this.#look();
    if (this.#changesLeft === 0) {
      this.#isDead = true;
      throw new Killed();
    }
    this.#changesLeft -= 1;
  }

  readonly files: Files = {
    ensureDirectory: async (path) => {
      this.#change();
      this.#makeDirectory(path);
    },
    writeAtomically: async (path, content) => {
      const unfinished = `${path}.new`;
      this.#change();
      this.#files.set(unfinished, { kind: "bytes", data: Buffer.from(content) });
      this.#change();
      this.#files.set(path, { kind: "bytes", data: Buffer.from(content) });
      this.#files.delete(unfinished);
    },
    readText: async (path) => {
      this.#look();
      const file = this.#files.get(path);
      return file?.kind === "bytes" ? file.data.toString("utf8") : undefined;
    },
    list: async (path) => {
      this.#look();
      const all = [...this.#files.keys(), ...this.#directories].filter((name) => name !== "/");
      return all
        .filter((name) => dirname(name) === path)
        .map((name) => name.slice(path.length + 1))
        .sort();
    },
    stat: async (path) => {
      this.#look();
      return this.#stat(path);
    },
    space: async () => ({ sizeBytes: 2 ** 40, availableBytes: 2 ** 39 }),
    openForReading: async (path) => {
      this.#look();
      const file = this.#files.get(path);
      return file === undefined ? undefined : this.#reader(file);
    },
    openForWriting: async (path) => {
      this.#look();
      return this.#writer(path);
    },
    rename: async (from, to) => {
      this.#change();
      for (const [path, file] of this.#files)
        if (path === from || path.startsWith(`${from}/`)) {
          this.#files.delete(path);
          this.#files.set(to + path.slice(from.length), file);
        }
      for (const path of this.#directories)
        if (path === from || path.startsWith(`${from}/`)) {
          this.#directories.delete(path);
          this.#directories.add(to + path.slice(from.length));
        }
    },
    touch: async () => {},
    remove: async (path) => {
      const isIn = (name: string): boolean => name === path || name.startsWith(`${path}/`);
      // One after the other, as a file system does; the deepest directory first.
      for (const name of [...this.#files.keys()].filter(isIn).toSorted()) {
        this.#change();
        this.#files.delete(name);
      }
      for (const name of [...this.#directories].filter(isIn).toSorted().toReversed()) {
        this.#change();
        this.#directories.delete(name);
      }
    },
  };

  #stat(path: string): FileStatus | undefined {
    const common = { modifiedAt: new Date(0), mode: 0o600 };
    const file = this.#files.get(path);
    if (file === undefined)
      return this.#directories.has(path)
        ? { kind: "directory", sizeBytes: 0, allocatedBytes: 0, ...common }
        : undefined;
    const size = file.kind === "bytes" ? file.data.length : file.clusters.size;
    return { kind: "file", sizeBytes: size, allocatedBytes: size, ...common };
  }

  #reader(file: FakeFile): ReadableFile {
    const bytes = file.kind === "bytes" ? file.data : headerBytes(file);
    if (file.kind === "qcow2") sent.set(bytes, file);
    return {
      sizeBytes: bytes.length,
      descriptor: -1,
      read: async (offset, length) => bytes.subarray(offset, offset + length),
      async *chunks() {
        yield bytes;
      },
      close: async () => {},
      [Symbol.asyncDispose]: async () => {},
    };
  }

  #writer(path: string): WritableFile {
    return {
      write: async (chunk) => {
        this.#change();
        const file = sent.get(chunk);
        if (file === undefined) this.#files.set(path, { kind: "bytes", data: Buffer.from("overwritten") });
        else this.put(path, { ...file, clusters: new Map(file.clusters) });
      },
      truncate: async () => {
        this.#change();
        this.#files.set(path, { kind: "bytes", data: Buffer.alloc(0) });
      },
      setMode: async () => {},
      sync: async () => {},
      close: async () => {},
      [Symbol.asyncDispose]: async () => {},
    };
  }

  readonly run: RunCommand = async (program, words, { onStdout }) => {
    this.#look();
    const [file = "", ...args] =
      program === "setpriv" ? words.slice(words.indexOf("--") + 1) : [program, ...words];
    this.commands.push([file, ...args].join(" "));
    const [verb] = args;
    const option = (name: string): string | undefined => {
      const at = args.indexOf(name);
      return at < 0 ? undefined : args[at + 1];
    };
    const backing = option("-b") === "" ? undefined : option("-b");
    onStdout?.("    (50.00/100%)\r");
    if (file !== "qemu-img") throw new CommandError("not-found", file, args, {});
    if (verb === "create") await this.#create(args.at(-2) ?? "", Number(args.at(-1)), backing);
    else if (verb === "rebase") await this.#rebase(args.at(-1) ?? "", backing, args.includes("-u"));
    else if (verb === "convert") await this.#convert(args.at(-2) ?? "", args.at(-1) ?? "");
    else if (verb === "resize") await this.#resize(args.at(-2) ?? "", Number(args.at(-1)));
    else throw new CommandError("exit", file, args, { exitCode: 1 });
    return { stdout: "", stderr: "" };
  };

  async #create(path: string, sizeBytes: number, backing: string | undefined): Promise<void> {
    this.#change();
    this.put(path, { sizeBytes, backing, clusters: new Map() });
  }

  async #rebase(path: string, backing: string | undefined, isUnsafe: boolean): Promise<void> {
    const file = this.qcow2(path);
    if (!isUnsafe) {
      const before = this.content(path);
      const below = backing === undefined ? new Map<number, number>() : this.content(backing);
      for (const cluster of new Set([...before.keys(), ...below.keys()])) {
        const value = before.get(cluster) ?? 0;
        if (file.clusters.has(cluster) || value === (below.get(cluster) ?? 0)) continue;
        await Promise.resolve();
        this.#change();
        file.clusters.set(cluster, value);
      }
    }
    this.#change();
    file.backing = backing;
  }

  async #convert(from: string, to: string): Promise<void> {
    this.#change();
    const target: FakeQcow2 = {
      kind: "qcow2",
      sizeBytes: this.qcow2(from).sizeBytes,
      backing: undefined,
      clusters: new Map(),
    };
    this.#files.set(to, target);
    for (const [cluster, value] of this.content(from)) {
      await Promise.resolve();
      this.#change();
      target.clusters.set(cluster, value);
    }
  }

  async #resize(path: string, sizeBytes: number): Promise<void> {
    this.#change();
    this.qcow2(path).sizeBytes = sizeBytes;
  }
}

/** A path in the fake pool. */
export const inPool = (...names: readonly string[]): string => join("/pool", ...names);

import { createAtMost } from "../host/at-most.ts";
import { CommandError, type RunCommand } from "../host/command.ts";
import type { Files } from "../host/files.ts";
import { DiskBusyError } from "./failure.ts";
import type { LayerFile } from "./types.ts";

/**
 * qemu-img with explicit formats everywhere; a format is never guessed.
 * https://qemu.readthedocs.io/en/latest/tools/qemu-img.html
 */
export interface QemuImg {
  /**
   * A new qcow2 file of that size, empty or on another file. It appears under its
   * name when it is whole and durable. The file below is not opened: a guest may have it.
   */
  create(
    path: string,
    want: { readonly sizeBytes: number; readonly backing?: LayerFile | undefined },
    options: { readonly signal: AbortSignal },
  ): Promise<void>;
  /** Copies all that is seen through a file into one that stands on nothing. */
  convert(from: LayerFile, to: string, options: ConvertOptions): Promise<void>;
  /** Puts a qcow2 file on another base without changing what is seen through it. Killed in the middle, it does not matter. */
  rebase(path: string, base: LayerFile | undefined, options: LongOptions): Promise<void>;
  /** Only writes down another base, which must have the same content. */
  relink(path: string, base: LayerFile | undefined, options: { readonly signal: AbortSignal }): Promise<void>;
  /** Makes the disk in a qcow2 file larger. */
  resize(path: string, sizeBytes: number, options: { readonly signal: AbortSignal }): Promise<void>;
  /** Makes what others wrote to a file durable. */
  sync(path: string): Promise<void>;
}

export interface LongOptions {
  readonly signal: AbortSignal;
  readonly onProgress: (percent: number) => void;
}

export interface ConvertOptions extends LongOptions {
  readonly isCompressed: boolean;
}

const SHORT_MS = 60_000;
/** The largest disks on the slowest ones. A copy that is stuck is ended by whoever gives the disk up. */
const LONG_MS = 48 * 3600 * 1000;

/** More would only make each other, and the guests, slower. */
const COPIES_AT_A_TIME = 4;

/** libvirt hands a file to QEMU's user when a guest starts, and takes it back afterwards. */
const OWNER_ONLY = { mode: 0o600 } as const;

/** `qemu-img -p` writes "    (12.50/100%)\r". */
const lastPercent = (text: string): number | undefined => {
  const found = [...text.matchAll(/\((\d{1,3})\.\d{2}\/100%\)/g)].at(-1)?.[1];
  return found === undefined ? undefined : Math.min(100, Number(found));
};

const backingOptions = (base: LayerFile | undefined): readonly string[] =>
  base === undefined ? ["-b", ""] : ["-b", base.path, "-F", base.format];

/** QEMU's own locks keep two processes from one file, whoever they are. */
const whenLocked = (path: string) => (error: unknown) => {
  throw error instanceof CommandError && /Failed to get .* lock/.test(error.stderr)
    ? new DiskBusyError(path, "another process has it open", { cause: error })
    : error;
};

export const createQemuImg = (run: RunCommand, files: Files): QemuImg => {
  const inTurns = createAtMost(COPIES_AT_A_TIME);
  const quickly = async (args: readonly string[], path: string, signal: AbortSignal): Promise<void> => {
    await run("qemu-img", args, { signal, timeoutMs: SHORT_MS }).catch(whenLocked(path));
  };
  /** Ends with the agent, however that ends: nobody would look at what became of it. */
  const slowly = async (args: readonly string[], path: string, options: LongOptions): Promise<void> => {
    const { signal, onProgress } = options;
    const onStdout = (text: string): void => {
      const percent = lastPercent(text);
      if (percent !== undefined) onProgress(percent);
    };
    const command = ["--pdeathsig=KILL", "--", "qemu-img", ...args];
    const copy = () => run("setpriv", command, { signal, timeoutMs: LONG_MS, onStdout });
    await inTurns(copy, { signal }).catch(whenLocked(path));
  };
  const sync = async (path: string): Promise<void> => {
    await using file = await files.openForWriting(path, OWNER_ONLY);
    await file.sync();
  };

  return {
    sync,

    async create(path, { sizeBytes, backing }, { signal }) {
      const temporary = `${path}.new`;
      await files.remove(temporary);
      const base = backing === undefined ? [] : ["-u", ...backingOptions(backing)];
      const args = ["create", "-q", "-f", "qcow2", ...base, temporary, String(sizeBytes)];
      await quickly(args, path, signal);
      await sync(temporary);
      await files.rename(temporary, path);
    },

    async convert(from, to, options) {
      const compressed = options.isCompressed ? ["-c", "-o", "compression_type=zstd"] : [];
      const args = ["convert", "-p", "-f", from.format, "-O", "qcow2", ...compressed, from.path, to];
      await slowly(args, from.path, options);
      await sync(to);
    },

    async rebase(path, base, options) {
      await slowly(["rebase", "-p", "-f", "qcow2", ...backingOptions(base), path], path, options);
      await sync(path);
    },

    async relink(path, base, { signal }) {
      await quickly(["rebase", "-q", "-u", "-f", "qcow2", ...backingOptions(base), path], path, signal);
      await sync(path);
    },

    async resize(path, sizeBytes, { signal }) {
      await quickly(["resize", "-q", "-f", "qcow2", path, String(sizeBytes)], path, signal);
      await sync(path);
    },
  };
};

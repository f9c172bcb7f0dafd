import { join } from "node:path";
import type { Files } from "../host/files.ts";
import { isUid, requireUid } from "../host/paths.ts";

/**
 * What the guests write to their serial ports: consoles/<vm uid>.log. Beside it
 * is <vm uid>.sock, the socket by which one can talk to the port.
 *
 * A guest can write without end, and QEMU appends without bound where libvirt
 * has no virtlogd. QEMU appends with O_APPEND, so that the file can be cut under
 * it: beyond the bound its end moves to <vm uid>.log.0 and the file starts anew.
 * What is written between the copy and the cut is lost, and between two trims a
 * file may be larger than its bound. Where there is a virtlogd it rotates the
 * same names at the same size, before the bound is passed.
 */
export interface ConsoleLogs {
  pathOf(vmUid: string): string;
  /** The unix socket by which the guest's first serial port is talked to; libvirt makes it at each start. */
  socketPathOf(vmUid: string): string;
  /** Makes the directory: libvirt makes the files. */
  prepare(): Promise<void>;
  trim(options: { readonly signal: AbortSignal }): Promise<void>;
  /** What is there of the log, the oldest part first; of that the end, as much as a log and its older part may have. */
  read(vmUid: string, options: { readonly signal: AbortSignal }): Promise<Buffer>;
  remove(vmUid: string): Promise<void>;
}

export interface ConsoleLogsOptions {
  readonly stateDirectory: string;
  readonly files: Files;
  /** Bound of a log in bytes, and of the older part beside it. Default 2 MiB, as virtlogd's. */
  readonly maxBytes?: number;
}

/** virtlogd keeps three unless it is told otherwise, we keep one. */
const OLDER_PARTS = [0, 1, 2] as const;

const DEFAULT_MAX_BYTES = 2 * 1024 * 1024;

/** Undefined for a file that is not ours. */
const vmUidIn = (fileName: string): string | undefined => {
  const [, uid = ""] = /^([^.]*)\.(?:log(?:\.[0-9]+)?|sock)$/.exec(fileName) ?? [];
  return isUid(uid) ? uid : undefined;
};

export const createConsoleLogs = ({
  stateDirectory,
  files,
  maxBytes = DEFAULT_MAX_BYTES,
}: ConsoleLogsOptions): ConsoleLogs => {
  const directory = join(stateDirectory, "consoles");
  const fileOf = (vmUid: string, suffix: string): string => {
    requireUid(vmUid);
    return join(directory, vmUid + suffix);
  };

  const trimLog = async (path: string): Promise<void> => {
    const status = await files.stat(path);
    if (status === undefined || status.kind !== "file" || status.sizeBytes <= maxBytes) return;
    await using log = await files.openForReading(path);
    if (log === undefined) return;
    const start = Math.max(0, log.sizeBytes - maxBytes);
    const end = await log.read(start, log.sizeBytes - start);
    await files.writeAtomically(`${path}.0`, end, { mode: status.mode });
    await using writable = await files.openForWriting(path, { mode: status.mode });
    await writable.truncate(0);
  };

  return {
    pathOf: (vmUid) => fileOf(vmUid, ".log"),
    socketPathOf: (vmUid) => fileOf(vmUid, ".sock"),
    prepare: () => files.ensureDirectory(directory, { mode: 0o711 }),
    trim: async ({ signal }) => {
      for (const name of await files.list(directory)) {
        signal.throwIfAborted();
        if (name.endsWith(".log") && vmUidIn(name) !== undefined) await trimLog(join(directory, name));
      }
    },
    read: async (vmUid, { signal }) => {
      const newest = fileOf(vmUid, ".log");
      let text = Buffer.alloc(0);
      // From the newest back: .log, .log.0, and where virtlogd rotates .log.1, …
      for (const path of [newest, ...OLDER_PARTS.map((part) => `${newest}.${part}`)]) {
        signal.throwIfAborted();
        await using file = await files.openForReading(path);
        if (file === undefined || text.length >= 2 * maxBytes) break;
        const length = Math.min(file.sizeBytes, 2 * maxBytes - text.length);
        text = Buffer.concat([await file.read(file.sizeBytes - length, length), text]);
      }
      return text;
    },
    remove: async (vmUid) => {
      for (const name of await files.list(directory)) {
        if (vmUidIn(name) === vmUid) await files.remove(join(directory, name));
      }
    },
  };
};

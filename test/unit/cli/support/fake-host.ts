import { PassThrough, Writable } from "node:stream";

import type { Host } from "../../../../src/cli/host/index.ts";

/** A machine in memory: what was written and started can be looked at. */
export interface FakeHost extends Host {
  readonly stdin: PassThrough & { isTTY?: boolean; rawModes: boolean[]; setRawMode(raw: boolean): void };
  readonly out: () => string;
  readonly err: () => string;
  readonly written: Map<string, Buffer>;
  /** Programs that were run, with their arguments. */
  readonly ran: (readonly string[])[];
}

export interface FakeHostOptions {
  readonly files?: Readonly<Record<string, string>>;
  /** Programs that are installed, by name. */
  readonly programs?: readonly string[];
  readonly environment?: Readonly<Record<string, string>>;
  /** Whether standard input and output are a terminal. Default false. */
  readonly isTerminal?: boolean;
}

const sink = (isTTY: boolean) => {
  const chunks: Buffer[] = [];
  const stream = new Writable({
    write: (chunk: Buffer, _encoding, callback) => {
      chunks.push(Buffer.from(chunk));
      callback();
    },
  });
  return { stream: Object.assign(stream, { isTTY }), text: () => Buffer.concat(chunks).toString("utf8") };
};

export const createFakeHost = (options: FakeHostOptions = {}): FakeHost => {
  const { files = {}, programs = [], environment = {}, isTerminal = false } = options;
  const out = sink(isTerminal);
  const err = sink(isTerminal);
  const written = new Map<string, Buffer>();
  const ran: (readonly string[])[] = [];
  const rawModes: boolean[] = [];
  const stdin = Object.assign(new PassThrough(), {
    isTTY: isTerminal,
    rawModes,
    setRawMode: (raw: boolean) => void rawModes.push(raw),
  });
  return {
    stdin,
    stdout: out.stream,
    stderr: err.stream,
    environment,
    platform: "linux",
    self: ["/opt/node", "/opt/kubectl-vireo"],
    files: {
      read: async (path) => {
        const text = files[path];
        if (text === undefined) throw new Error(`cannot read ${path}`);
        return text;
      },
      write: async (path, content) => void written.set(path, Buffer.from(content)),
      makeDirectory: async () => {},
      stateDirectory: async () => "/home/me/.local/state/kubectl-vireo",
    },
    programs: {
      find: async (names) => {
        const found = names.find((name) => programs.includes(name));
        return found === undefined ? undefined : `/usr/bin/${found}`;
      },
      run: async (file, args) => {
        ran.push([file, ...args]);
        return 0;
      },
      start: (file, args) => void ran.push([file, ...args]),
    },
    out: out.text,
    err: err.text,
    written,
    ran,
  };
};

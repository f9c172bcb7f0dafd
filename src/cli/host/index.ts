import type { Readable, Writable } from "node:stream";

/** A terminal's keyboard, or whatever is in its place. */
export interface Input extends Readable {
  readonly isTTY?: boolean;
  /** Every key is handed on at once and means nothing here, Ctrl-C included. Only on a terminal. */
  setRawMode?(raw: boolean): unknown;
}

export interface Output extends Writable {
  readonly isTTY?: boolean;
}

export interface RunOptions {
  readonly signal: AbortSignal;
}

/** What the program may do to the machine that it runs on. The one door to files, programs and the terminal. */
export interface Host {
  readonly stdin: Input;
  readonly stdout: Output;
  readonly stderr: Output;
  readonly environment: Readonly<Record<string, string | undefined>>;
  readonly platform: NodeJS.Platform;
  /** Program and arguments by which this very program is started again. */
  readonly self: readonly string[];
  readonly files: Files;
  readonly programs: Programs;
}

export interface Files {
  /** The whole text of a file; "-" is standard input. */
  read(path: string): Promise<string>;
  write(path: string, content: string | Uint8Array): Promise<void>;
  /** Makes a directory that must not exist yet. */
  makeDirectory(path: string): Promise<void>;
  /** A directory of our own for what outlives the program; it is made when it is missing. */
  stateDirectory(): Promise<string>;
}

export interface Programs {
  /** Path of the first of these programs that is installed. */
  find(names: readonly string[]): Promise<string | undefined>;
  /** Runs a program in this terminal to its end; resolves with its exit code. */
  run(file: string, args: readonly string[], options: RunOptions): Promise<number>;
  /** Starts a program and does not wait for it; that it cannot be started is silent. */
  start(file: string, args: readonly string[]): void;
}

export { createHost } from "./host.ts";

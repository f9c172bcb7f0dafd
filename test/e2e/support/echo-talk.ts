import { type ChildProcess, spawn } from "node:child_process";
import { createInterface } from "node:readline";

import { programEnvironment } from "../../testbed/programs.ts";
import { DIES_WITH_PARENT } from "../../testbed/daemon.ts";
import { waitFor } from "../../testbed/wait.ts";

/** Where every guest of the tiny image says back what it hears. */
const ECHO_PORT = 7777;
const PAUSE_MS = 50;

/**
 * One TCP connection to a guest's echo, from some host of the testbed: counts
 * aloud all the time, and checks that every number comes back, in order.
 */
export class EchoTalk implements Disposable {
  readonly #process: ChildProcess;
  readonly #ticking: NodeJS.Timeout;
  readonly #word: string;
  #said = 0;
  #heard = 0;
  #fault: string | undefined;
  #lastHeardAt = Date.now();
  #longestSilenceMs = 0;

  /**
   * @param hostPid a process whose network namespace is the host's
   * @param word goes before each number, in clear
   */
  constructor(hostPid: number, address: string, word = "number") {
    this.#word = word;
    const enter = ["nsenter", "--target", String(hostPid), "--net", "--"];
    const [file, ...args] = [
      ...DIES_WITH_PARENT,
      ...enter,
      "socat",
      "-",
      `TCP:${address}:${ECHO_PORT},nodelay`,
    ];
    this.#process = spawn(file, args, { env: programEnvironment(), stdio: ["pipe", "pipe", "pipe"] });
    const { stdin, stdout, stderr } = this.#process;
    if (stdin === null || stdout === null || stderr === null) throw new Error("there are no pipes");
    stdin.on("error", (error) => this.#fail(error.message));
    stderr.on("data", (chunk: Buffer) => this.#fail(chunk.toString().trim()));
    this.#process.once("exit", () => this.#fail("the connection has ended"));
    createInterface({ input: stdout }).on("line", (line) => this.#hear(line));
    this.#ticking = setInterval(() => {
      this.#said += 1;
      stdin.write(`${word} ${this.#said}\n`);
    }, PAUSE_MS);
  }

  /** The longest time in which nothing came back, in ms. */
  get longestSilenceMs(): number {
    return this.#longestSilenceMs;
  }

  /** Waits until all that has been said by now has come back; throws when the connection has ended, or garbled something. */
  async untilEverythingIsHeard(): Promise<void> {
    const said = this.#said + 1;
    await waitFor(
      `number ${said} from the echo`,
      () => {
        if (this.#heard >= said) return true;
        throw new Error(`heard ${this.#heard}; ${this.#fault ?? "the connection is open"}`);
      },
      { timeoutMs: 60_000 },
    );
    if (this.#fault !== undefined) throw new Error(this.#fault);
  }

  [Symbol.dispose](): void {
    clearInterval(this.#ticking);
    this.#process.kill("SIGKILL");
  }

  #hear(line: string): void {
    const now = Date.now();
    this.#longestSilenceMs = Math.max(this.#longestSilenceMs, now - this.#lastHeardAt);
    this.#lastHeardAt = now;
    this.#heard += 1;
    if (line !== `${this.#word} ${this.#heard}`) this.#fail(`number ${this.#heard} came back as ${line}`);
  }

  #fail(what: string): void {
    this.#fault ??= what;
  }
}

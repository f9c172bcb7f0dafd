import type { ChildProcess } from "node:child_process";
import { open, stat } from "node:fs/promises";

import type { TestNode } from "../../testbed/node.ts";
import { waitFor } from "../../testbed/wait.ts";

const CHUNK_BYTES = 4 * 2 ** 20;

/** All that goes over a node's network card, while this is open. */
export class Capture implements Disposable {
  readonly #process: ChildProcess;
  readonly #file: string;

  private constructor(process: ChildProcess, file: string) {
    this.#process = process;
    this.#file = file;
  }

  /** Resolves when it captures. */
  static async start(node: TestNode, file: string): Promise<Capture> {
    const tcpdump = node.spawn([
      "tcpdump",
      "--immediate-mode",
      "-B",
      "131072",
      "-s",
      "0",
      "-i",
      "eth0",
      "-w",
      file,
    ]);
    let said = "";
    tcpdump.stderr?.on("data", (chunk: Buffer) => {
      said += chunk.toString();
    });
    await waitFor("tcpdump to listen", () => {
      if (said.includes("listening on")) return true;
      throw new Error(said);
    });
    return new Capture(tcpdump, file);
  }

  stop(): void {
    this.#process.kill("SIGKILL");
  }

  [Symbol.dispose](): void {
    this.stop();
  }

  async sizeBytes(): Promise<number> {
    return (await stat(this.#file)).size;
  }

  /** Which of the texts were seen in clear. */
  async findInClear(texts: readonly string[]): Promise<readonly string[]> {
    const found = new Set<string>();
    const overlap = Math.max(...texts.map(({ length }) => length));
    await using file = await open(this.#file);
    let tail = Buffer.alloc(0);
    for await (const chunk of file.createReadStream({
      highWaterMark: CHUNK_BYTES,
    }) as AsyncIterable<Buffer>) {
      const known = Buffer.concat([tail, chunk]);
      for (const text of texts) if (known.includes(text)) found.add(text);
      tail = known.subarray(-overlap);
    }
    return texts.filter((text) => found.has(text));
  }
}

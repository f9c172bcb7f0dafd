import { createVolumes, type Volumes } from "../../../../src/node-agent/volumes/index.ts";
import type { CachedImage } from "../../../../src/node-agent/volumes/types.ts";
import { FakeHost, Killed } from "./fake-host.ts";

export const uidOf = (number: number): string =>
  `00000000-0000-4000-8000-${String(number).padStart(12, "0")}`;
export const signal = new AbortController().signal;
export const options = { signal } as const;

export const image: CachedImage = {
  uid: uidOf(1),
  checksum: `sha256:${"0".repeat(64)}`,
  path: "/cache/image.qcow2",
  format: "qcow2",
  virtualSizeBytes: 2 ** 20,
};

/** A node with a cached image, whose agent can be killed: nothing but what is on its host outlives that. */
export class Node {
  readonly host = new FakeHost("/pool", "/cache");
  volumes: Volumes;

  constructor() {
    this.host.put(image.path, {
      sizeBytes: image.virtualSizeBytes,
      backing: undefined,
      clusters: new Map([
        [0, 100],
        [1, 101],
      ]),
    });
    this.volumes = this.#open();
  }

  #open(): Volumes {
    return createVolumes({
      pools: [{ name: "local", path: "/pool", shared: false, wipe: "None" }],
      run: this.host.run,
      files: this.host.files,
      logger: { info: () => {}, warn: () => {} },
      findImage: async (uid) => (uid === image.uid ? image : undefined),
    });
  }

  /** The agent is killed, if it is not dead yet, and a fresh one starts. */
  async restartAgent(): Promise<void> {
    await this.volumes.close();
    this.host.revive();
    this.volumes = this.#open();
  }

  /** Asks again after each change until the answer is another one than that work goes on in the background. */
  async whileWorking<T extends { readonly kind: string }>(ask: () => Promise<T>): Promise<T> {
    for (;;) {
      const changed = Promise.withResolvers<void>();
      const stop = this.volumes.onChange(() => changed.resolve());
      try {
        const outcome = await ask();
        if (outcome.kind !== "working") return outcome;
        await changed.promise;
      } finally {
        stop();
      }
    }
  }
}

/** What is done on a node whose agent is killed meanwhile, and afterwards by a fresh one. */
export interface Interruption<N extends Node> {
  readonly start: () => Promise<N>;
  readonly work: (node: N) => Promise<unknown>;
  readonly afterwards: (node: N) => Promise<void>;
}

/** The agent is killed at each change that the work makes, one after the other, each time on a new node. Resolves with their number. */
export const killAtEachChange = async <N extends Node>({
  start,
  work,
  afterwards,
}: Interruption<N>): Promise<number> => {
  for (let changes = 0; ; changes += 1) {
    const node = await start();
    node.host.dieAfter(changes);
    await work(node).catch((error: unknown) => {
      if (!(error instanceof Killed)) throw error;
    });
    const isOver = !node.host.isDead;
    await node.restartAgent();
    await afterwards(node);
    if (isOver) return changes;
  }
};

import { readdirSync, readFileSync } from "node:fs";

const SAMPLE_MS = 20;
/** Processes are looked for less often: a new one takes longer than this until its guest does anything. */
const SAMPLES_PER_SEARCH = 5;
/** A virtual CPU that has used less since the last sample has not run, in ns. */
const AT_REST_NS = 500_000;
/**
 * A guest that writes runs in many samples on end. Its virtual CPU is made, is
 * told that it goes on, and ends, in one sample or two, and runs nothing then.
 */
const SAMPLES_OF_A_GUEST = 4;

interface Seen {
  readonly pid: number;
  readonly schedstat: string;
  usedNs: number;
  /** How many samples on end it has run. */
  streak: number;
  /** Numbers of the samples in which its guest was first and last seen to run. */
  beganAt: number | undefined;
  ranAt: number | undefined;
}

const read = (path: string): string => {
  try {
    return readFileSync(path, "utf8");
  } catch {
    return "";
  }
};

const list = (path: string): readonly string[] => {
  try {
    return readdirSync(path);
  } catch {
    return [];
  }
};

/**
 * Watches all the time in how many places a machine's guest runs: by how long
 * the virtual CPUs of all QEMU processes of that machine, on whatever node, have
 * run. One that stands still, or waits for its memory to come, does not count.
 */
export class VcpuWatch {
  readonly #vmUid: string;
  readonly #seen = new Map<number, Seen>();
  readonly #ticking: NodeJS.Timeout;
  #samples = 0;

  constructor(vmUid: string) {
    this.#vmUid = vmUid;
    this.#sample();
    this.#ticking = setInterval(() => this.#sample(), SAMPLE_MS);
  }

  stop(): void {
    clearInterval(this.#ticking);
  }

  /** How many processes have run the guest so far. */
  get places(): number {
    return this.#ran().length;
  }

  /** Pairs of processes that have run the guest at the same time, in words; one sample may see both sides of a handover. */
  overlaps(): readonly string[] {
    const ran = this.#ran();
    return ran.flatMap((one, index) =>
      ran
        .slice(index + 1)
        .filter((other) => one.beganAt < other.ranAt && other.beganAt < one.ranAt)
        .map(
          (other) =>
            `process ${one.pid} ran in samples ${one.beganAt} to ${one.ranAt}, ` +
            `process ${other.pid} in ${other.beganAt} to ${other.ranAt}`,
        ),
    );
  }

  #ran() {
    return [...this.#seen.values()].flatMap(({ pid, beganAt, ranAt }) =>
      beganAt === undefined || ranAt === undefined ? [] : [{ pid, beganAt, ranAt }],
    );
  }

  #sample(): void {
    if (this.#samples % SAMPLES_PER_SEARCH === 0) this.#search();
    this.#samples += 1;
    for (const seen of this.#seen.values()) {
      const [used = ""] = read(seen.schedstat).split(" ");
      if (used === "") continue;
      const since = Number(used) - seen.usedNs;
      seen.usedNs = Number(used);
      seen.streak = since < AT_REST_NS ? 0 : seen.streak + 1;
      if (seen.streak < SAMPLES_OF_A_GUEST) continue;
      seen.beganAt ??= this.#samples - SAMPLES_OF_A_GUEST + 1;
      seen.ranAt = this.#samples;
    }
  }

  #search(): void {
    for (const name of list("/proc")) {
      const pid = Number(name);
      if (!Number.isInteger(pid) || this.#seen.has(pid)) continue;
      if (!read(`/proc/${pid}/comm`).startsWith("qemu-system")) continue;
      if (!read(`/proc/${pid}/cmdline`).includes(`guest=vireo-${this.#vmUid},`)) continue;
      const tasks = `/proc/${pid}/task`;
      const vcpu = list(tasks).find((task) => read(`${tasks}/${task}/comm`).startsWith("CPU 0/"));
      if (vcpu === undefined) continue;
      const schedstat = `${tasks}/${vcpu}/schedstat`;
      this.#seen.set(pid, { pid, schedstat, usedNs: 0, streak: 0, beganAt: undefined, ranAt: undefined });
    }
  }
}

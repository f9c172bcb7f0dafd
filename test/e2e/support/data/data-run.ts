import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { setTimeout as delay } from "node:timers/promises";

import { virtualMachines } from "../../../../src/api/virtual-machine.ts";
import { waitFor } from "../../../testbed/wait.ts";
import { type Guest, guestOf } from "../guest.ts";
import type { Choices } from "../random.ts";
import type { Stage } from "../stage.ts";
import { type Place, ROOT, slotsIn } from "./blocks.ts";
import {
  acknowledgedIn,
  complaintIn,
  createGuestWriter,
  type GuestWriter,
  kernelFailureIn,
} from "./guest-writer.ts";
import { guestProcess, kill } from "./kills.ts";
import {
  MACHINE,
  type Outcome,
  perform,
  removeSnapshots,
  untilSettled,
  untilStartedAgain,
} from "./operations.ts";
import { acknowledge, type Contents, finish, issue, NOTHING_WRITTEN, resolve, restore } from "./oracle.ts";
import { createPlan, type Operation, ROOT_SLOTS, type Step, type World } from "./plan.ts";
import { afterwards } from "./world.ts";

/** A machine whose disks are written, copied, put back and moved at random, and the knowledge of what must be on them. */
export interface DataRun {
  /** So many random steps; then every block of every disk is read. Resolves with their number. */
  sequence(steps: number): Promise<number>;
  /** Reads every block of every disk that the guest has, and throws when one is not as it must be. Resolves with their number. */
  verify(): Promise<number>;
  world(): World;
  guest(): Guest;
  /** How often what was done, and what failed because somebody was killed. */
  tally(): string;
}

export interface DataRunOptions {
  readonly stage: Stage;
  readonly choices: Choices;
  readonly world: World;
  /** UIDs of the volumes, by name. */
  readonly volumeUids: ReadonlyMap<string, string>;
  readonly say: (text: string) => void;
}

/** Emulated, on a busy machine. */
const BOOT_MS = 180_000;
/** About one guest in fifty comes to grief in its kernel when an emulated processor goes on elsewhere. */
const KERNEL_FAILURES_ALLOWED = 1;

interface KnownSnapshot {
  readonly contents: Contents;
  readonly disks: ReadonlySet<string>;
  /** Whose memory it has; undefined when it has none, or when nobody can tell of which boot it is. */
  readonly bootId: string | undefined;
}

interface Done {
  readonly operation: Operation;
  /** Of the object that it made. */
  readonly name: string;
  readonly succeeded: boolean;
  readonly guestKilled: boolean;
  /** What could be on the disks when it was begun. */
  readonly begun: Contents;
}

class Run implements DataRun {
  readonly #options: DataRunOptions;
  readonly #plan: ReturnType<typeof createPlan>;
  readonly #snapshots = new Map<string, KnownSnapshot>();
  readonly #tally = new Map<string, number>();
  #world: World;
  #contents = NOTHING_WRITTEN;
  #guest: Guest;
  #writer: GuestWriter;
  #bootId = "";
  #sequence = 0;
  #steps = 0;
  #kernelFailures = 0;

  constructor(options: DataRunOptions, guest: Guest) {
    this.#options = options;
    this.#plan = createPlan(options.choices);
    this.#world = options.world;
    this.#guest = guest;
    this.#writer = this.#writerIn(guest);
  }

  world(): World {
    return this.#world;
  }

  guest(): Guest {
    return this.#guest;
  }

  tally(): string {
    return [...this.#tally].map(([what, count]) => `${count} x ${what}`).join(", ");
  }

  async begin(): Promise<void> {
    await this.#writer.install();
    await this.#meetGuest();
    await this.verify();
  }

  async sequence(steps: number): Promise<number> {
    for (let index = 0; index < steps; index += 1) await this.#step(this.#plan.next(this.#world));
    return this.verify();
  }

  async verify(): Promise<number> {
    const places = this.#disks().flatMap(({ disk, slots }) =>
      Array.from({ length: slots }, (_, slot): Place => ({ disk, slot })),
    );
    this.#contents = resolve(this.#contents, await this.#writer.read(places));
    const complaint = complaintIn(await this.#console());
    if (complaint !== undefined) throw new Error(`the guest says: ${complaint}`);
    return places.length;
  }

  #disks(): readonly { readonly disk: string; readonly slots: number }[] {
    const attached = this.#world.volumes.filter((volume) => volume.attached);
    const volumes = attached.map(({ name, sizeMiB }) => ({ disk: name, slots: slotsIn(sizeMiB) }));
    return [{ disk: ROOT, slots: ROOT_SLOTS }, ...volumes];
  }

  #writerIn(guest: Guest): GuestWriter {
    const { volumeUids } = this.#options;
    return createGuestWriter(guest, (disk) => (disk === ROOT ? guest.vmUid : (volumeUids.get(disk) ?? "")));
  }

  #count(what: string): void {
    this.#tally.set(what, (this.#tally.get(what) ?? 0) + 1);
  }

  async #step({ operation, writes, kill: death }: Step): Promise<void> {
    const { stage, say } = this.#options;
    this.#steps += 1;
    const name = `${operation.kind.toLowerCase()}-${this.#steps}`;
    say(
      `${name} ${JSON.stringify(operation)}${death ? `, ${death.victim} killed after ${death.afterMs} ms` : ""}`,
    );
    const issued = writes.map((write) => ({ ...write, sequence: (this.#sequence += 1) }));
    await this.#writer.start(issued);
    this.#contents = issue(this.#contents, issued);
    const attached = this.#world.volumes.filter((volume) => volume.attached).map((volume) => volume.name);
    const begun = this.#contents;
    const [outcome, killed] = await Promise.all([
      perform(stage, operation, name, attached),
      death === undefined ? false : this.#killLater(death, operation),
    ]);
    this.#judge(operation, outcome, killed);
    const guestKilled = killed && death?.victim === "guest";
    if (guestKilled) this.#contents = acknowledge(this.#contents, acknowledgedIn(await this.#console()));
    await this.#settle({ operation, name, succeeded: outcome.succeeded, guestKilled, begun });
  }

  async #killLater({ victim, afterMs }: NonNullable<Step["kill"]>, { kind }: Operation): Promise<boolean> {
    await delay(afterMs);
    const scene = { nodeName: this.#world.nodeName, vmUid: this.#guest.vmUid };
    const killed = await kill(this.#options.stage, victim, scene);
    if (killed) this.#count(`${victim} killed during ${kind}`);
    return killed;
  }

  /** What nobody disturbs succeeds. */
  #judge(operation: Operation, { succeeded, said }: Outcome, killed: boolean): void {
    this.#count(operation.kind);
    if (succeeded) return;
    if (!killed) throw new Error(`${JSON.stringify(operation)} failed, and nobody was killed: ${said}`);
    this.#count(`${operation.kind} that failed with a kill`);
    this.#options.say(`it failed: ${said}`);
  }

  async #settle(done: Done): Promise<void> {
    const { operation, guestKilled } = done;
    const previousBoot = this.#bootId;
    const back = await this.#apply(done);
    if (guestKilled) await this.#untilOn();
    await untilSettled(this.#options.stage, this.#world.volumes);
    const kernelFailed = await this.#meetGuest(operation.kind === "migrate");
    const isRestore = operation.kind === "restore";
    const mayHaveBooted = guestKilled || kernelFailed || (isRestore && back?.bootId === undefined);
    if (!mayHaveBooted && this.#bootId !== (back?.bootId ?? previousBoot))
      throw new Error(`the guest was started anew by ${JSON.stringify(operation)}`);
    await this.#writer.untilIdle();
    // Whoever was not cut off has written everything.
    if (!mayHaveBooted) this.#contents = finish(this.#contents);
    if (operation.kind === "migrate") await this.#expectOneProcess();
    if (["attach", "grow", "restore"].includes(operation.kind)) await this.#untilSizes();
    if (mayHaveBooted || isRestore || operation.kind === "migrate") await this.verify();
    // A snapshot of the disks alone shows one moment, and by now it is known which.
    if (isRestore && back !== undefined && back.bootId === undefined)
      this.#snapshots.set(operation.snapshot, { ...back, contents: this.#contents });
  }

  /** What the operation has changed. Resolves with the snapshot that the disks were put back to, if they were. */
  async #apply({ operation, name, succeeded, begun, guestKilled }: Done): Promise<KnownSnapshot | undefined> {
    if (!succeeded) {
      if (operation.kind === "snapshot") await removeSnapshots(this.#options.stage, name);
      return undefined;
    }
    if (operation.kind === "snapshot") {
      const attached = this.#world.volumes.filter((volume) => volume.attached);
      const disks = new Set([ROOT, ...attached.map((volume) => volume.name)]);
      const bootId = operation.memory && !guestKilled ? this.#bootId : undefined;
      this.#snapshots.set(name, { contents: begun, disks, bootId });
    }
    this.#world = afterwards(this.#world, operation, name);
    const back = operation.kind === "restore" ? this.#snapshots.get(operation.snapshot) : undefined;
    if (back !== undefined) this.#contents = restore(this.#contents, back.contents, back.disks);
    return back;
  }

  async #untilSizes(): Promise<void> {
    for (const { name, sizeMiB, attached } of this.#world.volumes) {
      if (attached) await this.#writer.untilSize(name, sizeMiB);
    }
  }

  /** Waits until the guest answers, wherever it is now. True when its kernel had failed on the way, and it was started anew. */
  async #meetGuest(hasMoved = false): Promise<boolean> {
    const { stage } = this.#options;
    const { nodeName } = this.#world;
    // A controller that was killed when the guest had moved says so later, and only its own node reaches the guest.
    await stage.until(virtualMachines, MACHINE, (machine) => machine.status?.nodeName === nodeName);
    this.#guest = await guestOf(stage, MACHINE);
    this.#writer = this.#writerIn(this.#guest);
    this.#world = {
      ...this.#world,
      volumes: this.#world.volumes.map((volume) => (volume.attached ? { ...volume, nodeName } : volume)),
    };
    const { bootId } = await this.#answer(hasMoved);
    if (bootId === undefined) {
      this.#contents = acknowledge(this.#contents, acknowledgedIn(await this.#console()));
      await this.#guest.crash();
      await this.#untilOn();
      await this.#meetGuest();
      return true;
    }
    if (bootId !== this.#bootId) {
      // By this memory comes and goes while the guest runs.
      await this.#guest.run(
        "modprobe virtio_mem; echo online >/sys/devices/system/memory/auto_online_blocks",
      );
    }
    this.#bootId = bootId;
    return false;
  }

  /** The boot that answers; none when the kernel of a guest that was moved has failed. */
  #answer(hasMoved: boolean): Promise<{ readonly bootId: string | undefined }> {
    return waitFor(
      "the guest to answer",
      async () => {
        try {
          return { bootId: (await this.#guest.run("cat /proc/sys/kernel/random/boot_id")).trim() };
        } catch (error) {
          const failure = hasMoved ? kernelFailureIn(await this.#guest.console()) : undefined;
          if (failure === undefined || this.#kernelFailures >= KERNEL_FAILURES_ALLOWED) throw error;
          this.#kernelFailures += 1;
          this.#count("kernel failure of a guest that was moved");
          this.#options.say(`the emulated guest's kernel has failed: ${failure}`);
          return { bootId: undefined };
        }
      },
      { timeoutMs: BOOT_MS, intervalMs: 200 },
    );
  }

  /** What the guest has said on each node that it has been on. */
  async #console(): Promise<string> {
    const logs = this.#options.stage.testbed.nodes.map((node) =>
      readFile(join(node.stateDirectory, "consoles", `${this.#guest.vmUid}.log`), "utf8").catch(() => ""),
    );
    return (await Promise.all(logs)).join("\n");
  }

  #untilOn(): Promise<void> {
    const { stage } = this.#options;
    const isOn = (): boolean =>
      stage.testbed.nodes.some((node) => guestProcess(node, this.#guest.vmUid) !== undefined);
    return untilStartedAgain(stage, isOn);
  }

  async #expectOneProcess(): Promise<void> {
    const { nodes } = this.#options.stage.testbed;
    await waitFor("the guest to run in one place", () => {
      const places = nodes.filter((node) => guestProcess(node, this.#guest.vmUid) !== undefined);
      const names = places.map(({ name }) => name).join(", ");
      if (names !== this.#world.nodeName) throw new Error(`it runs on: ${names}`);
      return true;
    });
  }
}

/** Meets the guest of the machine, which has booted, and finds its disks empty. */
export const startDataRun = async (options: DataRunOptions): Promise<DataRun> => {
  const run = new Run(options, await guestOf(options.stage, MACHINE));
  await run.begin();
  return run;
};

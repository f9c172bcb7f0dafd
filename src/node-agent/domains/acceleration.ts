import { join } from "node:path";
import type { Acceleration } from "../../api/hypervisor.ts";
import { CommandError, type RunCommand } from "../host/command.ts";
import type { Files } from "../host/files.ts";
import { bootSector, EXIT_CODE, EXIT_PORT } from "./probe-guest.ts";

/**
 * Finds out whether guests run on the hardware, by running one.
 *
 * There are machines on which /dev/kvm exists and opens, and guests hang, or
 * run slower than emulated ones. So one guest is booted twice at the same time,
 * with KVM and emulated: when the first to answer is the one with KVM, that is
 * acceleration. How busy the node is does not matter, since it is for both.
 */

export interface ProbeOptions {
  readonly run: RunCommand;
  readonly files: Files;
  /** The guests' disks, of one sector, are written here. */
  readonly stateDirectory: string;
  /** QEMU's program. Default: qemu-system-x86_64 on the PATH. */
  readonly emulator?: string;
  /** How long a guest may take to answer, in ms. Default 10,000; emulated ones take about 2,000. */
  readonly timeoutMs?: number;
  readonly signal: AbortSignal;
}

const DEFAULT_TIMEOUT_MS = 10_000;
/** A QEMU that is stuck in the kernel cannot be killed; it is not waited for longer than this. */
const KILL_GRACE_MS = 2_000;

/** The CPU that has most of what guests are given: a host that cannot provide it fails here. */
const cpus = { kvm: "host", tcg: "max" } satisfies Record<Acceleration, string>;

/** https://www.qemu.org/docs/master/system/invocation.html */
const argumentsFor = (acceleration: Acceleration, disk: string): readonly string[] => {
  const settings = {
    machine: "pc",
    accel: acceleration,
    cpu: cpus[acceleration],
    m: "16",
    display: "none",
    device: `isa-debug-exit,iobase=${EXIT_PORT},iosize=1`,
    // A comma in a value is doubled.
    drive: `file=${disk.replaceAll(",", ",,")},format=raw,if=ide`,
  };
  const words = Object.entries(settings).flatMap(([name, value]) => [`-${name}`, value]);
  return ["-nodefaults", "-no-user-config", "-no-reboot", ...words];
};

/** Resolves with false after `ms`. */
const giveUpAfter = (ms: number): { readonly given: Promise<false>; readonly cancel: () => void } => {
  const { promise, resolve } = Promise.withResolvers<false>();
  const timer = setTimeout(() => resolve(false), ms);
  return { given: promise, cancel: () => clearTimeout(timer) };
};

/** A guest that is ready to boot; disposing of it removes its disk. */
interface ProbeGuest extends AsyncDisposable {
  /** Whether the guest answers in time; false too when aborted. */
  boot(signal: AbortSignal): Promise<boolean>;
}

const prepareGuest = async (acceleration: Acceleration, options: ProbeOptions): Promise<ProbeGuest> => {
  const { run, files, stateDirectory, emulator = "qemu-system-x86_64" } = options;
  const timeoutMs = options.timeoutMs ?? DEFAULT_TIMEOUT_MS;
  const disk = join(stateDirectory, `probe-${acceleration}.img`);
  await files.writeAtomically(disk, bootSector(), { mode: 0o600 });
  return {
    boot: async (signal) => {
      const patience = giveUpAfter(timeoutMs + KILL_GRACE_MS);
      const answer = run(emulator, argumentsFor(acceleration, disk), { signal, timeoutMs }).then(
        () => false,
        (error: unknown) => error instanceof CommandError && error.exitCode === EXIT_CODE,
      );
      try {
        return await Promise.race([answer, patience.given]);
      } finally {
        patience.cancel();
      }
    },
    [Symbol.asyncDispose]: () => files.remove(disk),
  };
};

/** Whether a guest with that accelerator answers in time. */
export const guestAnswers = async (acceleration: Acceleration, options: ProbeOptions): Promise<boolean> => {
  await using guest = await prepareGuest(acceleration, options);
  return await guest.boot(options.signal);
};

/**
 * "kvm" when a guest with KVM has answered, and sooner than an emulated one;
 * else "tcg". Rejects when aborted, and when the state directory cannot be written.
 */
export const probeAcceleration = async (options: ProbeOptions): Promise<Acceleration> => {
  await using guestWithKvm = await prepareGuest("kvm", options);
  await using emulatedGuest = await prepareGuest("tcg", options);
  const decided = new AbortController();
  const signal = AbortSignal.any([options.signal, decided.signal]);
  const withKvm = guestWithKvm.boot(signal);
  const emulated = emulatedGuest.boot(signal);
  // An emulated guest that does not answer says nothing about KVM.
  const overtaken = emulated.then((answered) => (answered ? false : withKvm));
  const accelerated = await Promise.race([withKvm, overtaken]);
  decided.abort();
  await Promise.all([withKvm, emulated]);
  options.signal.throwIfAborted();
  return accelerated ? "kvm" : "tcg";
};

import { join } from "node:path";
import type { Acceleration } from "../../api/hypervisor.ts";
import { CommandError, type RunCommand } from "../host/command.ts";
import type { Files } from "../host/files.ts";

/**
 * Finds out whether guests can run on the hardware, by running one.
 *
 * There are machines on which /dev/kvm exists and opens, and guests hang. So a
 * guest of 512 bytes is booted with `-accel kvm`: its boot sector writes one
 * byte to QEMU's isa-debug-exit device, which ends QEMU with an exit code that
 * nothing else gives. Any other end, or none in time, means emulation.
 */

export interface ProbeOptions {
  readonly run: RunCommand;
  readonly files: Files;
  /** The boot sector is written here. */
  readonly stateDirectory: string;
  /** QEMU's program. Default: qemu-system-x86_64 on the PATH. */
  readonly emulator?: string;
  /** How long the guest may take to answer, in ms. Default 10,000: ten times what an emulated one needs. */
  readonly timeoutMs?: number;
  readonly signal: AbortSignal;
}

const DEFAULT_TIMEOUT_MS = 10_000;
/** A QEMU that is stuck in the kernel cannot be killed; it is not waited for longer than this. */
const KILL_GRACE_MS = 2_000;
const EXIT_PORT = 0xf4;
const ANSWER = 0x2a;
/** isa-debug-exit ends QEMU with (value << 1) | 1. https://www.qemu.org/docs/master/system/i386/pc.html */
const EXIT_CODE = (ANSWER << 1) | 1;

/** The first sector of a disk, as a BIOS loads and runs it. */
const bootSector = (): Uint8Array => {
  const sector = new Uint8Array(512);
  sector.set([
    0xb0,
    ANSWER, // mov al, ANSWER
    0xba,
    EXIT_PORT,
    0x00, // mov dx, EXIT_PORT
    0xee, // out dx, al
    0xf4, // hlt
    0xeb,
    0xfd, // jmp to hlt
  ]);
  sector.set([0x55, 0xaa], 510);
  return sector;
};

const argumentsFor = (accelerator: Acceleration, disk: string): readonly string[] => {
  const settings = {
    machine: "pc",
    accel: accelerator,
    m: "16",
    display: "none",
    device: `isa-debug-exit,iobase=${EXIT_PORT},iosize=1`,
    // A comma in a value is doubled.
    drive: `file=${disk.replaceAll(",", ",,")},format=raw,if=ide`,
  };
  const words = Object.entries(settings).flatMap(([name, value]) => [`-${name}`, value]);
  return ["-nodefaults", "-no-user-config", "-no-reboot", ...words];
};

/** Resolves after `ms` with false; for the one case in which a killed program does not end. */
const giveUpAfter = (ms: number): { readonly given: Promise<false>; readonly cancel: () => void } => {
  const { promise, resolve } = Promise.withResolvers<false>();
  const timer = setTimeout(() => resolve(false), ms);
  return { given: promise, cancel: () => clearTimeout(timer) };
};

/** Whether a guest with that accelerator boots and answers in time. Rejects only when aborted. */
export const guestAnswers = async (accelerator: Acceleration, options: ProbeOptions): Promise<boolean> => {
  const { run, files, stateDirectory, emulator = "qemu-system-x86_64", signal } = options;
  const timeoutMs = options.timeoutMs ?? DEFAULT_TIMEOUT_MS;
  const disk = join(stateDirectory, `probe-${accelerator}.img`);
  await files.writeAtomically(disk, bootSector(), { mode: 0o600 });
  const patience = giveUpAfter(timeoutMs + KILL_GRACE_MS);
  const answer = run(emulator, argumentsFor(accelerator, disk), { signal, timeoutMs }).then(
    () => false,
    (error: unknown) => error instanceof CommandError && error.exitCode === EXIT_CODE,
  );
  try {
    const answered = await Promise.race([answer, patience.given]);
    signal.throwIfAborted();
    return answered;
  } finally {
    patience.cancel();
    await files.remove(disk);
  }
};

/** "kvm" when a guest has run on the hardware just now, else "tcg". Rejects only when aborted. */
export const probeAcceleration = async (options: ProbeOptions): Promise<Acceleration> =>
  (await guestAnswers("kvm", options)) ? "kvm" : "tcg";

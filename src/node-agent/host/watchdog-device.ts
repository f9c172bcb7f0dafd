import { closeSync, constants, openSync, writeSync } from "node:fs";
import { readFile, realpath } from "node:fs/promises";
import { basename, join } from "node:path";

/**
 * A watchdog timer of the host: once it is opened it resets the host unless it
 * is kept alive. https://docs.kernel.org/watchdog/watchdog-api.html
 *
 * Node has no ioctl; what has to be known is in sysfs:
 * https://docs.kernel.org/admin-guide/abi-testing.html (sysfs-class-watchdog)
 */
export interface WatchdogDevice {
  /** Seconds from the last sign of life to the reset. */
  readonly timeoutSeconds: number;
  /** Nothing ends the timer once it runs, `disarm` included (nowayout). */
  readonly cannotBeDisarmed: boolean;
  /** Begins, or takes over, and is a sign of life. Throws when somebody else has it open (EBUSY). */
  arm(): void;
  /** A sign of life. At once: no thread that waits for a disk can delay it. */
  keepAlive(): void;
  /** Ends the timer. Closing without that, as death does, lets it run out. */
  disarm(): void;
}

/** The device cannot do what is asked of it; the message says what to do. */
export class UnfitWatchdogError extends Error {
  override readonly name = "UnfitWatchdogError";
}

const SYSFS = "/sys/class/watchdog";
/** WDIOF_MAGICCLOSE of linux/watchdog.h: closing alone does not end the timer. */
const MAGIC_CLOSE = 0x0100;
const ALIVE = "k";
const DISARM = "V";

/** The old device node is another name of the first device. */
const sysfsName = (device: string): string => (device === "watchdog" ? "watchdog0" : device);

const readNumber = async (directory: string, name: string): Promise<number | undefined> => {
  try {
    const value = Number((await readFile(join(directory, name), "utf8")).trim());
    return Number.isInteger(value) ? value : undefined;
  } catch {
    return undefined;
  }
};

/**
 * Looks at the device, and does not open it: that would begin its time. Rejects
 * with UnfitWatchdogError when it would not outlive this process.
 *
 * @param sysfs for tests
 */
export const findWatchdog = async (path: string, sysfs = SYSFS): Promise<WatchdogDevice> => {
  const name = sysfsName(basename(await realpath(path)));
  const directory = join(sysfs, name);
  const timeoutSeconds = await readNumber(directory, "timeout");
  if (timeoutSeconds === undefined || timeoutSeconds < 1)
    throw new UnfitWatchdogError(
      `--watchdog-device ${path}: ${join(directory, "timeout")} does not tell its timeout; the kernel needs CONFIG_WATCHDOG_SYSFS`,
    );
  const cannotBeDisarmed = (await readNumber(directory, "nowayout")) === 1;
  const options = (await readNumber(directory, "options")) ?? 0;
  if (!cannotBeDisarmed && (options & MAGIC_CLOSE) === 0)
    throw new UnfitWatchdogError(
      `--watchdog-device ${path}: ${join(directory, "options")} does not tell that it goes on when the agent dies (magic close; the file is there from Linux 6.4 on). Load its driver with nowayout=1, or take another one`,
    );
  let descriptor: number | undefined;
  const write = (what: string): void => {
    if (descriptor === undefined) throw new Error(`watchdog ${path} is not armed`);
    writeSync(descriptor, what);
  };
  return {
    timeoutSeconds,
    cannotBeDisarmed,
    arm: () => {
      descriptor ??= openSync(path, constants.O_WRONLY);
    },
    keepAlive: () => write(ALIVE),
    disarm: () => {
      write(DISARM);
      if (descriptor !== undefined) closeSync(descriptor);
      descriptor = undefined;
    },
  };
};

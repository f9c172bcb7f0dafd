import { gunzipSync } from "node:zlib";

import { diskSerial } from "../../../../src/node-agent/domains/index.ts";
import { waitFor } from "../../../testbed/wait.ts";
import type { Guest } from "../guest.ts";
import { BLOCK_BYTES, offsetOf, type Place, sequenceIn, type Write } from "./blocks.ts";
import { GUEST_SCRIPT, SCRIPT_PATH, WRITING_PATH } from "./guest-script.ts";
import { keyOf, type Reading } from "./oracle.ts";

/** The program in the guest that writes and reads blocks; disks are named, and `uidOf` knows their UIDs. */
export interface GuestWriter {
  /** Puts the program on the root disk, where snapshots and moves take it along. */
  install(): Promise<void>;
  /** Has it write these; resolves when it has begun. */
  start(writes: readonly Write[]): Promise<void>;
  /** Waits until it writes nothing any more. */
  untilIdle(): Promise<void>;
  /** Reads places from the disks, not from the guest's memory. Throws when a byte is wrong. */
  read(places: readonly Place[]): Promise<Reading>;
  /** Waits until a disk is so large. */
  untilSize(disk: string, sizeMiB: number): Promise<void>;
}

const blockOf = (place: Place): number => offsetOf(place) / BLOCK_BYTES;
const quoted = (text: string): string => `'${text.replaceAll("'", String.raw`'\''`)}'`;

export const createGuestWriter = (guest: Guest, uidOf: (disk: string) => string): GuestWriter => {
  const serialOf = (disk: string): string => diskSerial(uidOf(disk));
  return {
    install: async () => {
      await guest.run(`printf %s ${quoted(GUEST_SCRIPT)} >${SCRIPT_PATH}; sync`);
    },
    start: async (writes) => {
      const [first] = writes;
      if (first === undefined) return;
      const words = writes.map(
        (write) => `${write.disk}/${write.slot}/${serialOf(write.disk)}/${blockOf(write)}`,
      );
      await guest.run(
        `mkdir ${WRITING_PATH} || exit 1; ` +
          `setsid sh ${SCRIPT_PATH} write ${first.sequence} ${words.join(" ")} </dev/null >/dev/null 2>&1 &`,
      );
    },
    untilIdle: async () => {
      await waitFor("the writer to end", async () => {
        await guest.run(`while [ -e ${WRITING_PATH} ]; do usleep 20000; done`);
        return true;
      });
    },
    read: async (places) => {
      const words = places.map((place) => `${serialOf(place.disk)}/${blockOf(place)}`);
      const text = await guest.run(`sh ${SCRIPT_PATH} read ${words.join(" ")}`);
      const bytes = gunzipSync(Buffer.from(text, "base64"));
      return new Map(
        places.map((place, index) => [
          keyOf(place),
          sequenceIn(bytes.subarray(index * BLOCK_BYTES, (index + 1) * BLOCK_BYTES), place),
        ]),
      );
    },
    untilSize: async (disk, sizeMiB) => {
      const sectors = (sizeMiB * 2 ** 20) / 512;
      await waitFor(`${disk} of ${sizeMiB} MiB in the guest`, async () => {
        const seen = (await guest.run(`sh ${SCRIPT_PATH} size ${serialOf(disk)}`)).trim();
        if (seen !== String(sectors)) throw new Error(`${seen} sectors instead of ${sectors}`);
        return true;
      });
    },
  };
};

/** The largest number up to which a console says that all is on the disks. */
export const acknowledgedIn = (console: string): number =>
  Math.max(0, ...[...console.matchAll(/data-written (\d+)\./g)].map(([, number]) => Number(number)));

/** Does a console say that a write has failed, or that the guest's kernel has? */
export const complaintIn = (console: string): string | undefined =>
  /data-failed \d+\.|(?:I\/O|EXT4-fs) error.*/.exec(console)?.[0];

/** What a guest's kernel says that emulation has confused while it was moved. */
export const kernelFailureIn = (console: string): string | undefined =>
  /Kernel panic.*|BUG: .*|Oops: .*|general protection fault.*|list_(?:add|del) corruption.*|Bad page state.*|rcu: INFO: .*stall.*/.exec(
    console,
  )?.[0];

import { diskSerial } from "../../../src/node-agent/domains/index.ts";
import { waitFor } from "../../testbed/wait.ts";
import type { Guest } from "./guest.ts";

/** A disk of a running guest, as the guest sees it; found by its serial number, whatever the kernel calls it. */
export interface GuestDisk {
  /** Waits until the guest has it and resolves with its name, such as vdb. */
  untilThere(): Promise<string>;
  /** Waits until the guest has it no longer. */
  untilGone(): Promise<void>;
  /** Its size as the guest's kernel says it. */
  sizeMiB(): Promise<number>;
  /** Writes so many random MiB at an offset, makes them durable, and resolves with their SHA-256. */
  write(sizeMiB: number, offsetMiB?: number): Promise<string>;
  /** SHA-256 of so many MiB at an offset, read from the disk and not from the guest's memory. */
  read(sizeMiB: number, offsetMiB?: number): Promise<string>;
}

const MiB = 2 ** 20;
const SECTOR = 512;

export const guestDisk = (guest: Guest, uid: string): GuestDisk => {
  const serial = diskSerial(uid);
  /** virtio has it in /sys; SCSI in a page of vital product data. */
  const find = async (): Promise<string | undefined> => {
    const script = `for disk in /sys/block/*; do case "$(cat $disk/serial $disk/device/vpd_pg80 2>/dev/null | tr -d '\\000')" in *${serial}*) basename $disk;; esac; done`;
    return (await guest.run(script)).trim() || undefined;
  };
  const untilThere = (): Promise<string> =>
    waitFor(`disk ${serial} in the guest`, async () => {
      const name = await find();
      if (name === undefined) throw new Error(await guest.run("ls /sys/block"));
      return name;
    });
  const digest = async (command: string): Promise<string> => (await guest.run(command)).trim().slice(0, 64);
  return {
    untilThere,
    untilGone: async () => {
      await waitFor(`disk ${serial} to leave the guest`, async () => (await find()) === undefined);
    },
    sizeMiB: async () => {
      const name = await untilThere();
      return (Number(await guest.run(`cat /sys/block/${name}/size`)) * SECTOR) / MiB;
    },
    write: async (sizeMiB, offsetMiB = 0) => {
      const device = `/dev/${await untilThere()}`;
      return digest(
        `dd if=/dev/urandom of=/tmp/data bs=1M count=${sizeMiB} 2>/dev/null; ` +
          `dd if=/tmp/data of=${device} bs=1M seek=${offsetMiB} conv=fsync 2>/dev/null; ` +
          "sha256sum </tmp/data; rm /tmp/data",
      );
    },
    read: async (sizeMiB, offsetMiB = 0) => {
      const device = `/dev/${await untilThere()}`;
      return digest(
        "echo 3 >/proc/sys/vm/drop_caches; " +
          `dd if=${device} bs=1M skip=${offsetMiB} count=${sizeMiB} 2>/dev/null | sha256sum`,
      );
    },
  };
};

import { randomUUID } from "node:crypto";
import { once } from "node:events";
import { mkdir, writeFile } from "node:fs/promises";
import { connect } from "node:net";
import { join } from "node:path";

import { afterAll, beforeAll, describe, expect, test } from "@jest/globals";

import {
  diskSerial,
  type Domain,
  type DomainCdrom,
  type DomainDisk,
  GuestOffError,
  type ObservedHardware,
  pendingChanges,
} from "../../../src/node-agent/domains/index.ts";
import { run } from "../../testbed/programs.ts";
import { waitFor } from "../../testbed/wait.ts";
import type { GuestShell } from "./guest-shell.ts";
import { type RealHost, startReal } from "./hosts.ts";

const signal = new AbortController().signal;
/** An emulated guest on a busy machine takes its time. */
const PATIENCE_MS = 180_000;
const GUEST_PATIENCE_MS = 30_000;

describe("a running guest", () => {
  let host: RealHost;
  let want: Domain;
  let shell: GuestShell;

  const hardware = async (): Promise<ObservedHardware> => {
    const seen = await host.domains.observe(want.vmUid, { signal });
    if (seen?.hardware === undefined) throw new Error(`the guest is not on: ${JSON.stringify(seen)}`);
    return seen.hardware;
  };
  const newVolume = async (bus: DomainDisk["bus"], sizeMiB = 16): Promise<DomainDisk> => {
    const uid = randomUUID();
    const path = await host.createDisk(`${uid}.qcow2`, { sizeMiB });
    return { uid, name: `data-${uid.slice(0, 4)}`, bus, layers: [{ path, format: "qcow2" }] };
  };
  const newCdrom = async (text: string): Promise<DomainCdrom> => {
    const uid = randomUUID();
    const content = join(host.stateDirectory, `${uid}.content`);
    await mkdir(content);
    await writeFile(join(content, "hello.txt"), text);
    const path = join(host.stateDirectory, `${uid}.iso`);
    await run("genisoimage", ["-quiet", "-R", "-o", path, content]);
    return { uid, name: "installer", path };
  };
  const guestSees = (what: string, command: string, expected: string | RegExp): Promise<unknown> =>
    waitFor(
      `the guest sees ${what}`,
      async () => {
        const seen = await shell.run(`${command} || true`);
        if (typeof expected === "string" ? seen === expected : expected.test(seen)) return true;
        throw new Error(JSON.stringify(seen));
      },
      { timeoutMs: GUEST_PATIENCE_MS, intervalMs: 100 },
    );
  const whenGone = (uid: string): Promise<unknown> =>
    waitFor(
      `the guest has let go of ${uid}`,
      async () => !(await hardware()).disks.some((disk) => disk.uid === uid),
      { timeoutMs: GUEST_PATIENCE_MS },
    );

  beforeAll(async () => {
    host = await startReal();
    await host.libvirt.whenConnected({ signal });
    want = await host.prepare(randomUUID(), {
      vcpus: 1,
      maxVcpus: 3,
      memoryMiB: 192,
      maxMemoryMiB: 448,
      tpm: true,
      graphics: ["VNC", "SPICE"],
    });
    await host.domains.start(want, { signal });
    await host.whenBooted(want.vmUid);
    shell = await host.openShell(want.vmUid);
  }, PATIENCE_MS);
  afterAll(async () => {
    await shell[Symbol.asyncDispose]();
    await host.domains.remove(want.vmUid, { signal });
    await host.stop();
  }, PATIENCE_MS);

  test("is seen as it was described, and needs no restart", async () => {
    const seen = await hardware();
    expect(seen).toMatchObject({
      disks: [
        {
          kind: "disk",
          uid: want.vmUid,
          bus: "VirtIO",
          target: "vda",
          layers: want.rootDisk.layers.map(({ path }) => path),
        },
      ],
      interfaces: want.interfaces.map(({ tap, macAddress }) => ({ tap, macAddress })),
      vcpus: { current: 1, maximum: 3 },
      memory: { initialMiB: 192, currentMiB: 192, requestedMiB: 192, maximumMiB: 448, blockMiB: 2 },
    });
    expect(pendingChanges(seen, want)).toEqual([]);
    expect(
      pendingChanges(seen, { ...want, cpu: { model: "max" }, memoryMiB: 128 }).map(({ path }) => path),
    ).toEqual(["memory", "cpu.model"]);
    expect(await shell.run("cat /sys/block/vda/serial")).toBe(diskSerial(want.vmUid));
  });

  test("has a TPM 2.0", async () => {
    expect(await shell.run("ls /sys/firmware/acpi/tables/TPM2")).toBe("/sys/firmware/acpi/tables/TPM2");
  });

  test.each([
    ["VirtIO", "for d in /sys/block/vd*; do cat $d/serial; echo; done"],
    ["SCSI", "cat /sys/block/sd*/device/vpd_pg80 2>/dev/null | tr -dc '0-9a-f\\n'"],
  ] as const)(
    "gets a disk on %s, once, and lets go of it",
    async (bus, serials) => {
      const volume = await newVolume(bus);
      for (let i = 0; i < 2; i += 1) {
        expect(await host.live.attachDisk(want.vmUid, volume, { signal })).toBe("attached");
      }
      await shell.run("modprobe sd_mod");
      await guestSees("the disk", serials, new RegExp(diskSerial(volume.uid)));
      expect((await hardware()).disks).toContainEqual(
        expect.objectContaining({ uid: volume.uid, bus, layers: volume.layers.map(({ path }) => path) }),
      );
      expect(await host.live.detach(want.vmUid, { kind: "disk", uid: volume.uid }, { signal })).toBe("asked");
      await whenGone(volume.uid);
      expect(await host.live.detach(want.vmUid, { kind: "disk", uid: volume.uid }, { signal })).toBe("gone");
      expect(await shell.run(serials)).not.toContain(diskSerial(volume.uid));
    },
    PATIENCE_MS,
  );

  test(
    "gets a CD-ROM, reads it, and lets go of it",
    async () => {
      const cdrom = await newCdrom("hello from the installer");
      for (let i = 0; i < 2; i += 1) {
        expect(await host.live.attachCdrom(want.vmUid, cdrom, { signal })).toBe("attached");
      }
      await guestSees("the drive", "ls /dev/sr1", "/dev/sr1");
      expect(await shell.run("mount -o ro /dev/sr1 /mnt && cat /mnt/hello.txt && umount /mnt")).toBe(
        "hello from the installer",
      );
      expect(await host.live.detach(want.vmUid, { kind: "cdrom", uid: cdrom.uid }, { signal })).toBe("asked");
      await whenGone(cdrom.uid);
      await guestSees("that the drive has gone", "ls /dev/sr*", "/dev/sr0");
    },
    PATIENCE_MS,
  );

  test(
    "that does not listen keeps a disk until it does, and shows it",
    async () => {
      const volume = await newVolume("VirtIO");
      await host.live.attachDisk(want.vmUid, volume, { signal });
      await guestSees("the disk", "cat /sys/block/vd*/serial", new RegExp(diskSerial(volume.uid)));
      await host.live.suspend(want.vmUid, { signal });
      for (let i = 0; i < 2; i += 1) {
        expect(await host.live.detach(want.vmUid, { kind: "disk", uid: volume.uid }, { signal })).toBe(
          "asked",
        );
        expect((await hardware()).disks.map(({ uid }) => uid)).toContain(volume.uid);
      }
      await host.live.resume(want.vmUid, { signal });
      await whenGone(volume.uid);
    },
    PATIENCE_MS,
  );

  test(
    "says when it has no room for one more disk, and has it again later",
    async () => {
      const volumes: DomainDisk[] = [];
      const outcomes: string[] = [];
      for (let i = 0; i < 17; i += 1) {
        const volume = await newVolume("VirtIO", 1);
        volumes.push(volume);
        outcomes.push(await host.live.attachDisk(want.vmUid, volume, { signal }));
      }
      expect(outcomes).toEqual([...Array.from({ length: 16 }, () => "attached"), "no-free-slot"]);
      await guestSees("all of them", "ls -d /sys/block/vd* | wc -l", "17");
      for (const { uid } of volumes) await host.live.detach(want.vmUid, { kind: "disk", uid }, { signal });
      for (const { uid } of volumes) await whenGone(uid);
      const [, last = await newVolume("VirtIO")] = volumes;
      expect(await host.live.attachDisk(want.vmUid, last, { signal })).toBe("attached");
      await guestSees("it again", "ls -d /sys/block/vd* | wc -l", "2");
      await host.live.detach(want.vmUid, { kind: "disk", uid: last.uid }, { signal });
      await whenGone(last.uid);
    },
    PATIENCE_MS,
  );

  test(
    "sees a disk that grows, and none that shrinks",
    async () => {
      const volume = await newVolume("VirtIO", 16);
      await host.live.attachDisk(want.vmUid, volume, { signal });
      const grow = (sizeMiB: number) =>
        host.live.resizeDisk(want.vmUid, { uid: volume.uid, sizeMiB }, { signal });
      const size = "cat /sys/block/vdb/size";
      await guestSees("its size", size, String(16 * 2048));
      for (let i = 0; i < 2; i += 1) await grow(40);
      await guestSees("that it has grown", size, String(40 * 2048));
      await grow(8);
      expect(await shell.run(size)).toBe(String(40 * 2048));
      for (let i = 0; i < 2; i += 1) await host.live.announceSizes(want.vmUid, { signal });
      expect(await shell.run(size)).toBe(String(40 * 2048));
      await host.live.detach(want.vmUid, { kind: "disk", uid: volume.uid }, { signal });
      await whenGone(volume.uid);
    },
    PATIENCE_MS,
  );

  test(
    "gets vCPUs, as many as it has room for, and keeps them",
    async () => {
      expect(await host.live.setVcpus(want.vmUid, 2, { signal })).toBe(2);
      expect(await host.live.setVcpus(want.vmUid, 2, { signal })).toBe(2);
      await guestSees("the vCPU", "ls -d /sys/devices/system/cpu/cpu1", "/sys/devices/system/cpu/cpu1");
      await shell.run(
        "grep -q 1 /sys/devices/system/cpu/cpu1/online || echo 1 >/sys/devices/system/cpu/cpu1/online",
      );
      expect(await shell.run("grep -c ^processor /proc/cpuinfo")).toBe("2");
      expect(await host.live.setVcpus(want.vmUid, 1, { signal })).toBe(2);
      expect(await host.live.setVcpus(want.vmUid, 9, { signal })).toBe(3);
      expect((await hardware()).vcpus).toEqual({ current: 3, maximum: 3 });
      expect(pendingChanges(await hardware(), want)).toEqual([{ path: "vcpus", current: "3", desired: "1" }]);
    },
    PATIENCE_MS,
  );

  test(
    "takes memory and gives it back, within its limits",
    async () => {
      await shell.run("echo online >/sys/devices/system/memory/auto_online_blocks; modprobe virtio_mem");
      const total = async () => Number(await shell.run("awk '/^MemTotal/ { print $2 }' /proc/meminfo"));
      const before = await total();
      const currentMiB = (least: number, most = least) =>
        waitFor(
          `the guest has ${least} to ${most} MiB`,
          async () => {
            const { memory } = await hardware();
            if (memory.currentMiB >= least && memory.currentMiB <= most) return true;
            throw new Error(JSON.stringify(memory));
          },
          { timeoutMs: GUEST_PATIENCE_MS },
        );
      for (let i = 0; i < 2; i += 1) expect(await host.live.setMemory(want.vmUid, 385, { signal })).toBe(384);
      await currentMiB(384);
      expect((await total()) - before).toBeGreaterThan(150 * 1024);
      expect(await host.live.setMemory(want.vmUid, 9999, { signal })).toBe(448);
      await currentMiB(448);
      expect(await host.live.setMemory(want.vmUid, 64, { signal })).toBe(192);
      // A kernel cannot always move everything out of a block.
      await currentMiB(192, 224);
      expect((await total()) - before).toBeLessThan(33 * 1024);
      expect((await hardware()).memory.requestedMiB).toBe(192);
    },
    PATIENCE_MS,
  );

  test("is paused and goes on, however often it is told", async () => {
    for (let i = 0; i < 2; i += 1) await host.live.suspend(want.vmUid, { signal });
    expect(await host.domains.observe(want.vmUid, { signal })).toMatchObject({ powerState: "Paused" });
    for (let i = 0; i < 2; i += 1) await host.live.resume(want.vmUid, { signal });
    expect(await host.domains.observe(want.vmUid, { signal })).toMatchObject({ powerState: "Running" });
    expect(await shell.run("echo awake")).toBe("awake");
  });

  test("shows its screen as a PNG, and on sockets that speak VNC and SPICE", async () => {
    const picture = await host.live.screenshot(want.vmUid, { signal });
    expect(Buffer.from(picture.subarray(0, 8)).toString("latin1")).toBe("\u0089PNG\r\n\u001a\n");
    const sockets = await host.live.sockets(want.vmUid, { signal });
    expect(sockets.console).toBe(join(host.stateDirectory, "consoles", `${want.vmUid}.sock`));
    const seenFromHere = (path: string | undefined) =>
      String(path).replace("/var/lib/libvirt", join(host.node.directory, "lib-libvirt"));
    const screen = connect(seenFromHere(sockets.vnc));
    const [banner] = (await once(screen, "data")) as [Buffer];
    screen.destroy();
    expect(banner.toString()).toMatch(/^RFB 003\.00\d\n$/);
    const viewer = connect(seenFromHere(sockets.spice));
    // RED_MAGIC, version 2.2, a link message of the main channel with no capabilities: https://www.spice-space.org/spice-protocol.html
    viewer.write(Buffer.from("52454451020000000200000012000000000000000100000000000000000012000000", "hex"));
    const [reply] = (await once(viewer, "data")) as [Buffer];
    viewer.destroy();
    expect(reply.subarray(0, 4).toString()).toBe("REDQ");
  });

  test("is asked for nothing when it is off", async () => {
    const vmUid = randomUUID();
    await expect(host.live.suspend(vmUid, { signal })).rejects.toThrow(GuestOffError);
    await expect(host.live.screenshot(vmUid, { signal })).rejects.toThrow(GuestOffError);
    const volume = await newVolume("VirtIO");
    await expect(host.live.attachDisk(vmUid, volume, { signal })).rejects.toThrow(GuestOffError);
  });
});

import { randomUUID } from "node:crypto";
import { mkdir, readdir, readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";

import { afterAll, afterEach, beforeAll, describe, expect, test } from "@jest/globals";

import {
  type Domain,
  type DomainCdrom,
  type DomainDisk,
  DomainRefusedError,
} from "../../../src/node-agent/domains/index.ts";
import { run } from "../../testbed/programs.ts";
import { waitFor } from "../../testbed/wait.ts";
import { type RealHost, startReal } from "./hosts.ts";

const signal = new AbortController().signal;
/** An emulated guest on a busy machine takes its time. */
const PATIENCE_MS = 180_000;

const FROM_THE_DISC = "hello from the disc";
/**
 * 16-bit code that writes the text behind it to the first serial port, byte by
 * byte, and halts: call, pop si, add si, push cs, pop ds, mov dx 0x3f8; lodsb,
 * test al, jz, out dx, jmp; hlt, jmp.
 */
const BOOT_CODE = Buffer.from("e800005e83c6140e1fbaf803ac84c07403eeebf8f4ebfd", "hex");

describe("a guest", () => {
  let host: RealHost;
  const uids: string[] = [];

  const machine = (changes: Partial<Domain> = {}): Promise<Domain> => {
    const vmUid = randomUUID();
    uids.push(vmUid);
    return host.prepare(vmUid, changes);
  };
  const newDisk = async (
    bus: DomainDisk["bus"],
    content: Parameters<RealHost["createDisk"]>[1] = { sizeMiB: 1 },
  ): Promise<DomainDisk> => {
    const uid = randomUUID();
    const path = await host.createDisk(`${uid}.qcow2`, content);
    return { uid, name: uid, bus, layers: [{ path, format: "qcow2" }] };
  };
  const bootableDisc = async (): Promise<DomainCdrom> => {
    const uid = randomUUID();
    const content = join(host.stateDirectory, `${uid}.content`);
    await mkdir(content);
    const code = Buffer.concat([BOOT_CODE, Buffer.from(`${FROM_THE_DISC}\n`), Buffer.alloc(2048)]);
    await writeFile(join(content, "boot.img"), code.subarray(0, 2048));
    const path = join(host.stateDirectory, `${uid}.iso`);
    const boot = ["-b", "boot.img", "-no-emul-boot", "-boot-load-size", "4"];
    await run("genisoimage", ["-quiet", "-o", path, ...boot, content]);
    return { uid, name: "installer", path };
  };
  const says = (vmUid: string, text: string): Promise<unknown> =>
    waitFor(
      `guest ${vmUid} says ${text}`,
      async () =>
        (await readFile(join(host.stateDirectory, "consoles", `${vmUid}.log`), "utf8")).includes(text),
      { timeoutMs: 60_000 },
    );

  beforeAll(async () => {
    host = await startReal();
    await host.libvirt.whenConnected({ signal });
  }, PATIENCE_MS);
  afterAll(() => host.stop(), PATIENCE_MS);
  afterEach(async () => {
    for (const vmUid of uids.splice(0)) await host.domains.remove(vmUid, { signal });
  }, PATIENCE_MS);

  test(
    "boots with UEFI and has a TPM, whose state goes with its definition",
    async () => {
      const want = await machine({ firmware: "UEFI", tpm: true, memoryMiB: 256 });
      await host.domains.start(want, { signal });
      await host.whenBooted(want.vmUid);
      await using shell = await host.openShell(want.vmUid);
      await shell.run("test -d /sys/firmware/efi && test -e /sys/firmware/acpi/tables/TPM2");
      const states = () => readdir(join(host.node.directory, "lib-libvirt/swtpm"));
      expect(await states()).toEqual([want.vmUid]);
      await host.domains.destroy(want.vmUid, { signal });
      expect(await states()).toEqual([want.vmUid]);
      await host.domains.remove(want.vmUid, { signal });
      expect(await states()).toEqual([]);
    },
    PATIENCE_MS,
  );

  test(
    "boots from the disk that comes first, with the processor that is asked for",
    async () => {
      const system = await machine();
      const blank = await newDisk("VirtIO");
      const want = {
        ...system,
        rootDisk: { layers: blank.layers },
        volumes: [{ ...blank, uid: randomUUID(), bus: "SCSI", layers: system.rootDisk.layers, bootOrder: 1 }],
        vcpus: 2,
        maxVcpus: 4,
        cpu: { model: "EPYC", topology: { sockets: 1, cores: 2, threads: 2 } },
      } as const;
      await host.domains.start(want, { signal });
      await host.whenBooted(want.vmUid);
      await using shell = await host.openShell(want.vmUid);
      expect(await shell.run("grep -m1 '^model name' /proc/cpuinfo")).toMatch(/AMD EPYC Processor/);
      expect(await shell.run("cat /sys/devices/system/cpu/possible")).toBe("0-3");
      expect(await shell.run("mount | grep ' / '")).toMatch(/^\/dev\/sda1 /m);
    },
    PATIENCE_MS,
  );

  test(
    "boots from a CD-ROM before its disk when that is asked for, and after it when nothing is",
    async () => {
      const disc = await bootableDisc();
      const first = await machine({ cdroms: [{ ...disc, bootOrder: 1 }] });
      await host.domains.start(first, { signal });
      await says(first.vmUid, FROM_THE_DISC);
      await host.domains.destroy(first.vmUid, { signal });
      const blank = await machine({ rootDisk: { layers: (await newDisk("VirtIO")).layers }, cdroms: [disc] });
      await host.domains.start(blank, { signal });
      await says(blank.vmUid, FROM_THE_DISC);
      await host.domains.destroy(blank.vmUid, { signal });
      const last = await machine({ cdroms: [disc] });
      await host.domains.start(last, { signal });
      await host.whenBooted(last.vmUid);
      expect((await host.domains.readConsoleLog(last.vmUid, { signal })).toString()).not.toContain(
        FROM_THE_DISC,
      );
    },
    PATIENCE_MS,
  );

  test(
    "has as many disks and discs as a machine may have",
    async () => {
      const volumes: DomainDisk[] = [];
      for (let i = 0; i < 16; i += 1) volumes.push(await newDisk(i < 15 ? "VirtIO" : "SCSI"));
      const disc = await bootableDisc();
      const cdroms = Array.from({ length: 4 }, () => ({ ...disc, uid: randomUUID() }));
      const want = await machine({ volumes, cdroms, graphics: ["VNC", "SPICE"], maxMemoryMiB: 192 });
      await host.domains.start(want, { signal });
      const seen = await host.domains.observe(want.vmUid, { signal });
      expect(seen?.hardware?.disks).toHaveLength(1 + 16 + 4);
      const more = await newDisk("VirtIO");
      expect(await host.live.attachDisk(want.vmUid, more, { signal })).toBe("attached");
      const scsi = await newDisk("SCSI");
      expect(await host.live.attachDisk(want.vmUid, scsi, { signal })).toBe("attached");
    },
    PATIENCE_MS,
  );

  test.each<[string, Partial<Domain>, RegExp]>([
    [
      "CPUs that cannot be laid out so",
      { cpu: { topology: { sockets: 3, cores: 1, threads: 1 } } },
      /makes 3 virtual CPUs/,
    ],
    ["a CPU that nobody knows", { cpu: { model: "Pentium-9" } }, /Pentium-9/],
  ])("with %s is refused, with the reason", async (_what, changes, message) => {
    const starting = host.domains.start(await machine(changes), { signal });
    await expect(starting).rejects.toThrow(DomainRefusedError);
    await expect(starting).rejects.toThrow(message);
  });
});

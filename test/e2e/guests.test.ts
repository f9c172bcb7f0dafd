import { join } from "node:path";

import { afterAll, beforeAll, describe, expect, test } from "@jest/globals";
import { z } from "zod";

import { type AllocatedInterface, virtualMachines } from "../../src/api/virtual-machine.ts";
import { makeSshKey, ssh } from "../testbed/ssh.ts";
import { waitFor } from "../testbed/wait.ts";
import { type Guest, guestOf } from "./support/guest.ts";
import { expectLeftovers } from "./support/leftovers.ts";
import { manifests } from "./support/manifests.ts";
import { conditionOf, isReady, startStage, type Stage } from "./support/stage.ts";

/**
 * Guests as people have them: a distribution that cloud-init sets up, and one
 * that boots with UEFI. Debian takes a minute on a quiet machine, so it is
 * started first, boots once, and comes up while UEFI is tried.
 */
const DEBIAN = join(import.meta.dirname, "../../examples/debian.yaml");
const BOOT_MS = 240_000;
const DEBIAN_BOOT_MS = 600_000;
const NO_BOOT_MS = 90_000;
const GIB = 1024 ** 3;

let stage: Stage;
let debianKeyFile: string;

const leftovers = (): Promise<readonly string[]> => stage.testbed.leftovers("node-1");

const untilPlaced = async (name: string, privateKeyFile = stage.privateKeyFile): Promise<Guest> => {
  await stage.untilStatus(name, "Running");
  return guestOf(stage, name, privateKeyFile);
};

beforeAll(async () => {
  stage = await startStage({ nodes: 1, images: ["tiny", "debian"] });
  debianKeyFile = join(stage.testbed.directory, "debian-key");
  await stage.applyBasics();
  await stage.apply(
    // What the example takes from quickstart.yaml, with values that nobody has by default.
    manifests.keyPair("me", { publicKey: await makeSshKey(debianKeyFile) }),
    manifests.network("default", { cidr: "10.45.0.0/24", mtu: 1400, dnsServers: ["9.9.9.9", "1.1.1.1"] }),
  );
  await stage.testbed.kubectl(["apply", "-f", DEBIAN]);
  // Without `make prepare` the images are built here.
}, 480_000);

afterAll(() => stage.stop(), 60_000);

describe("a machine with firmware UEFI", () => {
  /** A name of our own, and the GUID that every variable has. */
  const VARIABLE = "/sys/firmware/efi/efivars/VireoTest-5b1f3c1e-7d0a-4b0e-9c53-0f2d6f3b8a11";
  const MOUNT = "mount -t efivarfs efivarfs /sys/firmware/efi/efivars";

  const nvramFiles = async (): Promise<readonly string[]> =>
    (await leftovers()).filter((line) => line.startsWith("file nvram/"));

  let guest: Guest;

  test(
    "boots with it, and has variables of its own",
    async () => {
      // GRUB for UEFI needs more memory than the tiny guest does.
      await stage.apply(
        manifests.flavor("firmware", { memory: "256Mi" }),
        manifests.machine("uefi", { firmware: "UEFI", flavor: "firmware" }),
      );
      guest = await untilPlaced("uefi");
      await guest.untilBooted();
      expect(await guest.run("cat /sys/firmware/efi/fw_platform_size")).toBe("64\n");
      expect(await nvramFiles()).toEqual([`file nvram/vireo-${guest.vmUid}_VARS.fd`]);
    },
    BOOT_MS,
  );

  test(
    "finds what it wrote to its variables when it is started again",
    async () => {
      // Four bytes of attributes: kept without power, for boot loaders and systems alike.
      await guest.run(String.raw`${MOUNT} && printf '\007\000\000\000kept' >${VARIABLE}`);
      await stage.patchMachine("uefi", { runStrategy: "Halted" });
      await stage.untilStatus("uefi", "Stopped");
      expect(await nvramFiles()).toHaveLength(1);
      await stage.patchMachine("uefi", { runStrategy: "Always" });
      await guest.untilBooted(2);
      expect(await guest.run(`${MOUNT} && tail -c +5 ${VARIABLE}`)).toBe("kept");
    },
    BOOT_MS,
  );

  test(
    "takes its variables with it when it is deleted",
    async () => {
      await stage.deleteMachines("uefi");
      expect(await nvramFiles()).toEqual([]);
    },
    NO_BOOT_MS,
  );
});

describe("examples/debian.yaml, set up by cloud-init", () => {
  let guest: Guest;
  let link: AllocatedInterface;

  /** As the image's own user, with the key of the KeyPair. */
  const run = (command: string, timeoutMs = 60_000): Promise<string> =>
    ssh(guest.node, {
      address: guest.address,
      privateKeyFile: debianKeyFile,
      user: "debian",
      command,
      timeoutMs,
    });

  const untilSshWorks = async (): Promise<void> => {
    await waitFor("ssh to Debian", () => run("true").then(() => true), {
      timeoutMs: DEBIAN_BOOT_MS,
      intervalMs: 1_000,
    });
  };

  /** cloud-init's own account of all that it did. */
  const cloudInitResult = z.object({ v1: z.object({ datasource: z.string(), errors: z.array(z.string()) }) });

  /** What ip(8) says of network cards. */
  const cardList = z.array(
    z.object({
      address: z.string(),
      mtu: z.int(),
      addr_info: z.array(z.object({ scope: z.string(), local: z.string(), prefixlen: z.int() })),
    }),
  );

  test(
    "cloud-init reads the seed and ends without an error",
    async () => {
      guest = await untilPlaced("web", debianKeyFile);
      const { status } = await stage.machine("web");
      const [first] = status?.allocation?.interfaces ?? [];
      if (first === undefined) throw new Error("the machine has no interface");
      link = first;
      await untilSshWorks();
      expect(await run("cloud-init status --wait", DEBIAN_BOOT_MS)).toMatch(/status: done/);
      const { v1 } = cloudInitResult.parse(JSON.parse(await run("cat /run/cloud-init/result.json")));
      expect(v1).toEqual({ datasource: expect.stringContaining("NoCloud"), errors: [] });
      expect(await run("sudo grep -h -E 'WARNING|ERROR' /var/log/cloud-init.log || true")).toBe("");
    },
    DEBIAN_BOOT_MS,
  );

  test(
    "its files and commands are there, and its user, who may become root",
    async () => {
      expect(await run("cat /var/www/index.html; id -un; sudo id -un")).toBe("It works.\ndebian\nroot\n");
      const request = String.raw`exec 3<>/dev/tcp/${guest.address}/80; printf 'GET / HTTP/1.0\r\n\r\n' >&3; cat <&3`;
      const page = await waitFor("the page of its web server", () =>
        guest.node.run(["bash", "-c", request], { timeoutMs: 10_000 }),
      );
      expect(page).toMatch(/^HTTP\/1.0 200 [^]*\r\n\r\nIt works.\n$/);
    },
    NO_BOOT_MS,
  );

  test(
    "name, address, route, MTU and name servers are those that the machine was given",
    async () => {
      expect(await run("hostname")).toBe("web\n");
      const cards = cardList.parse(JSON.parse(await run("ip -json address show")));
      const card = cards.find(({ address }) => address === link.macAddress);
      expect(card?.mtu).toBe(1400);
      expect(card?.addr_info.filter(({ scope }) => scope === "global")).toEqual([
        { scope: "global", local: link.address, prefixlen: link.prefixLength },
      ]);
      expect(await run("ip route show default")).toContain(`default via ${link.gateway} `);
      expect(await run("resolvectl dns")).toContain(": 9.9.9.9 1.1.1.1\n");
    },
    NO_BOOT_MS,
  );

  test(
    "it has the flavor's processors and disk, all of it in the root file system",
    async () => {
      const [processors, disk, fileSystem] = (
        await run(
          "nproc; lsblk --nodeps --noheadings --bytes --output SIZE /dev/vda; df --output=size -B1 / | tail -n 1",
        )
      )
        .split("\n")
        .map(Number);
      expect({ processors, disk }).toEqual({ processors: 2, disk: 4 * GIB });
      // The rest is the file system's own book-keeping.
      expect(fileSystem).toBeGreaterThan(3.8 * GIB);
    },
    NO_BOOT_MS,
  );

  test(
    "it was booted by a BIOS, and its guest agent answers",
    async () => {
      expect(await run("test -e /sys/firmware/efi || echo BIOS")).toBe("BIOS\n");
      const answer = await waitFor("the guest agent", () =>
        guest.node.virsh(["qemu-agent-command", `vireo-${guest.vmUid}`, '{"execute":"guest-get-host-name"}']),
      );
      expect(JSON.parse(answer)).toEqual({ return: { "host-name": "web" } });
    },
    NO_BOOT_MS,
  );

  test(
    "a program that its guest agent runs says whether it is ready",
    async () => {
      const exec = (...command: string[]) => ({
        readinessProbe: { exec: { command }, periodSeconds: 2, timeoutSeconds: 10 },
      });
      await stage.patchMachine("web", exec("/bin/sh", "-c", "exit 3"));
      await stage.until(
        virtualMachines,
        "web",
        (machine) => conditionOf(machine, "Ready")?.message.includes("exit code 3") === true,
      );
      await stage.patchMachine("web", exec("/usr/bin/test", "-d", "/run/systemd/system"));
      const ready = await stage.until(virtualMachines, "web", isReady);
      expect(conditionOf(ready, "Ready")?.reason).toBe("Running");
    },
    NO_BOOT_MS,
  );

  test(
    "the power button ends its services and then itself, well before its power would be cut",
    async () => {
      await stage.patchMachine("web", { runStrategy: "Halted" });
      const stopping = await stage.untilStatus("web", "Stopping");
      const stopped = await stage.untilStatus("web", "Stopped");
      const asked = Date.parse(stopping.status?.guest?.shutdownRequestedAt ?? "");
      const ended = Date.parse(stopped.status?.guest?.lastExit?.at ?? "");
      expect(ended - asked).toBeLessThan(stopped.spec.terminationGracePeriodSeconds * 1000);
      expect(await guest.console()).toMatch(/reboot: Power down\s*$/);
      await stage.deleteMachines("web");
      await expectLeftovers(stage.testbed, "node-1");
    },
    BOOT_MS,
  );
});

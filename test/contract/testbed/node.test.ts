import { chmod, copyFile, readFile, rm, writeFile } from "node:fs/promises";
import { networkInterfaces } from "node:os";
import { join } from "node:path";

import { afterAll, beforeAll, describe, expect, test } from "@jest/globals";

import { ensureGuestImage } from "../../testbed/guest-images/index.ts";
import { startNode, type TestNode } from "../../testbed/node.ts";
import { readProcess } from "../../testbed/process-table.ts";
import { run } from "../../testbed/programs.ts";
import { makeTemporaryDirectory } from "../../testbed/temporary-directory.ts";
import { startUnderlay, type Underlay } from "../../testbed/underlay.ts";
import { waitFor } from "../../testbed/wait.ts";

/** Below the node's private /var/lib/vireo, so that both nodes may use the same paths. */
const DISK = "/var/lib/vireo/guest.qcow2";
const SEED = "/var/lib/vireo/seed.iso";
const CONSOLE = "/var/lib/vireo/console.log";

const domainXml = `<domain type='qemu'>
  <name>by-hand</name>
  <memory unit='MiB'>128</memory>
  <vcpu>1</vcpu>
  <os><type arch='x86_64' machine='q35'>hvm</type></os>
  <features><acpi/></features>
  <on_poweroff>destroy</on_poweroff>
  <devices>
    <disk type='file' device='disk'>
      <driver name='qemu' type='qcow2'/><source file='${DISK}'/><target dev='vda' bus='virtio'/>
    </disk>
    <controller type='scsi' model='virtio-scsi'/>
    <disk type='file' device='cdrom'>
      <driver name='qemu' type='raw'/><source file='${SEED}'/><target dev='sda' bus='scsi'/><readonly/>
    </disk>
    <serial type='pty'><log file='${CONSOLE}'/><target port='0'/></serial>
    <rng model='virtio'><backend model='random'>/dev/urandom</backend></rng>
  </devices>
</domain>`;

let directory: string;
let underlay: Underlay;
let first: TestNode;
let second: TestNode;

beforeAll(async () => {
  directory = await makeTemporaryDirectory("node-test");
  underlay = await startUnderlay({ directory, lifetime: "owner" });
  const common = { underlay, lifetime: "owner" } as const;
  first = await startNode({ name: "first", number: 1, directory: join(directory, "first"), ...common });
  second = await startNode({ name: "second", number: 2, directory: join(directory, "second"), ...common });
}, 120_000);

afterAll(async () => {
  await first?.stop();
  await second?.stop();
  await underlay?.stop();
  await rm(directory, { recursive: true, force: true });
});

const hostUuid = async (node: TestNode): Promise<string | undefined> =>
  /<uuid>(.*)<\/uuid>/.exec(await node.virsh(["capabilities"]))?.[1];

const prepareGuest = async (node: TestNode): Promise<void> => {
  const image = await ensureGuestImage("tiny");
  // QEMU's user may not look into root's home, where the cache is.
  const disk = join(node.stateDirectory, "guest.qcow2");
  await copyFile(image.path, disk);
  await chmod(disk, 0o644);
  const metaData = join(node.stateDirectory, "meta-data");
  await writeFile(metaData, "instance-id: one\nlocal-hostname: by-hand\n");
  await run("genisoimage", [
    "-quiet",
    "-output",
    join(node.stateDirectory, "seed.iso"),
    "-volid",
    "cidata",
    "-joliet",
    "-rock",
    metaData,
  ]);
};

const consoleLine = (node: TestNode): Promise<string> =>
  waitFor(
    "the guest's console says that it is ready",
    async () => {
      const log = await readFile(join(node.stateDirectory, "console.log"), "utf8");
      const line = log.split("\n").findLast((text) => text.includes("vireo-guest ready"));
      if (line === undefined) throw new Error(`the console ends with ${JSON.stringify(log.slice(-300))}`);
      return line;
    },
    { timeoutMs: 120_000, intervalMs: 200 },
  );

describe("a node of the testbed", () => {
  test("has a host name, an address and a libvirtd of its own", async () => {
    expect((await first.run(["hostname"])).trim()).toBe("first");
    expect(await first.run(["ip", "-4", "-o", "address", "show", "eth0"])).toContain(`${first.address}/24`);
    expect(await hostUuid(first)).not.toBe(await hostUuid(second));
  });

  test("reaches the other node and the machine", async () => {
    for (const address of [second.address, underlay.hostAddress]) {
      expect(await first.run(["ping", "-c", "1", "-W", "5", address])).toContain("1 received");
    }
  });

  test("has no /dev/kvm, and the devices that guests need", async () => {
    const devices = (await first.run(["find", "/dev", "-type", "c", "-printf", "%P "])).split(" ");
    expect(devices).toEqual(expect.arrayContaining(["null", "urandom", "net/tun", "pts/ptmx"]));
    expect(devices).not.toContain("kvm");
  });

  test("starts its libvirtd again after kill -9", async () => {
    await first.killLibvirtd("SIGKILL");
    await expect(first.virsh(["uri"])).rejects.toThrow(/connect/i);
    await first.startLibvirtd();
    expect(await first.virsh(["list", "--all", "--name"])).toBe("\n");
  });

  test("has a libvirtd that keeps silent while it is frozen, and can be killed then", async () => {
    await first.freezeLibvirtd();
    const answer = first.virsh(["uri"]);
    expect(await Promise.race([answer, first.run(["sleep", "1"])])).toBe("");
    await first.thawLibvirtd();
    expect(await answer).toContain("qemu");
    await first.freezeLibvirtd();
    await first.killLibvirtd("SIGKILL");
    await first.startLibvirtd();
  });

  test("reaps what its programs leave behind", async () => {
    await first.run(["sh", "-c", "setsid --fork true"]);
    const processes = await waitFor("no zombie in the node", async () => {
      const text = await first.run(["ps", "-A", "-o", "stat=,args="]);
      if (/^Z/m.test(text)) throw new Error(text);
      return text;
    });
    expect(processes).toContain("node-init.sh");
  });

  test("gives its daemons signals, and finds them by name", async () => {
    const daemon = await first.startDaemon({ name: "sleeper", argv: ["sleep", "1000"] });
    expect(first.findDaemon("sleeper")?.pid).toBe(daemon.pid);
    await daemon.kill("SIGTERM");
    expect(first.findDaemon("sleeper")).toBeUndefined();
  });

  test("boots a tiny guest that outlives libvirtd, and ends it when the power goes off", async () => {
    await prepareGuest(first);
    await writeFile(join(first.stateDirectory, "domain.xml"), domainXml);
    await first.virsh(["define", join(first.stateDirectory, "domain.xml")]);
    await first.virsh(["start", "by-hand"]);
    await first.killLibvirtd("SIGKILL");
    expect(await consoleLine(first)).toMatch(/hostname=by-hand addresses=none uptime=\d+/);
    await first.startLibvirtd();
    expect(await first.virsh(["list", "--name"])).toContain("by-hand");

    await first.powerOff();
    expect(() => first.pid).toThrow("powered off");
    await first.powerOn();
    expect(await first.virsh(["list", "--name"])).toBe("\n");
    expect(await first.virsh(["list", "--all", "--name"])).toContain("by-hand");
  }, 180_000);

  test("obeys the guest's power button", async () => {
    await rm(join(first.stateDirectory, "console.log"), { force: true });
    await first.virsh(["start", "by-hand"]);
    await consoleLine(first);
    await first.virsh(["shutdown", "by-hand"]);
    const state = await waitFor(
      "the guest is off",
      async () => {
        const text = (await first.virsh(["domstate", "--reason", "by-hand"])).trim();
        if (!text.startsWith("shut off")) throw new Error(text);
        return text;
      },
      { timeoutMs: 60_000, intervalMs: 200 },
    );
    expect(state).toBe("shut off (shutdown)");
  }, 180_000);

  test("leaves nothing when it and its network are stopped", async () => {
    const own = await makeTemporaryDirectory("node-test");
    const network = await startUnderlay({ directory: own, lifetime: "owner" });
    const node = await startNode({
      name: "short",
      number: 1,
      directory: join(own, "short"),
      underlay: network,
      lifetime: "owner",
    });
    const { pid } = node;
    const sleeper = await node.startDaemon({ name: "sleeper", argv: ["sleep", "1000"] });
    await node.stop();
    await network.stop();
    await rm(own, { recursive: true });
    expect(readProcess(pid)?.state ?? "gone").toMatch(/^(Z|gone)$/);
    expect(sleeper.isRunning()).toBe(false);
    expect(Object.keys(networkInterfaces())).not.toContain(`vireo-u${network.index}`);
  });
});

import { randomUUID } from "node:crypto";
import { readFile, rm, stat } from "node:fs/promises";
import { join } from "node:path";

import { afterAll, afterEach, beforeAll, describe, expect, test } from "@jest/globals";

import {
  availableFeatures,
  type Domain,
  guestAnswers,
  probeAcceleration,
  type ProbeOptions,
} from "../../../src/node-agent/domains/index.ts";
import { domainXml } from "../../../src/node-agent/domains/domain-xml/index.ts";
import { runCommand } from "../../../src/node-agent/host/command.ts";
import { createFiles } from "../../../src/node-agent/host/files.ts";
import { makeTemporaryDirectory } from "../../testbed/temporary-directory.ts";
import { waitFor } from "../../testbed/wait.ts";
import { MAX_CONSOLE_LOG_BYTES, type RealHost, startReal } from "./hosts.ts";

const signal = new AbortController().signal;
/** An emulated guest on a busy machine takes its time. */
const PATIENCE_MS = 180_000;

describe("a real guest", () => {
  let host: RealHost;
  const uids: string[] = [];

  const machine = (changes: Partial<Domain> = {}): Promise<Domain> => {
    const vmUid = randomUUID();
    uids.push(vmUid);
    return host.prepare(vmUid, changes);
  };
  const xmlOf = async (vmUid: string): Promise<string> => {
    const ref = await host.libvirt.lookupDomain(vmUid);
    return ref === undefined ? "" : host.libvirt.domainXml(ref);
  };

  beforeAll(async () => {
    host = await startReal();
    await host.libvirt.whenConnected({ signal });
  }, PATIENCE_MS);
  afterAll(() => host.stop());
  afterEach(async () => {
    for (const vmUid of uids.splice(0)) await host.domains.remove(vmUid, { signal });
  });

  test(
    "writes on at the start of its console log when that is cut",
    async () => {
      const want = await machine();
      await host.domains.start(want, { signal });
      await host.whenBooted(want.vmUid);
      const log = join(host.stateDirectory, "consoles", `${want.vmUid}.log`);
      await waitFor("the guest asks who is there", async () =>
        (await readFile(log, "utf8")).includes("login:"),
      );
      expect((await stat(log)).size).toBeGreaterThan(MAX_CONSOLE_LOG_BYTES);
      await host.domains.trimConsoleLogs({ signal });
      expect((await stat(`${log}.0`)).size).toBe(MAX_CONSOLE_LOG_BYTES);
      await using shell = await host.openShell(want.vmUid);
      expect(await shell.run("echo so long")).toBe("so long");
      expect(await readFile(log, "utf8")).toContain("so long");
      // A file that is written at its old end would begin with a hole.
      expect(await readFile(log, "utf8")).not.toContain("\u0000");
      expect((await stat(log)).mode & 0o077).toBe(0);
    },
    PATIENCE_MS,
  );

  test(
    "leaves no UEFI variables behind, and the shared image to root",
    async () => {
      expect(await availableFeatures(host.libvirt, { signal })).toEqual({
        firmwares: ["BIOS", "UEFI"],
        tpm: true,
      });
      const want = await machine({ firmware: "UEFI" });
      const variables = [`vireo-${want.vmUid}_VARS.fd`];
      await host.domains.start(want, { signal });
      expect(await host.variables()).toEqual(variables);
      expect(await host.imageOwner()).toBe(0);
      await host.domains.destroy(want.vmUid, { signal });
      expect(await host.variables()).toEqual(variables);
      await host.domains.remove(want.vmUid, { signal });
      expect(await host.variables()).toEqual([]);
      expect(await host.imageOwner()).toBe(0);
    },
    PATIENCE_MS,
  );

  test("with KVM is described in words that libvirt's schema accepts", async () => {
    const want = await machine({ acceleration: "kvm", firmware: "BIOS" });
    const xml = domainXml(want, {
      consoleLogPath: "/var/log/console.log",
      consoleSocketPath: "/run/console.sock",
    });
    // libvirt asks for the kernel's KVM before anything else where there is none.
    const { name } = await host.libvirt.defineDomain(xml.replace('type="kvm"', 'type="qemu"'));
    expect(name).toBe(`vireo-${want.vmUid}`);
  });

  test(
    "has sixteen ports for volumes to come, a screen on a socket, and a sandbox around it",
    async () => {
      const want = await machine();
      await host.domains.start(want, { signal });
      const xml = await xmlOf(want.vmUid);
      const ports = [...xml.matchAll(/model='pcie-root-port'/g)].length;
      const devices = [...xml.matchAll(/<address type='pci' domain='0x0000' bus='0x(?!00)[0-9a-f]+'/g)]
        .length;
      expect(ports - devices).toBe(16);
      expect(xml).toMatch(/<graphics type='vnc' socket='\/var\/lib\/libvirt\/qemu\//);
      const [qemu = ""] = (await host.node.run(["pgrep", "-f", want.vmUid])).split("\n");
      const status = await host.node.run(["cat", `/proc/${qemu}/status`]);
      expect(status).toMatch(/^Seccomp:\s+2$/m);
      expect(status).toMatch(/^NoNewPrivs:\s+1$/m);
      expect(status).not.toMatch(/^Uid:\s+0\s/m);
    },
    PATIENCE_MS,
  );
});

describe("the probe of acceleration, with a real QEMU", () => {
  let options: ProbeOptions;

  beforeAll(async () => {
    const stateDirectory = await makeTemporaryDirectory("probe");
    const files = createFiles({ roots: [stateDirectory] });
    options = { run: runCommand, files, stateDirectory, signal };
  });
  afterAll(() => rm(options.stateDirectory, { recursive: true }));

  test(
    "has a guest that answers",
    async () => {
      expect(await guestAnswers("tcg", { ...options, timeoutMs: 60_000 })).toBe(true);
    },
    PATIENCE_MS,
  );

  test(
    "says kvm only where a guest with KVM answers",
    async () => {
      const answers = await guestAnswers("kvm", options);
      const verdict = await probeAcceleration(options);
      expect({ answers, verdict }).not.toEqual({ answers: false, verdict: "kvm" });
    },
    PATIENCE_MS,
  );
});

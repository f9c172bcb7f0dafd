import { describe, expect, test } from "@jest/globals";

import { pendingChanges, restartSettings } from "../../../../src/node-agent/domains/settings.ts";
import type { Domain, ObservedHardware, PendingChange } from "../../../../src/node-agent/domains/types.ts";
import { cdrom, volume, wantedDomain } from "./wanted.ts";

const volumes = [volume("a1", "VirtIO"), volume("b2", "SCSI")];
const started = wantedDomain({ vcpus: 2, maxVcpus: 8, memoryMiB: 512, maxMemoryMiB: 2048, volumes });

/** A guest that was started as described. */
const hardware: ObservedHardware = {
  disks: volumes.map(({ uid, bus }) => ({ kind: "disk", uid, bus, target: "x", layers: [] })),
  interfaces: [],
  vcpus: { current: 2, maximum: 8 },
  memory: { initialMiB: 512, currentMiB: 512, requestedMiB: 512, maximumMiB: 2048, blockMiB: 2 },
  settings: restartSettings(started),
};

const change = (path: string, current: string, desired: string): PendingChange => ({
  path,
  current,
  desired,
});

describe("a restart is needed for", () => {
  test.each<[string, Partial<Domain>, readonly PendingChange[]]>([
    ["nothing when nothing has changed", {}, []],
    ["no vCPU that can be plugged", { vcpus: 8 }, []],
    ["vCPUs beyond those that can be plugged", { vcpus: 9 }, [change("vcpus", "2", "9")]],
    ["fewer vCPUs", { vcpus: 1 }, [change("vcpus", "2", "1")]],
    ["no memory that can be given", { memoryMiB: 2048 }, []],
    ["memory beyond what can be given", { memoryMiB: 2049 }, [change("memory", "512Mi", "2049Mi")]],
    ["less memory than at the start", { memoryMiB: 511 }, [change("memory", "512Mi", "511Mi")]],
    ["no other limits: nothing is asked for beyond these", { maxVcpus: 16, maxMemoryMiB: 9000 }, []],
    ["another CPU model", { cpu: { model: "EPYC" } }, [change("cpu.model", "default", "EPYC")]],
    [
      "another topology",
      { cpu: { topology: { sockets: 2, cores: 4, threads: 1 } } },
      [change("cpu.topology", "default", "2 sockets, 4 cores, 1 threads")],
    ],
    ["huge pages", { hugePageSize: "2Mi" }, [change("hugePages.pageSize", "none", "2Mi")]],
    ["another screen", { graphics: ["SPICE", "VNC"] }, [change("graphics", "VNC", "SPICE, VNC")]],
    ["no screen", { graphics: [] }, [change("graphics", "VNC", "none")]],
    [
      "another boot order",
      { rootDisk: { ...started.rootDisk, bootOrder: 2 } },
      [change("rootDisk.bootOrder", "none", "2")],
    ],
    [
      "another bus of a volume",
      { volumes: [volume("a1", "SCSI"), volume("b2", "SCSI")] },
      [change("volumes[data-a1].bus", "VirtIO", "SCSI")],
    ],
    ["no volume that comes or goes", { volumes: [volume("c3", "VirtIO")] }, []],
    ["no CD-ROM that comes", { cdroms: [cdrom("d4")] }, []],
    [
      "booting from a CD-ROM that comes",
      { cdroms: [{ ...cdrom("d4"), bootOrder: 1 }] },
      [change("cdroms[installer-d4].bootOrder", "none", "1")],
    ],
  ])("%s", (_what, changes, expected) => {
    expect(pendingChanges(hardware, { ...started, ...changes })).toEqual(expected);
  });

  test("no boot order of a volume that has gone", () => {
    const before = wantedDomain({ volumes: [{ ...volume("a1", "VirtIO"), bootOrder: 1 }] });
    const running = { ...hardware, settings: restartSettings(before) };
    expect(pendingChanges(running, { ...started, volumes: [] })).toEqual([]);
  });

  test("nothing that the agent of that time did not write down", () => {
    const want = { ...started, cpu: { model: "EPYC" }, graphics: [] };
    expect(pendingChanges({ ...hardware, settings: undefined }, want)).toEqual([]);
    const settings = new Map([["cpu.model", "default"]]);
    expect(pendingChanges({ ...hardware, settings }, want)).toEqual([change("cpu.model", "default", "EPYC")]);
  });

  test("nothing that only differs in the order of words", () => {
    const running = { ...hardware, settings: restartSettings({ ...started, graphics: ["VNC", "SPICE"] }) };
    expect(pendingChanges(running, { ...started, graphics: ["SPICE", "VNC"] })).toEqual([]);
  });
});

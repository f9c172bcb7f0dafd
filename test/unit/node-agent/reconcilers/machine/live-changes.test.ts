import { describe, expect, test } from "@jest/globals";
import fc from "fast-check";
import type { DomainDisk, ObservedHardware } from "../../../../../src/node-agent/domains/index.ts";
import {
  type LiveChange,
  liveChanges,
  type WantedHardware,
} from "../../../../../src/node-agent/reconcilers/machine/live-changes.ts";

const vmUid = "vm";

const disk = (uid: string): DomainDisk => ({
  uid,
  name: uid,
  bus: "VirtIO",
  layers: [{ path: `/${uid}`, format: "qcow2" }],
});

const hardware = (uids: readonly string[], change: Partial<ObservedHardware> = {}): ObservedHardware => ({
  disks: [vmUid, ...uids].map((uid) => ({ kind: "disk", uid, bus: "VirtIO", target: uid, layers: [] })),
  interfaces: [],
  vcpus: { current: 2, maximum: 4 },
  memory: { initialMiB: 256, currentMiB: 256, requestedMiB: 256, maximumMiB: 512, blockMiB: 2 },
  settings: undefined,
  ...change,
});

const wanted = (uids: readonly string[], change: Partial<WantedHardware> = {}): WantedHardware => ({
  volumes: uids.map(disk),
  cdroms: [],
  keep: new Set(),
  sizes: [{ uid: vmUid, sizeMiB: 1024, wantedMiB: 1024 }],
  vcpus: 2,
  memoryMiB: 256,
  ...change,
});

const words = (change: LiveChange): string => {
  switch (change.kind) {
    case "detach":
      return `detach ${change.device.uid}`;
    case "attach-disk":
      return `attach ${change.disk.uid}`;
    case "attach-cdrom":
      return `attach ${change.cdrom.uid}`;
    case "resize-disk":
      return `resize ${change.uid} ${change.sizeMiB}`;
    case "set-vcpus":
      return `vcpus ${change.count}`;
    case "set-memory":
      return `memory ${change.memoryMiB}`;
  }
};

describe("what is changed of a running guest", () => {
  test.each<[string, ObservedHardware, WantedHardware, string[]]>([
    ["nothing of one that is as it is to be", hardware(["a"]), wanted(["a"]), []],
    ["what goes makes room for what comes", hardware(["a"]), wanted(["b"]), ["detach a", "attach b"]],
    [
      "a CD-ROM comes",
      hardware([]),
      wanted([], { cdroms: [{ uid: "iso", name: "iso", path: "/iso" }] }),
      ["attach iso"],
    ],
    [
      "what cannot be described at the moment stays",
      hardware(["a"]),
      wanted([], { keep: new Set(["a"]) }),
      [],
    ],
    [
      "a disk grows, and never shrinks",
      hardware(["a", "b"]),
      wanted(["a", "b"], {
        sizes: [
          { uid: "a", sizeMiB: 1, wantedMiB: 2 },
          { uid: "b", sizeMiB: 2, wantedMiB: 1 },
        ],
      }),
      ["resize a 2"],
    ],
    [
      "a disk that is only coming is as large as it is to be already",
      hardware([]),
      wanted(["a"], { sizes: [{ uid: "a", sizeMiB: 1, wantedMiB: 2 }] }),
      ["attach a"],
    ],
    ["vCPUs come as far as there is room", hardware([]), wanted([], { vcpus: 9 }), ["vcpus 4"]],
    ["vCPUs do not go", hardware([]), wanted([], { vcpus: 1 }), []],
    ["memory comes as far as there is room", hardware([]), wanted([], { memoryMiB: 999 }), ["memory 512"]],
    ["memory goes down to what there was at the start", hardware([]), wanted([], { memoryMiB: 64 }), []],
    ["less than a block of memory is not asked for", hardware([]), wanted([], { memoryMiB: 257 }), []],
  ])("%s", (_, has, want, expected) => {
    expect(liveChanges(vmUid, has, want).map(words)).toEqual(expected);
  });

  test("the root disk is never taken away, and the changes lead to what is wanted", () => {
    const someUids = fc.uniqueArray(fc.constantFrom("a", "b", "c", "d", "e"));
    fc.assert(
      fc.property(someUids, someUids, (before, after) => {
        const has = new Set([vmUid, ...before]);
        for (const change of liveChanges(vmUid, hardware(before), wanted(after))) {
          if (change.kind === "detach") has.delete(change.device.uid);
          if (change.kind === "attach-disk") has.add(change.disk.uid);
        }
        expect(has).toEqual(new Set([vmUid, ...after]));
      }),
    );
  });
});

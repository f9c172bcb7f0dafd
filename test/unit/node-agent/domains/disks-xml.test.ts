import { describe, expect, test } from "@jest/globals";

import type { Domain } from "../../../../src/node-agent/domains/types.ts";
import { at, listed, parsed, plain } from "./parsed-domain.ts";
import { cdrom, volume, wantedDomain } from "./wanted.ts";

const [card = { network: "", tap: "", macAddress: "", mtu: 0 }] = wantedDomain().interfaces;

describe("a guest is described with", () => {
  test("a root disk whose whole chain and formats are named, and an image that libvirt leaves alone", () => {
    const [root, seed] = listed(at(parsed(), "devices", "disk"));
    expect(at(root, "driver")).toMatchObject({ type: "qcow2", discard: "unmap" });
    expect(at(root, "backingStore")).toEqual(
      expect.objectContaining({
        format: { type: "qcow2" },
        source: expect.objectContaining({
          file: "/var/lib/vireo/images/cirros.qcow2",
          seclabel: { model: "dac", relabel: "no" },
        }),
        backingStore: "",
      }),
    );
    expect(at(seed, "driver", "type")).toBe("raw");
    expect(at(seed, "readonly")).toBe("");
    const raw = { path: "/var/lib/vireo/images/disk.raw", format: "raw", shared: true } as const;
    const [head] = wantedDomain().rootDisk.layers;
    const [onRaw] = listed(at(parsed({ rootDisk: { layers: [head, raw] } }), "devices", "disk"));
    expect(at(onRaw, "backingStore", "format", "type")).toBe("raw");
  });

  test("several disks, each with a serial number, a name of ours and a place", () => {
    const volumes = [volume("a1", "VirtIO"), volume("b2", "SCSI"), volume("c3", "VirtIO")];
    const disks = listed(at(parsed({ volumes, cdroms: [cdrom("d4")] }), "devices", "disk"));
    const rows = disks.map((disk) => [
      at(disk, "device"),
      at(disk, "target", "dev"),
      at(disk, "target", "bus"),
      at(disk, "serial"),
      at(disk, "alias", "name"),
      at(disk, "address", "target"),
    ]);
    const uid = (end: string) => `5dea22b3-1d52-48f3-a516-782e98ab3f${end}`;
    expect(rows).toEqual([
      [
        "disk",
        "vda",
        "virtio",
        "4dea22b31d5248f3a516",
        "ua-disk-4dea22b3-1d52-48f3-a516-782e98ab3fa0",
        undefined,
      ],
      ["cdrom", "sda", "scsi", undefined, "ua-seed", "0"],
      ["cdrom", "sdb", "scsi", undefined, `ua-cdrom-${uid("d4")}`, "1"],
      ["disk", "vdb", "virtio", "5dea22b31d5248f3a516", `ua-disk-${uid("a1")}`, undefined],
      ["disk", "sdc", "scsi", "5dea22b31d5248f3a516", `ua-disk-${uid("b2")}`, "2"],
      ["disk", "vdc", "virtio", "5dea22b31d5248f3a516", `ua-disk-${uid("c3")}`, undefined],
    ]);
  });

  test("a disk of many layers, each with its format, of which only the image is left to its owner", () => {
    const layers = [
      { path: "/head", format: "qcow2" },
      { path: "/snap", format: "qcow2" },
      { path: "/image", format: "raw", shared: true },
    ] as const;
    const [root] = listed(at(parsed({ rootDisk: { layers } }), "devices", "disk"));
    expect(at(root, "source")).toEqual({ file: "/head" });
    expect(plain(at(root, "backingStore"))).toEqual({
      type: "file",
      format: { type: "qcow2" },
      source: { file: "/snap" },
      backingStore: {
        type: "file",
        format: { type: "raw" },
        source: { file: "/image", seclabel: { model: "dac", relabel: "no" } },
        backingStore: "",
      },
    });
  });

  test.each<[string, Partial<Domain>, readonly (readonly [string, string])[]]>([
    [
      "the root disk first, when nothing is asked for",
      { volumes: [volume("a1", "VirtIO")], cdroms: [cdrom("d4")] },
      [
        ["vda", "1"],
        ["vdb", "2"],
        ["sdb", "3"],
      ],
    ],
    [
      "what has an order before what has none",
      { volumes: [volume("a1", "SCSI")], cdroms: [{ ...cdrom("d4"), bootOrder: 7 }] },
      [
        ["sdb", "1"],
        ["vda", "2"],
        ["sdc", "3"],
      ],
    ],
    [
      "in the order that is asked for",
      {
        rootDisk: { ...wantedDomain().rootDisk, bootOrder: 30 },
        volumes: [
          { ...volume("a1", "VirtIO"), bootOrder: 20 },
          { ...volume("b2", "VirtIO"), bootOrder: 10 },
        ],
      },
      [
        ["vdc", "1"],
        ["vdb", "2"],
        ["vda", "3"],
      ],
    ],
    [
      "the network only when it is asked for",
      { interfaces: [{ ...card, bootOrder: 1 }] },
      [
        ["vtap0123456789a", "1"],
        ["vda", "2"],
      ],
    ],
  ])("booted from %s", (_what, changes, expected) => {
    const domain = parsed(changes);
    expect(at(domain, "os", "boot")).toBeUndefined();
    const devices = [...listed(at(domain, "devices", "disk")), ...listed(at(domain, "devices", "interface"))];
    const places = devices.flatMap((device) => {
      const place = at(device, "boot", "order");
      return place === undefined ? [] : [[at(device, "target", "dev"), place] as const];
    });
    expect(places.toSorted(([, a], [, b]) => Number(a) - Number(b))).toEqual(expected);
  });
});

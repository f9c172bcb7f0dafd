import { describe, expect, test } from "@jest/globals";
import fc from "fast-check";
import { explainPlacement } from "../../../src/controllers/scheduler/explain.ts";
import { rejectionOf } from "../../../src/controllers/scheduler/filters.ts";
import { schedule } from "../../../src/controllers/scheduler/schedule.ts";
import { totalScore } from "../../../src/controllers/scheduler/scores.ts";
import {
  addResources,
  type Candidate,
  noResources,
  type PlacementRequest,
} from "../../../src/controllers/scheduler/types.ts";
import { cachedImage, uidOf } from "./objects.ts";
import { node, request } from "./scheduler-facts.ts";

describe("A filter", () => {
  test.each<[string, Partial<PlacementRequest>, Partial<Candidate>, string | undefined]>([
    ["lets a node pass that has everything", {}, {}, undefined],
    [
      "rejects a node that is not ready",
      {},
      { readiness: { kind: "not-ready", message: "is not ready (HeartbeatLost)" } },
      "is not ready (HeartbeatLost)",
    ],
    [
      "rejects a cordoned node",
      {},
      { closed: "is cordoned (spec.unschedulable)" },
      "is cordoned (spec.unschedulable)",
    ],
    ["lets the right zone pass", { availabilityZone: "north" }, {}, undefined],
    ["rejects another zone", { availabilityZone: "south" }, {}, "is in zone north, not in south"],
    [
      "rejects a node without a zone when one is asked for",
      { availabilityZone: "south" },
      { zone: undefined },
      "is in no zone, not in south",
    ],
    [
      "lets a node with all labels pass",
      { nodeSelector: { a: "1" } },
      { labels: { a: "1", b: "2" } },
      undefined,
    ],
    [
      "names every label that is missing or different",
      { nodeSelector: { gpu: "yes", disk: "fast", arch: "arm" } },
      { labels: { disk: "slow", arch: "arm" } },
      "lacks labels disk=fast, gpu=yes",
    ],
    [
      "does not take an inherited property for a label",
      { nodeSelector: { constructor: "x" } },
      {},
      "lacks label constructor=x",
    ],
    ["rejects a node without the firmware", { firmware: "UEFI" }, {}, "has no UEFI firmware"],
    [
      "rejects a node that refused the image",
      {},
      { images: [cachedImage({ state: "Failed", reason: "TooLarge" })] },
      "refused the image (TooLarge)",
    ],
    [
      "lets a node pass that could not fetch the image so far",
      {},
      { images: [cachedImage({ state: "Failed", reason: "FetchFailed" })] },
      undefined,
    ],
    [
      "lets a node pass that refused another image",
      {},
      { images: [cachedImage({ uid: uidOf("other"), state: "Failed", reason: "TooLarge" })] },
      undefined,
    ],
    ["rejects a node without a TPM emulator", { tpm: true }, {}, "has no TPM emulator (swtpm)"],
    ["lets a node with a TPM emulator pass", { tpm: true }, { tpm: true }, undefined],
    [
      "rejects a node that does not have the data, before it asks anything else",
      { data: { nodeName: "node-2", what: "Volume data" } },
      { closed: "is cordoned (spec.unschedulable)" },
      "does not have Volume data, which is on node-2",
    ],
    [
      "lets the node with the data pass",
      { data: { nodeName: "node-1", what: "Volume data" } },
      {},
      undefined,
    ],
    [
      "names the storage pools that a node does not have, each once",
      { disks: { fast: 100, local: 100 }, pools: ["nfs", "fast"] },
      {},
      "has no storage pools fast, nfs",
    ],
    [
      "lets a node pass that has room in another storage pool than local",
      { disks: { fast: 100 } },
      { allocatable: { vcpus: 8, memoryMiB: 8192, disks: { fast: 100 } } },
      undefined,
    ],
    [
      "rejects a node whose storage pool is given out",
      { disks: { fast: 100 } },
      {
        allocatable: { vcpus: 8, memoryMiB: 8192, disks: { fast: 100 } },
        allocated: { ...noResources, disks: { fast: 1 } },
      },
      "has too little disk free in storage pool fast for 100 MiB (it gives out 100 MiB in all)",
    ],
    [
      "rejects a node that cannot fetch the image from the node that made it",
      { unreachableImages: [{ uid: uidOf("tiny"), nodeName: "node-2" }] },
      { images: [cachedImage({ state: "Fetching" })] },
      "cannot fetch the image from node-2, which gives no sign of life",
    ],
    [
      "lets a node pass that holds the image, whatever became of the node that made it",
      { unreachableImages: [{ uid: uidOf("tiny"), nodeName: "node-2" }] },
      { images: [cachedImage()] },
      undefined,
    ],
    [
      "rejects a node that refused the image of a CD-ROM",
      { images: [uidOf("tiny"), uidOf("iso")] },
      { images: [cachedImage({ uid: uidOf("iso"), state: "Failed", reason: "TooLarge" })] },
      "refused the image (TooLarge)",
    ],
    [
      "lets a machine pass that takes the last CPU",
      { vcpus: 2 },
      { allocated: { ...noResources, vcpus: 6 } },
      undefined,
    ],
    [
      "rejects a node whose CPUs are given out",
      { vcpus: 2 },
      { allocated: { ...noResources, vcpus: 7 } },
      "has too few virtual CPUs free for 2 (it gives out 8 in all)",
    ],
    [
      "rejects a node whose memory is given out",
      { memoryMiB: 1024 },
      { allocated: { ...noResources, memoryMiB: 7169 } },
      "has too little memory free for 1024 MiB (it gives out 8192 MiB in all)",
    ],
    [
      "rejects a node whose disk is given out",
      { disks: { local: 10_000 } },
      { allocated: { ...noResources, disks: { local: 90_001 } } },
      "has too little disk free for 10000 MiB (it gives out 100000 MiB in all)",
    ],
    [
      "names what rules the node out for good before what is full today",
      { availabilityZone: "south" },
      { allocated: { vcpus: 8, memoryMiB: 8192, disks: { local: 100_000 } } },
      "is in zone north, not in south",
    ],
  ])("%s", (_, wanted, offered, expected) => {
    expect(rejectionOf(request(wanted), node(offered))).toBe(expected);
  });
});

describe("A score", () => {
  const better = (a: Partial<Candidate>, b: Partial<Candidate>): boolean =>
    totalScore(request(), node(a)) > totalScore(request(), node(b));

  test.each<[string, Partial<Candidate>, Partial<Candidate>]>([
    ["prefers the emptier node", {}, { allocated: { vcpus: 2, memoryMiB: 0, disks: { local: 0 } } }],
    [
      "prefers the node of which a smaller share is given out",
      {
        allocatable: { vcpus: 64, memoryMiB: 65_536, disks: { local: 1 } },
        allocated: { vcpus: 8, memoryMiB: 8192, disks: { local: 0 } },
      },
      { allocated: { vcpus: 2, memoryMiB: 2048, disks: { local: 0 } } },
    ],
    ["prefers the node that holds the image", { images: [cachedImage()] }, {}],
    ["prefers the node that is fetching the image", { images: [cachedImage({ state: "Fetching" })] }, {}],
    [
      "prefers holding the image to fetching it",
      { images: [cachedImage()] },
      { images: [cachedImage({ state: "Fetching" })] },
    ],
    [
      "prefers an empty node to one that holds the image and has a small machine",
      {},
      { images: [cachedImage()], allocated: { vcpus: 1, memoryMiB: 128, disks: { local: 1024 } } },
    ],
    [
      "prefers much more room to the image at hand",
      {},
      { images: [cachedImage()], allocated: { vcpus: 2, memoryMiB: 2048, disks: { local: 0 } } },
    ],
    [
      "prefers hardware virtualisation to everything else",
      { allocated: { vcpus: 6, memoryMiB: 7168, disks: { local: 0 } } },
      { acceleration: "tcg", images: [cachedImage()] },
    ],
  ])("%s", (_, winner, loser) => {
    expect(better(winner, loser)).toBe(true);
    expect(better(loser, winner)).toBe(false);
  });

  test("is a number for a node that gives out nothing", () => {
    expect(totalScore(request(), node({ allocatable: noResources }))).toBe(200);
  });
});

describe("A placement in words", () => {
  test.each([
    [
      "no node at all",
      [],
      "There is no Hypervisor yet: start the node agent on a machine that shall run guests.",
    ],
    [
      "one node",
      [node({ closed: "is cordoned (spec.unschedulable)" })],
      "The only node cannot take the machine: node-1 is cordoned (spec.unschedulable).",
    ],
    [
      "several nodes, by name",
      [node({ name: "b", closed: "is cordoned (spec.unschedulable)" }), node({ name: "a", firmwares: [] })],
      "None of 2 nodes can take the machine: a has no BIOS firmware; b is cordoned (spec.unschedulable).",
    ],
    [
      "the node that was chosen",
      [node(), node({ name: "node-2", closed: "is cordoned (spec.unschedulable)" })],
      "Placed on node-1; 1 of 2 nodes could take the machine.",
    ],
  ])("%s", (_, nodes, expected) => {
    expect(explainPlacement(schedule(request(), nodes))).toBe(expected);
  });

  test("stays within a condition's message whatever the number of nodes", () => {
    const nodes = Array.from({ length: 5000 }, (_, index) =>
      node({ name: `node-${index}`, closed: "is cordoned (spec.unschedulable)" }),
    );
    const message = explainPlacement(schedule(request(), nodes));
    expect(message.length).toBeLessThan(1024);
    expect(message).toContain("; and 4984 more.");
  });
});

const anyResources = fc.record({
  vcpus: fc.integer({ min: 1, max: 8 }),
  memoryMiB: fc.integer({ min: 64, max: 4096 }),
  disks: fc.record({ local: fc.integer({ min: 64, max: 40_000 }) }),
});

const anyNode = fc.record({
  allocatable: anyResources,
  closed: fc.constantFrom(undefined, "is cordoned (spec.unschedulable)"),
  images: fc.constantFrom(
    [],
    [cachedImage()],
    [cachedImage({ state: "Failed", reason: "Corrupt" as const })],
  ),
  acceleration: fc.constantFrom("kvm" as const, "tcg" as const, undefined),
});

const anyNodes = fc
  .array(anyNode, { maxLength: 6 })
  .map((list) => list.map((changes, index) => node({ ...changes, name: `node-${index}` })));

describe("The scheduler", () => {
  test("never gives out more than a node has, however many machines come", () => {
    fc.assert(
      fc.property(anyNodes, fc.array(anyResources, { maxLength: 30 }), (nodes, machines) => {
        const given = new Map(nodes.map(({ name }) => [name, noResources]));
        for (const resources of machines) {
          const candidates = nodes.map((each) => ({
            ...each,
            allocated: given.get(each.name) ?? noResources,
          }));
          const choice = schedule(request(resources), candidates);
          if (choice.kind === "placed")
            given.set(choice.node, addResources(given.get(choice.node) ?? noResources, resources));
          else expect(choice.rejections).toHaveLength(nodes.length);
        }
        for (const { name, allocatable } of nodes) {
          const sum = given.get(name) ?? noResources;
          expect(sum.vcpus).toBeLessThanOrEqual(allocatable.vcpus);
          expect(sum.memoryMiB).toBeLessThanOrEqual(allocatable.memoryMiB);
          expect(sum.disks["local"] ?? 0).toBeLessThanOrEqual(allocatable.disks["local"] ?? 0);
        }
      }),
    );
  });

  test("chooses the same in whatever order the nodes come", () => {
    fc.assert(
      fc.property(
        anyNodes.chain((nodes) =>
          fc.tuple(fc.constant(nodes), fc.shuffledSubarray(nodes, { minLength: nodes.length })),
        ),
        anyResources,
        ([nodes, shuffled], resources) => {
          expect(schedule(request(resources), shuffled)).toEqual(schedule(request(resources), nodes));
        },
      ),
    );
  });

  test("takes the first by name of equal nodes", () => {
    const choice = schedule(request(), [node({ name: "b" }), node({ name: "a" }), node({ name: "c" })]);
    expect(choice).toMatchObject({ kind: "placed", node: "a" });
  });

  test("spreads machines over equal nodes", () => {
    const given = new Map<string, number>();
    const nodes = ["a", "b", "c"];
    for (let count = 0; count < 12; count += 1) {
      const candidates = nodes.map((name) =>
        node({
          name,
          allocatable: { vcpus: 16, memoryMiB: 16_384, disks: { local: 1_000_000 } },
          allocated: {
            vcpus: 2 * (given.get(name) ?? 0),
            memoryMiB: 1024 * (given.get(name) ?? 0),
            disks: { local: 0 },
          },
        }),
      );
      const choice = schedule(request(), candidates);
      if (choice.kind === "placed") given.set(choice.node, (given.get(choice.node) ?? 0) + 1);
    }
    expect([...given.values()]).toEqual([4, 4, 4]);
  });
});

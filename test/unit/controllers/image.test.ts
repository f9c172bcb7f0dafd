import { describe, expect, test } from "@jest/globals";
import fc from "fast-check";
import type { Image } from "../../../src/api/image.ts";
import { decideImage } from "../../../src/controllers/image/decide.ts";
import type { NodeReport } from "../../../src/controllers/image/judge.ts";
import { reportsOf } from "../../../src/controllers/image/observe.ts";
import { cachedImage, hypervisorWith, imageWith, NOW, uidOf } from "./objects.ts";

const report = (node: string, status: Parameters<typeof cachedImage>[0]): NodeReport => ({
  node,
  image: cachedImage(status),
});

/** It is not made of a disk. */
const fetched = { source: undefined, maker: undefined };

const held = {
  state: "Ready",
  sizeBytes: 10,
  virtualSizeBytes: 100,
  checksum: `sha256:${"a".repeat(64)}`,
} as const;
const refused = { state: "Failed", reason: "BackingFile", message: "It has a backing file." } as const;

const summaryOf = (image: Image, reports: readonly NodeReport[]) => {
  const { status, announcements } = decideImage({ image, reports, ...fetched }, NOW);
  const { conditions = [], observedGeneration: _, ...fields } = status ?? {};
  return {
    conditions: conditions.map(({ type, status: is, reason }) => `${type}=${is} ${reason}`),
    message: conditions[0]?.message,
    fields,
    events: announcements.map(({ type, reason }) => `${type} ${reason}`),
  };
};

describe("An Image", () => {
  test.each<[string, Image, readonly NodeReport[], object]>([
    [
      "that nobody needed yet is Ready",
      imageWith(),
      [],
      {
        conditions: ["Ready=True Valid"],
        message: "Machines may use it; a node fetches it when its first machine needs it.",
        fields: {},
        events: [],
      },
    ],
    [
      "that is being fetched is Ready as before, which costs no write",
      imageWith(),
      [report("a", { state: "Fetching" })],
      {
        conditions: ["Ready=True Valid"],
        message: "Machines may use it; a node fetches it when its first machine needs it.",
        fields: {},
        events: [],
      },
    ],
    [
      "that nodes hold tells which, and how large it is",
      imageWith(),
      [report("b", held), report("a", held)],
      {
        conditions: ["Ready=True Cached"],
        message: "2 nodes hold it.",
        fields: { nodes: ["a", "b"], sizeBytes: 10, virtualSizeBytes: 100, checksum: held.checksum },
        events: [],
      },
    ],
    [
      "that one node refused is stalled with the node's reason and words",
      imageWith(),
      [report("a", refused), report("b", { state: "Fetching" })],
      {
        conditions: ["Ready=False BackingFile", "Stalled=True BackingFile"],
        message: "Node a refused it: It has a backing file. Make another Image.",
        fields: {},
        events: ["Warning BackingFile"],
      },
    ],
    [
      "that one node holds and another refused is Ready, and tells both",
      imageWith(),
      [report("b", { state: "Failed", reason: "TooLarge" }), report("a", held)],
      {
        conditions: ["Ready=True Cached"],
        message: "1 node holds it. Node b refused it: TooLarge.",
        fields: { nodes: ["a"], sizeBytes: 10, virtualSizeBytes: 100, checksum: held.checksum },
        events: [],
      },
    ],
    [
      "that cannot be fetched is not Ready and not stalled, for it is tried again",
      imageWith(),
      [report("a", { state: "Failed", reason: "FetchFailed", message: "connection refused" })],
      {
        conditions: ["Ready=False FetchFailed"],
        message: "Node a could not get it and tries again: connection refused.",
        fields: {},
        events: ["Warning FetchFailed"],
      },
    ],
    [
      "that changed between two downloads tells so",
      imageWith(),
      [report("a", held), report("b", { ...held, checksum: `sha256:${"b".repeat(64)}` })],
      {
        conditions: ["Ready=True Cached"],
        message:
          "2 nodes hold it. Their contents differ, since the source changed between two downloads: give a checksum.",
        fields: { nodes: ["a", "b"], sizeBytes: 10, virtualSizeBytes: 100, checksum: held.checksum },
        events: [],
      },
    ],
    [
      "whose URL is none is stalled",
      imageWith({ source: { url: "http://[" } }),
      [],
      {
        conditions: ["Ready=False Invalid", "Stalled=True Invalid"],
        message: "spec.source.url is not a URL: http://[. Make another Image.",
        fields: {},
        events: ["Warning Invalid"],
      },
    ],
    [
      "that asks for more than can be counted is stalled",
      imageWith({ minimumDisk: "999999T" }),
      [],
      {
        conditions: ["Ready=False Invalid", "Stalled=True Invalid"],
        message: 'spec.minimumDisk: "999999T" is more than Vireo can count. Make another Image.',
        fields: {},
        events: ["Warning Invalid"],
      },
    ],
  ])("%s", (_, image, reports, expected) => {
    expect(summaryOf(image, reports)).toEqual(expected);
  });

  test("is known to nodes by its uid, not by its name", () => {
    const nodes = [
      hypervisorWith({ images: [cachedImage(held)] }, { name: "a" }),
      hypervisorWith({ images: [cachedImage({ ...held, uid: uidOf("earlier") })] }, { name: "b" }),
    ];
    expect(reportsOf(imageWith(), nodes).map(({ node }) => node)).toEqual(["a"]);
  });

  test("says the same in whatever order nodes report, and is written once", () => {
    const anyReport = fc.constantFrom(
      held,
      refused,
      { state: "Fetching" } as const,
      { state: "Failed", reason: "NoSpace", message: "full" } as const,
    );
    fc.assert(
      fc.property(
        fc
          .array(anyReport, { maxLength: 12 })
          .map((list) => list.map((status, index) => report(`node-${index}`, status)))
          .chain((reports) =>
            fc.tuple(fc.constant(reports), fc.shuffledSubarray(reports, { minLength: reports.length })),
          ),
        ([reports, shuffled]) => {
          const first = decideImage({ image: imageWith(), reports, ...fetched }, NOW);
          expect(decideImage({ image: imageWith(), reports: shuffled, ...fetched }, NOW)).toEqual(first);
          const written = { ...imageWith(), status: first.status };
          const later = new Date(NOW.getTime() + 60_000);
          expect(decideImage({ image: written, reports: shuffled, ...fetched }, later)).toEqual({
            announcements: [],
          });
        },
      ),
    );
  });
});

import { describe, expect, test } from "@jest/globals";
import type { Image } from "../../../src/api/image.ts";
import { judgeSource } from "../../../src/controllers/disk-source/judge.ts";
import { allocateImage } from "../../../src/controllers/image/allocate.ts";
import { decideImage } from "../../../src/controllers/image/decide.ts";
import type { NodeReport } from "../../../src/controllers/image/judge.ts";
import type { ImageFacts } from "../../../src/controllers/image/observe.ts";
import {
  cachedImage,
  guestOn,
  hypervisorWith,
  imageWith,
  lostHypervisor,
  NOW,
  placedMachine,
  readyCondition,
} from "./objects.ts";

const CHECKSUM = `sha256:${"a".repeat(64)}`;
const OTHER_CHECKSUM = `sha256:${"b".repeat(64)}`;

const machine = placedMachine({
  guest: guestOn(),
  conditions: [{ ...readyCondition("True", "RootDiskReady"), type: "StorageReady" }],
});
const source = { kind: "machine", name: "hello", machine, node: hypervisorWith() } as const;
const origin = { nodeName: "node-1", disk: { machineUid: machine.metadata.uid } };

const made = (status?: Image["status"]): Image => ({
  ...imageWith({ source: { virtualMachine: "hello" } }),
  ...(status !== undefined && { status }),
});

const factsWith = (changes: Partial<ImageFacts>): ImageFacts => ({
  image: made({ origin }),
  reports: [],
  source: undefined,
  maker: hypervisorWith(),
  ...changes,
});

const report = (node: string, status: Parameters<typeof cachedImage>[0]): NodeReport => ({
  node,
  image: cachedImage(status),
});

const summaryOf = (facts: ImageFacts) => {
  const { status, announcements } = decideImage(facts, NOW);
  return {
    conditions: (status?.conditions ?? []).map(({ type, status: is, reason }) => `${type}=${is} ${reason}`),
    origin: status?.origin,
    checksum: status?.checksum,
    events: announcements.map(({ reason }) => reason),
  };
};

describe("An Image of a machine", () => {
  test.each<[string, ImageFacts, ReturnType<typeof summaryOf>]>([
    [
      "waits for the machine",
      factsWith({ image: made(), source: { ...source, machine: undefined } }),
      {
        conditions: ["Ready=False SourceNotFound"],
        origin: undefined,
        checksum: undefined,
        events: ["SourceNotFound"],
      },
    ],
    [
      "is made by the machine's node",
      factsWith({ image: made(), source }),
      { conditions: ["Ready=False Making"], origin, checksum: undefined, events: [] },
    ],
    [
      "keeps its origin while it is being made, whatever becomes of the machine",
      factsWith({ reports: [report("node-1", { state: "Fetching" })] }),
      { conditions: ["Ready=False Making"], origin, checksum: undefined, events: [] },
    ],
    [
      "is Ready when its node says so, with the checksum that it has",
      factsWith({ reports: [report("node-1", { checksum: CHECKSUM })] }),
      { conditions: ["Ready=True Cached"], origin, checksum: CHECKSUM, events: [] },
    ],
    [
      "is not Ready because another node says so: nobody else can have it yet",
      factsWith({ reports: [report("node-0", { checksum: OTHER_CHECKSUM })] }),
      { conditions: ["Ready=False Making"], origin, checksum: undefined, events: [] },
    ],
    [
      "keeps its checksum, whatever nodes say later",
      factsWith({
        image: made({ origin, checksum: CHECKSUM }),
        reports: [report("node-1", { checksum: OTHER_CHECKSUM })],
      }),
      { conditions: ["Ready=True Cached"], origin, checksum: CHECKSUM, events: [] },
    ],
    [
      "is Ready as long as any node holds it",
      factsWith({
        image: made({ origin, checksum: CHECKSUM }),
        reports: [report("node-2", { checksum: CHECKSUM })],
        maker: undefined,
      }),
      { conditions: ["Ready=True Cached"], origin, checksum: CHECKSUM, events: [] },
    ],
    [
      "that no node holds any more says so",
      factsWith({ image: made({ origin, checksum: CHECKSUM }) }),
      { conditions: ["Ready=False NotHeld"], origin, checksum: CHECKSUM, events: ["NotHeld"] },
    ],
    [
      "waits for its node when that is lost",
      factsWith({ maker: lostHypervisor() }),
      { conditions: ["Ready=False MakerLost"], origin, checksum: undefined, events: ["MakerLost"] },
    ],
    [
      "is given up when its node was removed before it was made",
      factsWith({ maker: undefined }),
      {
        conditions: ["Ready=False MakerRemoved", "Stalled=True MakerRemoved"],
        origin,
        checksum: undefined,
        events: ["MakerRemoved"],
      },
    ],
    [
      "tells what its node could not do",
      factsWith({ reports: [report("node-1", { state: "Failed", reason: "NoSpace", message: "full" })] }),
      { conditions: ["Ready=False NoSpace"], origin, checksum: undefined, events: ["NoSpace"] },
    ],
  ])("%s", (_, facts, expected) => {
    expect(summaryOf(facts)).toEqual(expected);
  });

  test("is written once: the next look finds nothing to do", () => {
    const facts = factsWith({ image: made(), source });
    const { status } = decideImage(facts, NOW);
    const later = new Date(NOW.getTime() + 60_000);
    const next = factsWith({ image: made(status) });
    expect(decideImage(next, later)).toEqual({ announcements: [] });
  });

  test("is given to machines with its node and the checksum to check it by, and not before that is known", () => {
    expect(allocateImage(made({ origin }))).toBeUndefined();
    expect(allocateImage(made({ origin, checksum: CHECKSUM }))).toMatchObject({
      nodeName: "node-1",
      checksum: CHECKSUM,
    });
  });

  test("is made of the disk that its source was at that moment", () => {
    expect(judgeSource(source)).toMatchObject({ found: origin });
  });
});

import { describe, expect, test } from "@jest/globals";

import type { RetainedVolume } from "../../../../src/api/hypervisor.ts";
import { VOLUME_FINALIZER } from "../../../../src/api/volume.ts";
import { PATIENCE_MS } from "../../../../src/controllers/acquaintance.ts";
import {
  conditionsOf,
  DELETED,
  machineOf,
  madeVolume,
  readySnapshot,
  statusOf,
  stepsOf,
  unplacedMachine,
  volumeWith,
} from "../disk-objects.ts";
import { cachedImage, imageWith, lostHypervisor, uidOf } from "../objects.ts";
import { decide, node, said } from "./deciding.ts";

describe("An empty Volume", () => {
  test("that no machine names waits for the first one", () => {
    const decision = decide({ volumes: [volumeWith()] });
    expect(said(decision)).toEqual({ phase: "Pending" });
    expect(conditionsOf(decision.steps)).toEqual([
      "Ready=False WaitForFirstConsumer: It is made on the node of the first machine that names it.",
    ]);
  });

  test("is held before anything is said of it", () => {
    const decision = decide({ volumes: [volumeWith({}, { finalizers: ["somebody/else"] })] });
    expect(stepsOf(decision.steps)).toEqual([`finalizers somebody/else,${VOLUME_FINALIZER}`, "apply-status"]);
  });

  test("is for the oldest machine that names it, also before that has a node", () => {
    const decision = decide({
      volumes: [volumeWith()],
      machines: [
        machineOf("late", { names: ["data"] }, { meta: { creationTimestamp: "2026-01-03T00:00:00Z" } }),
        unplacedMachine("early", ["data"], { creationTimestamp: "2026-01-02T00:00:00Z" }),
      ],
    });
    expect(said(decision)).toEqual({ phase: "Pending", attachedTo: "early" });
    expect(stepsOf(decision.steps)).toEqual(["apply-status", "announce Reserved"]);
  });

  test("is made on the node of the machine that it is for", () => {
    const decision = decide({
      volumes: [volumeWith()],
      machines: [machineOf("web", { names: ["data"] }, { nodeName: "node-2" })],
    });
    expect(said(decision)).toEqual({ phase: "Provisioning", nodeName: "node-2", attachedTo: "web" });
    expect(conditionsOf(decision.steps)).toEqual(["Ready=False Provisioning: Node node-2 makes it."]);
  });

  test.each([
    ["a machine of another namespace", unplacedMachine("web", ["data"], { namespace: "other" })],
    ["a machine that is being deleted", unplacedMachine("web", ["data"], DELETED)],
    ["a machine that names another one", unplacedMachine("web", ["logs"])],
  ])("is not for %s", (_, machine) => {
    expect(said(decide({ volumes: [volumeWith()], machines: [machine] })).attachedTo).toBeUndefined();
  });

  test.each([
    ["gives no sign of life", [lostHypervisor()]],
    ["does not exist any more", []],
  ])("waits for a node that %s", (fate, hypervisors) => {
    const machines = [machineOf("web", { names: ["data"] })];
    const decision = decide({ volumes: [volumeWith()], machines, hypervisors });
    expect(said(decision)).toEqual({ phase: "Pending", attachedTo: "web" });
    expect(conditionsOf(decision.steps)).toEqual([
      `Ready=False NodeLost: Node node-1, where the Volume has to be made, ${fate}.`,
    ]);
  });

  test("waits for a node that has its storage pool", () => {
    const machines = [machineOf("web", { names: ["data"] })];
    const decision = decide({ volumes: [volumeWith({ pool: "fast" })], machines });
    expect(said(decision)).toEqual({ phase: "Pending", attachedTo: "web" });
    expect(conditionsOf(decision.steps)).toEqual([
      "Ready=False PoolNotFound: Node node-1, where the Volume has to be made, has no storage pool fast; it has local. Name the pool on the node (--storage-pool), or make a Volume in another pool.",
    ]);
  });
});

describe("A Volume with a source", () => {
  const fromImage = volumeWith({ source: { image: "tiny" } });

  test("that is new waits a moment for it before it complains", () => {
    expect(decide({ volumes: [fromImage] }, 100)).toEqual({
      steps: [],
      requeueAfterMs: PATIENCE_MS - 100,
    });
  });

  test("that does not exist says so, and is not Stalled: it may come any moment", () => {
    const { steps } = decide({ volumes: [fromImage] });
    expect(conditionsOf(steps)).toEqual([
      "Ready=False ImageNotFound: Image tiny does not exist in namespace default. Make it there.",
    ]);
    expect(stepsOf(steps)).toEqual(["apply-status", "announce ImageNotFound"]);
  });

  test("that is not there yet is for nobody: its node is not known", () => {
    const machines = [machineOf("web", { names: ["data"] })];
    expect(said(decide({ volumes: [fromImage], machines }))).toEqual({ phase: "Pending" });
    const reserved = volumeWith(
      { source: { image: "tiny" } },
      {},
      { attachedTo: { name: "web", uid: machineOf("web").metadata.uid } },
    );
    expect(said(decide({ volumes: [reserved], machines })).attachedTo).toBe("web");
  });

  test("of an image of another namespace needs to be allowed to use it", () => {
    const volume = volumeWith({ source: { image: "tiny", imageNamespace: "base" } });
    const machines = [machineOf("web", { names: ["data"] })];
    const shared = (visibility: "Private" | "Public") =>
      decide({ volumes: [volume], machines, images: [imageWith({ visibility }, { namespace: "base" })] });
    expect(conditionsOf(shared("Private").steps)[0]).toMatch(/^Ready=False ImageNotFound: /);
    expect(said(shared("Public"))).toMatchObject({
      nodeName: "node-1",
      allocation: { image: { name: "tiny", uid: uidOf("tiny"), format: "qcow2" } },
    });
  });

  test.each([
    ["as small as the image", "512Mi", undefined],
    ["smaller than the image", "511Mi", "TooSmall"],
  ])("%s", (_, size, reason) => {
    const images = [cachedImage({ virtualSizeBytes: 512 * 2 ** 20 })];
    const decision = decide({
      volumes: [volumeWith({ size, source: { image: "tiny" } })],
      images: [imageWith()],
      hypervisors: [node("node-1", [], { images })],
    });
    const stalled = statusOf(decision.steps).conditions.find(({ type }) => type === "Stalled");
    expect(stalled?.reason).toBe(reason);
    expect(said(decision).phase).toBe(reason === undefined ? "Pending" : "Failed");
  });

  test("of an image that is being made out of a disk waits for it", () => {
    const image = imageWith({ source: { virtualMachine: "golden" } });
    const { steps } = decide({ volumes: [fromImage], images: [image] });
    expect(conditionsOf(steps)[0]).toMatch(/^Ready=False ImageNotReady: /);
  });

  test("of a snapshot's disk is made where the snapshot is, whoever names it", () => {
    const decision = decide({
      volumes: [volumeWith({ source: { snapshot: "before" } })],
      snapshots: [readySnapshot({ nodeName: "node-2" })],
      machines: [machineOf("web", { names: ["data"] })],
    });
    expect(said(decision)).toEqual({
      nodeName: "node-2",
      phase: "Provisioning",
      attachedTo: "web",
      allocation: {
        source: { machineUid: expect.any(String), snapshotUid: uidOf("default/before") },
      },
    });
  });

  test("of another Volume is made on its node", () => {
    const decision = decide({
      volumes: [volumeWith({ source: { volume: "golden" } }), madeVolume({}, { name: "golden" })],
    });
    expect(said(decision)).toEqual({
      nodeName: "node-1",
      phase: "Provisioning",
      allocation: { source: { volumeUid: uidOf("default/golden") } },
    });
  });

  test("is as large as its source at least", () => {
    const { steps } = decide({
      volumes: [
        volumeWith({ size: "512Mi", source: { volume: "golden" } }),
        madeVolume({}, { name: "golden" }),
      ],
    });
    expect(conditionsOf(steps)[0]).toBe(
      "Ready=False TooSmall: Its source has 1024 MiB, and spec.size is 512Mi. Make it at least 1024Mi.",
    );
  });
});

describe("A Volume that takes over retained data", () => {
  const GONE = uidOf("gone");
  const kept: RetainedVolume = {
    uid: GONE,
    namespace: "default",
    name: "old",
    pool: "local",
    sizeMiB: 1024,
  };
  const heir = volumeWith({ source: { retained: GONE } });
  const keeper = (retained: RetainedVolume) => [
    node("node-1"),
    node("node-2", [], { retainedVolumes: [retained] }),
  ];

  test("is made where the data are", () => {
    expect(said(decide({ volumes: [heir], hypervisors: keeper(kept) }))).toEqual({
      nodeName: "node-2",
      phase: "Provisioning",
      allocation: { retainedUid: GONE },
    });
  });

  test("of a shared pool is made beside the machine that it is for", () => {
    const inNfs = { ...kept, pool: "nfs" };
    const hypervisors = [
      lostHypervisor("node-0"),
      node("node-1", ["nfs"], { retainedVolumes: [inNfs] }),
      node("node-2", ["nfs"], { retainedVolumes: [inNfs] }),
    ];
    const volumes = [volumeWith({ pool: "nfs", source: { retained: GONE } })];
    const machines = [machineOf("web", { names: ["data"] }, { nodeName: "node-2" })];
    expect(said(decide({ volumes, hypervisors })).nodeName).toBe("node-1");
    expect(said(decide({ volumes, hypervisors, machines })).nodeName).toBe("node-2");
  });

  test("of another namespace is told the same as when there are none", () => {
    const refused = decide({ volumes: [heir], hypervisors: keeper({ ...kept, namespace: "other" }) });
    const none = decide({ volumes: [heir] });
    expect(conditionsOf(refused.steps)).toEqual(conditionsOf(none.steps));
    expect(conditionsOf(none.steps)[0]).toMatch(/^Ready=False RetainedNotFound: /);
  });

  test.each([
    [
      "asked for them before",
      volumeWith(
        { source: { retained: GONE } },
        { name: "first", creationTimestamp: "2025-12-31T00:00:00Z" },
      ),
    ],
    [
      "has them",
      madeVolume(
        { allocation: { retainedUid: GONE } },
        { name: "first", creationTimestamp: "2026-01-31T00:00:00Z" },
        { source: { retained: GONE } },
      ),
    ],
  ])("does not get what another one %s", (_, first) => {
    const { steps } = decide({ volumes: [heir, first], hypervisors: keeper(kept) });
    expect(conditionsOf(steps)[0]).toBe(
      `Ready=False RetainedTaken: The data of ${GONE} are for Volume first, which names them too.`,
    );
  });

  test("does not lose them to one of another namespace that asked before", () => {
    const thief = volumeWith(
      { source: { retained: GONE } },
      { namespace: "other", creationTimestamp: "2025-12-31T00:00:00Z" },
    );
    expect(said(decide({ volumes: [heir, thief], hypervisors: keeper(kept) })).nodeName).toBe("node-2");
  });

  test.each([
    ["is in another pool", { pool: "fast" }, "PoolMismatch"],
    ["is smaller", { size: "1Mi" }, "TooSmall"],
  ])("is refused when it %s", (_, spec, reason) => {
    const volumes = [volumeWith({ source: { retained: GONE }, ...spec })];
    const { steps } = decide({ volumes, hypervisors: keeper(kept) });
    expect(conditionsOf(steps)[0]).toMatch(new RegExp(`^Ready=False ${reason}: `));
    expect(statusOf(steps).phase).toBe("Failed");
  });
});

import { describe, expect, test } from "@jest/globals";

import {
  conditionsOf,
  DELETED,
  machineOf,
  madeVolume,
  statusOf,
  stepsOf,
  unplacedMachine,
  volumeWith,
} from "../disk-objects.ts";
import { lostHypervisor, readyCondition, uidOf } from "../objects.ts";
import { decide, node, said } from "./deciding.ts";

const forWeb = { attachedTo: { name: "web", uid: machineOf("web").metadata.uid } };

describe("A Volume that a machine has", () => {
  const volume = madeVolume(forWeb);
  const rival = machineOf(
    "api",
    { names: ["data"] },
    { meta: { creationTimestamp: "2025-01-01T00:00:00Z" } },
  );

  test.each([
    ["names it", machineOf("web", { names: ["data"] })],
    ["was given it", machineOf("web", { given: [volume] })],
    ["has it in its guest", machineOf("web", { attached: [volume] })],
    [
      "no longer names it, which its node has not seen",
      machineOf("web", {}, { meta: { generation: 2 }, status: { observedGeneration: 1 } }),
    ],
    [
      "no longer names it, on a node that does not answer",
      machineOf("web", {}, { status: { conditions: [readyCondition("Unknown", "NodeLost")] } }),
    ],
    ["is being deleted", machineOf("web", { names: ["data"] }, { meta: DELETED })],
  ])("stays the machine's that %s, also when an older one names it", (_, machine) => {
    expect(decide({ volumes: [volume], machines: [machine, rival] }).steps).toEqual([]);
  });

  test("stays that of a machine that cannot be understood", () => {
    const held = { volumes: [volume], machines: [rival], unreadable: ["default/web"] };
    expect(decide(held).steps).toEqual([]);
  });

  test.each([
    ["has let go of it", [machineOf("web")]],
    ["is gone", []],
    ["was made anew under the name", [unplacedMachine("web", [], { uid: uidOf("new web") })]],
    [
      "has left its node for good",
      [
        machineOf(
          "web",
          { names: ["data"], attached: [volume] },
          {
            meta: DELETED,
            status: { conditions: [{ ...readyCondition("True", "Released"), type: "Released" }] },
          },
        ),
      ],
    ],
  ])("is for another one when that machine %s", (_, machines) => {
    expect(said(decide({ volumes: [volume], machines: [...machines, rival] })).attachedTo).toBe("api");
    expect(said(decide({ volumes: [volume], machines })).attachedTo).toBeUndefined();
  });

  test("moves with the machine that was given it", () => {
    const machine = machineOf("web", { names: ["data"], given: [volume] }, { nodeName: "node-2" });
    expect(said(decide({ volumes: [volume], machines: [machine] })).nodeName).toBe("node-2");
  });

  test.each([
    ["an empty one that is being made", {}, "node-2"],
    ["a copy that is being made", { allocation: { source: { volumeUid: uidOf("golden") } } }, undefined],
  ])("moves with it, %s", (_, status, nodeName) => {
    const young = volumeWith({}, {}, { nodeName: "node-1", phase: "Provisioning", ...forWeb, ...status });
    const machine = machineOf("web", { names: ["data"], given: [young] }, { nodeName: "node-2" });
    const { steps } = decide({ volumes: [young], machines: [machine] });
    expect(steps.length === 0 ? undefined : statusOf(steps).nodeName).toBe(nodeName);
  });

  test("does not move when the machine has only asked for it", () => {
    const machine = machineOf("web", { names: ["data"] }, { nodeName: "node-2" });
    expect(decide({ volumes: [volume], machines: [machine] }).steps).toEqual([]);
  });
});

describe("A Volume in a shared pool", () => {
  const nodes = [node("node-1", ["nfs"]), node("node-2", ["nfs"]), node("node-3")];
  const made = madeVolume(forWeb, {}, { pool: "nfs" });
  const elsewhere = machineOf("web", { names: ["data"] }, { nodeName: "node-2" });

  test("goes to the node of the machine that it is for", () => {
    const decision = decide({ volumes: [made], machines: [elsewhere], hypervisors: nodes });
    expect(said(decision)).toMatchObject({ nodeName: "node-2", phase: "Available" });
  });

  test("stays while it is being made", () => {
    const { sizeMiB: _, ...status } = made.status ?? {};
    const copying = volumeWith({ pool: "nfs" }, {}, { ...status, phase: "Provisioning" });
    const given = machineOf("web", { names: ["data"], given: [copying] }, { nodeName: "node-2" });
    for (const machine of [elsewhere, given])
      expect(decide({ volumes: [copying], machines: [machine], hypervisors: nodes }).steps).toEqual([]);
  });

  test("stays when the machine's node does not share the pool", () => {
    const machine = machineOf("web", { names: ["data"] }, { nodeName: "node-3" });
    expect(decide({ volumes: [made], machines: [machine], hypervisors: nodes }).steps).toEqual([]);
  });

  test("is looked after by another node when its own is gone for good", () => {
    const free = madeVolume({}, {}, { pool: "nfs" });
    expect(said(decide({ volumes: [free], hypervisors: nodes.slice(1) })).nodeName).toBe("node-2");
  });
});

describe("While the node does not answer", () => {
  test("nobody knows how the Volume is, and whose it is stays", () => {
    const volume = madeVolume(forWeb);
    const machines = [machineOf("web", { given: [volume], names: ["data"] })];
    const decision = decide({ volumes: [volume], machines, hypervisors: [lostHypervisor()] });
    expect(said(decision)).toMatchObject({ nodeName: "node-1", phase: "Unknown", attachedTo: "web" });
    expect(conditionsOf(decision.steps)).toEqual([
      "Ready=Unknown NodeLost: Node node-1 gives no sign of life. The data are safe there as far as is known.",
    ]);
  });

  test("the words stay when the node is back, until the agent says its own", () => {
    const volume = madeVolume({
      phase: "Unknown",
      conditions: [readyCondition("Unknown", "NodeLost")],
    });
    expect(decide({ volumes: [volume] }).steps).toEqual([]);
  });

  test("what the agent has said before is repeated in an apply that says something else", () => {
    const volume = madeVolume();
    const machines = [machineOf("web", { names: ["data"] })];
    const { steps } = decide({ volumes: [volume], machines });
    expect(statusOf(steps)).toMatchObject({ phase: "Available", observedGeneration: 1 });
    expect(conditionsOf(steps)).toEqual(["Ready=True Available: Because."]);
  });
});

describe("A deleted Volume", () => {
  const deleted = madeVolume({}, DELETED);

  test.each([
    ["has it", machineOf("web", { attached: [deleted] })],
    ["names it", machineOf("web", { names: ["data"] })],
  ])("stays while a machine %s, and says which", (_, machine) => {
    const { steps } = decide({ volumes: [deleted], machines: [machine] });
    expect(conditionsOf(steps)).toContain(
      "InUse=True Attached: It goes when no machine has or names it any more: web. Take it out of spec.volumes there.",
    );
    expect(stepsOf(steps)).toContain("announce InUse");
  });

  test("is not given to a machine any more", () => {
    const { steps } = decide({ volumes: [deleted], machines: [unplacedMachine("web", ["data"])] });
    expect(statusOf(steps).attachedTo).toBeUndefined();
  });

  test("stays while something is being made out of it", () => {
    const copy = volumeWith(
      { source: { volume: "data" } },
      { name: "copy" },
      { nodeName: "node-1", allocation: { source: { volumeUid: deleted.metadata.uid } } },
    );
    const { steps } = decide({ volumes: [deleted, copy] });
    expect(conditionsOf(steps)).toContain(
      "InUse=True BeingCopied: It goes when what is being made out of it is there: Volume copy.",
    );
    const made = { ...copy, status: { ...copy.status, sizeMiB: 1024 } };
    expect(conditionsOf(decide({ volumes: [deleted, made] }).steps)).toContain(
      "InUse=False Unused: Nobody will get it any more.",
    );
  });

  test("stays while a machine of its namespace cannot be understood", () => {
    const { steps, requeueAfterMs } = decide({ volumes: [deleted], unreadable: ["default/odd"] });
    expect(conditionsOf(steps)[1]).toMatch(/^InUse=True UnreadableMachines: /);
    expect(requeueAfterMs).toBeGreaterThan(0);
    expect(conditionsOf(decide({ volumes: [deleted], unreadable: ["other/odd"] }).steps)).toContain(
      "InUse=False Unused: Nobody will get it any more.",
    );
  });

  test("that nobody needs is left to its node, which is told", () => {
    const { steps } = decide({ volumes: [deleted] });
    expect(conditionsOf(steps)).toEqual([
      "Ready=True Available: Because.",
      "InUse=False Unused: Nobody will get it any more.",
    ]);
    expect(stepsOf(steps)).toEqual(["apply-status"]);
  });

  test("that its node was told to remove is not kept for anybody", () => {
    const inUse = { ...readyCondition("False", "Unused", "Nobody will get it any more."), type: "InUse" };
    const given = madeVolume({ conditions: [readyCondition("True", "Ready"), inUse] }, DELETED);
    const machines = [unplacedMachine("web", ["data"]), machineOf("api", { given: [given] })];
    expect(decide({ volumes: [given], machines }).steps).toEqual([]);
  });

  test("goes when its node has done with the data, whoever names it by then", () => {
    const released = { ...readyCondition("True", "Released"), type: "Released" };
    const volume = madeVolume({ conditions: [released] }, DELETED);
    const { steps } = decide({ volumes: [volume], machines: [unplacedMachine("web", ["data"])] });
    expect(stepsOf(steps)).toEqual(["finalizers none"]);
  });

  test("whose data are retained tells how to get them back", () => {
    const released = { ...readyCondition("True", "Released"), type: "Released" };
    const volume = madeVolume({ conditions: [released] }, DELETED, { deletionPolicy: "Retain" });
    const { steps } = decide({ volumes: [volume] });
    expect(stepsOf(steps)).toEqual(["announce Retained", "finalizers none"]);
    expect(JSON.stringify(steps)).toContain(`spec.source.retained: ${volume.metadata.uid}`);
  });

  test("without a node goes at once", () => {
    expect(stepsOf(decide({ volumes: [volumeWith({}, DELETED)] }).steps)).toEqual(["finalizers none"]);
  });

  test("without a node stays while a machine names it", () => {
    const machines = [unplacedMachine("web", ["data"])];
    expect(stepsOf(decide({ volumes: [volumeWith({}, DELETED)], machines }).steps)).toEqual([
      "apply-status",
      "announce InUse",
    ]);
  });

  test("on a node that is gone for good goes, and it is said that nothing was cleaned up", () => {
    const { steps } = decide({ volumes: [deleted], hypervisors: [] });
    expect(stepsOf(steps)).toEqual(["announce NodeRemoved", "finalizers none"]);
  });

  test("on a node that does not answer says which Hypervisor to delete", () => {
    const { steps } = decide({ volumes: [deleted], hypervisors: [lostHypervisor()] });
    expect(conditionsOf(steps)[0]).toContain("delete Hypervisor node-1");
  });

  test("that somebody else holds too is nothing to us when our finalizer is gone", () => {
    const volume = madeVolume({}, { ...DELETED, finalizers: ["somebody/else"] });
    expect(decide({ volumes: [volume] }).steps).toEqual([]);
  });
});

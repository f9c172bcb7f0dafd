import { describe, expect, test } from "@jest/globals";

import type { Image } from "../../../../src/api/image.ts";
import type { VirtualMachine } from "../../../../src/api/virtual-machine.ts";
import {
  volumesAfterHypervisor,
  volumesAfterImage,
  volumesAfterMachine,
  volumesAfterSnapshot,
  volumesAfterVolume,
} from "../../../../src/controllers/volume/watches.ts";
import { keyOf, type ObjectKey } from "../../../../src/kube/index.ts";
import {
  DELETED,
  type Held,
  machineOf,
  madeVolume,
  readySnapshot,
  storesWith,
  volumeWith,
} from "../disk-objects.ts";
import { hypervisorWith, imageWith, lostHypervisor, readyCondition, uidOf } from "../objects.ts";

const namesOf = (keys: readonly ObjectKey[]): readonly string[] =>
  [...new Set(keys.map(({ name }) => name))].toSorted();

const changeOf = <T extends Parameters<typeof keyOf>[0]>(before: T | undefined, after: T | undefined) => {
  const object = after ?? before;
  if (object === undefined) throw new Error("no change");
  return {
    key: keyOf(object),
    unreadable: false,
    ...(before !== undefined && { before }),
    ...(after !== undefined && { after }),
  };
};

const data = madeVolume({ attachedTo: { name: "web", uid: machineOf("web").metadata.uid } });
const logs = madeVolume({}, { name: "logs" });
const old = madeVolume({}, { name: "old" });

describe("A change of a machine concerns", () => {
  const held: Held = { volumes: [data, logs, old] };
  const after = (before: VirtualMachine | undefined, now: VirtualMachine | undefined) =>
    namesOf(volumesAfterMachine(storesWith(held), changeOf(before, now)));
  const web = machineOf("web", { names: ["data"], given: [logs], attached: [old] });

  test("all Volumes that it names, was given, has, or that are reserved for it, when it comes or goes", () => {
    expect(after(undefined, web)).toEqual(["data", "logs", "old"]);
    expect(after(web, undefined)).toEqual(["data", "logs", "old"]);
    expect(after(machineOf("web"), undefined)).toEqual(["data"]);
  });

  test.each<[string, VirtualMachine]>([
    ["names another one", machineOf("web", { names: ["logs"], given: [logs], attached: [old] })],
    ["was given another one", machineOf("web", { names: ["data"], given: [data], attached: [old] })],
    ["lets go of one", machineOf("web", { names: ["data"], given: [logs] })],
    ["is deleted", machineOf("web", { names: ["data"], given: [logs], attached: [old] }, { meta: DELETED })],
    ["moves", machineOf("web", { names: ["data"], given: [logs], attached: [old] }, { nodeName: "node-2" })],
  ])("these too when it %s", (_, now) => {
    expect(after(web, now)).toEqual(["data", "logs", "old"]);
  });

  test("the one that it had let go of, when its node has seen that", () => {
    const unseen = machineOf("web", {}, { meta: { generation: 2 } });
    const seen = machineOf("web", {}, { meta: { generation: 2 }, status: { observedGeneration: 2 } });
    expect(after(unseen, seen)).toEqual(["data"]);
  });

  test("nobody when it is something else that changes", () => {
    const conditions = [readyCondition("False", "Stopping")];
    const now = machineOf(
      "web",
      { names: ["data"], given: [logs], attached: [old] },
      { status: { conditions } },
    );
    expect(after(web, now)).toEqual([]);
  });

  test("the one that its root disk was copied from, when that is over", () => {
    const { allocation } = machineOf("web").status ?? {};
    const copy = (isThere: boolean) =>
      machineOf(
        "copy",
        {},
        {
          status: {
            ...(allocation && { allocation: { ...allocation, source: { volumeUid: old.metadata.uid } } }),
            conditions: [
              readyCondition("True", "Running"),
              { ...readyCondition(isThere ? "True" : "False", "Tested"), type: "StorageReady" },
            ],
          },
        },
      );
    expect(after(copy(false), copy(true))).toEqual(["old"]);
  });
});

describe("A change of a Volume concerns", () => {
  const copy = volumeWith({ source: { volume: "data" } }, { name: "copy" });
  const heirs = ["one", "two"].map((name) => volumeWith({ source: { retained: uidOf("gone") } }, { name }));

  test("those that start as it", () => {
    const stores = storesWith({ volumes: [data, logs, copy] });
    expect(namesOf(volumesAfterVolume(stores, changeOf(data, data)))).toEqual(["copy", "data"]);
  });

  test("those that want the same data", () => {
    const stores = storesWith({ volumes: heirs });
    expect(namesOf(volumesAfterVolume(stores, changeOf(heirs[0], undefined)))).toEqual(["one", "two"]);
  });

  test("the one that it was being copied from, when that is over", () => {
    const allocation = { source: { volumeUid: data.metadata.uid } };
    const copying = volumeWith({}, { name: "copy" }, { nodeName: "node-1", allocation });
    const copied = madeVolume({ allocation }, { name: "copy" });
    const stores = storesWith({ volumes: [data, copied] });
    expect(namesOf(volumesAfterVolume(stores, changeOf(copying, copied)))).toEqual(["copy", "data"]);
    expect(namesOf(volumesAfterVolume(stores, changeOf(copied, copied)))).toEqual(["copy"]);
  });
});

describe("Volumes that wait for", () => {
  test("a snapshot are concerned by it", () => {
    const volumes = [volumeWith({ source: { snapshot: "before" } }), volumeWith({}, { name: "other" })];
    const change = changeOf(undefined, readySnapshot());
    expect(namesOf(volumesAfterSnapshot(storesWith({ volumes }), change))).toEqual(["data"]);
  });

  test.each<[string, Image, readonly string[]]>([
    ["their namespace", imageWith(), ["data"]],
    ["another namespace", imageWith({}, { namespace: "base" }), ["theirs"]],
  ])("an image of %s are concerned by it", (_, image, concerned) => {
    const volumes = [
      volumeWith({ source: { image: "tiny" } }),
      volumeWith({ source: { image: "tiny", imageNamespace: "base" } }, { name: "theirs" }),
    ];
    expect(namesOf(volumesAfterImage(storesWith({ volumes }), changeOf(undefined, image)))).toEqual(
      concerned,
    );
  });

  test("a node are concerned by any change of one; those on it by its end and its return", () => {
    const stores = storesWith({ volumes: [volumeWith({}, { name: "waiting" }), data] });
    const node = hypervisorWith();
    const after = (...[before, now]: Parameters<typeof changeOf<typeof node>>) =>
      namesOf(volumesAfterHypervisor(stores, changeOf(before, now)));
    expect(after(node, node)).toEqual(["waiting"]);
    expect(after(node, lostHypervisor())).toEqual(["data", "waiting"]);
    expect(after(lostHypervisor(), node)).toEqual(["data", "waiting"]);
    expect(after(node, undefined)).toEqual(["data", "waiting"]);
  });
});

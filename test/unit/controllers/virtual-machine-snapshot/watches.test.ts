import { describe, expect, test } from "@jest/globals";

import {
  restoresAfterHypervisor,
  restoresAfterMachine,
  restoresAfterRestore,
  restoresAfterSnapshot,
} from "../../../../src/controllers/virtual-machine-restore/watches.ts";
import {
  snapshotsAfterHypervisor,
  snapshotsAfterMachine,
  snapshotsAfterRestore,
  snapshotsAfterSnapshot,
  snapshotsAfterVolume,
} from "../../../../src/controllers/virtual-machine-snapshot/watches.ts";
import { keyOf, type ObjectKey } from "../../../../src/kube/index.ts";
import {
  DELETED,
  machineOf,
  madeVolume,
  readySnapshot,
  restoreWith,
  snapshotWith,
  storesWith,
  volumeWith,
} from "../disk-objects.ts";
import { hypervisorWith, lostHypervisor, readyCondition } from "../objects.ts";

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

const web = machineOf("web");
const stores = storesWith({
  machines: [web],
  snapshots: [
    readySnapshot(),
    snapshotWith(undefined, { name: "next" }),
    snapshotWith(undefined, { name: "of-api" }, { virtualMachine: "api" }),
    snapshotWith(undefined, { name: "elsewhere", namespace: "other" }),
  ],
  restores: [
    restoreWith(undefined),
    restoreWith(undefined, { name: "of-api" }, { virtualMachine: "api", snapshot: "before" }),
    restoreWith(undefined, { name: "later" }, { snapshot: "next" }),
  ],
});

describe("Snapshots that are concerned by a change", () => {
  test("of a snapshot or a restore are those of the same machine", () => {
    const ofSnapshot = snapshotsAfterSnapshot(stores, changeOf(undefined, readySnapshot()));
    const ofRestore = snapshotsAfterRestore(stores, changeOf(restoreWith(undefined), undefined));
    expect([namesOf(ofSnapshot), namesOf(ofRestore)]).toEqual([
      ["before", "next"],
      ["before", "next"],
    ]);
  });

  test.each([
    ["comes", undefined, web, ["before", "next"]],
    ["is deleted", web, machineOf("web", {}, { meta: DELETED }), ["before", "next"]],
    ["moves", web, machineOf("web", {}, { nodeName: "node-2" }), ["before", "next"]],
    [
      "says something else",
      web,
      machineOf("web", {}, { status: { conditions: [readyCondition("False", "Stopping")] } }),
      [],
    ],
  ])("of a machine that %s", (_, before, after, names) => {
    expect(namesOf(snapshotsAfterMachine(stores, changeOf(before, after)))).toEqual(names);
  });

  test("of a Volume are the one that it was being copied from, when that is over", () => {
    const allocation = { source: { snapshotUid: readySnapshot().metadata.uid } };
    const copying = volumeWith({}, {}, { nodeName: "node-1", allocation });
    const copied = madeVolume({ allocation });
    expect(namesOf(snapshotsAfterVolume(stores, changeOf(copying, copied)))).toEqual(["before"]);
    expect(namesOf(snapshotsAfterVolume(stores, changeOf(copied, copied)))).toEqual([]);
  });

  test("of a node are those on it and those that wait for its machines, when it is lost or back", () => {
    const after = snapshotsAfterHypervisor(stores, changeOf(hypervisorWith(), lostHypervisor()));
    expect(namesOf(after)).toEqual(["before", "next"]);
    expect(snapshotsAfterHypervisor(stores, changeOf(hypervisorWith(), hypervisorWith()))).toEqual([]);
  });
});

describe("Restores that are concerned by a change", () => {
  test("of a restore are those of the same machine", () => {
    const after = restoresAfterRestore(stores, changeOf(undefined, restoreWith(undefined)));
    expect(namesOf(after)).toEqual(["back", "later"]);
  });

  test("of a snapshot are those of the same machine, and those that name it", () => {
    const after = restoresAfterSnapshot(stores, changeOf(undefined, readySnapshot()));
    expect(namesOf(after)).toEqual(["back", "later", "of-api"]);
  });

  test("of a machine are those of one that comes, goes or moves", () => {
    expect(namesOf(restoresAfterMachine(stores, changeOf(web, undefined)))).toEqual(["back", "later"]);
    expect(restoresAfterMachine(stores, changeOf(web, web))).toEqual([]);
  });

  test("of a node are those that wait for its machines, when it is lost or back", () => {
    const after = restoresAfterHypervisor(stores, changeOf(lostHypervisor(), hypervisorWith()));
    expect(namesOf(after)).toEqual(["back", "later"]);
    expect(restoresAfterHypervisor(stores, changeOf(hypervisorWith(), hypervisorWith()))).toEqual([]);
  });
});

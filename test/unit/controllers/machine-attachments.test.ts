import { describe, expect, test } from "@jest/globals";
import { findCondition } from "../../../src/api/condition.ts";
import type { VirtualMachine } from "../../../src/api/virtual-machine.ts";
import type { CdromUse, VolumeUse } from "../../../src/controllers/virtual-machine/attachments.ts";
import { decideMachine } from "../../../src/controllers/virtual-machine/decide.ts";
import type { PlacedFacts } from "../../../src/controllers/virtual-machine/observe.ts";
import { agentsWords, carriedOut, placedFacts, statusOf, stepsOf, unplacedFacts } from "./machine-facts.ts";
import {
  allocationWith,
  cachedImage,
  guestOn,
  hypervisorWith,
  imageWith,
  machineWith,
  NOW,
  placedMachine,
  uidOf,
  volumeOf,
  volumeWith,
} from "./objects.ts";

const running = placedMachine(agentsWords());
const other = machineWith({}, { name: "other", uid: uidOf("other") });

const use = (volume: VolumeUse["volume"], isShared = false): VolumeUse => ({
  name: "data",
  volume,
  isShared,
});

const mine = (status: Parameters<typeof volumeOf>[2] = {}, spec = {}): VolumeUse =>
  use(volumeOf("data", running, status, spec));

const given = [{ name: "data", uid: uidOf("data") }];

const having = (volumes = given): VirtualMachine =>
  placedMachine({ ...agentsWords(), allocation: { ...allocationWith(), volumes } });

/** It has the pools local and nfs. */
const node = hypervisorWith({
  storagePools: [{ name: "nfs", shared: true, wipe: "None", capacityMiB: 1000, availableMiB: 500 }],
});

const outcomeOf = (machine: VirtualMachine, changes: Partial<PlacedFacts>) => {
  const decision = decideMachine(placedFacts(machine, node, changes), NOW);
  const after = carriedOut(machine, decision);
  const condition = findCondition(after.status?.conditions, "VolumesReady");
  const images = findCondition(after.status?.conditions, "ImageReady");
  return {
    writes: stepsOf(decision).length,
    volumes: after.status?.allocation?.volumes?.map(({ name }) => name) ?? [],
    cdroms: after.status?.allocation?.cdroms ?? [],
    volumesReady: condition && `${condition.reason}: ${condition.message}`,
    imageReady: images && `${images.reason}: ${images.message}`,
  };
};

describe("A machine on a node", () => {
  test.each<[string, VirtualMachine, readonly VolumeUse[], object]>([
    [
      "is given a Volume of its node",
      running,
      [mine({ nodeName: "node-1" })],
      { writes: 1, volumes: ["data"] },
    ],
    ["is given a Volume that no node has yet", running, [mine()], { volumes: ["data"] }],
    [
      "is given a Volume of another node that its own can read",
      running,
      [use(volumeOf("data", running, { nodeName: "node-2" }, { pool: "nfs" }), true)],
      { volumes: ["data"] },
    ],
    ["that has its Volumes is left in peace", having(), [mine({ nodeName: "node-1" })], { writes: 0 }],
    ["gives a Volume back that its spec does not name", having(), [], { writes: 1, volumes: [] }],
    [
      "waits for a Volume that does not exist",
      running,
      [use(undefined)],
      {
        writes: 1,
        volumes: [],
        volumesReady:
          "VolumeNotFound: Volume data does not exist in namespace default. Make it there, or take it out of spec.volumes.",
      },
    ],
    [
      "is told who has a Volume that it asks for",
      running,
      [use(volumeOf("data", other))],
      {
        volumes: [],
        volumesReady:
          "VolumeInUse: Volume data is in use by VirtualMachine other. Take it out of that machine's spec.volumes first, or take it out of spec.volumes.",
      },
    ],
    [
      "waits until a Volume is reserved for it",
      running,
      [use(volumeWith())],
      { volumes: [], volumesReady: expect.stringContaining("VolumeNotReserved: ") },
    ],
    [
      "is not given a Volume of another node",
      running,
      [mine({ nodeName: "node-2" })],
      {
        volumes: [],
        volumesReady:
          "VolumesOnDifferentNodes: Volume data is on node node-2, and the machine on node node-1. Name a Volume of that node, or take it out of spec.volumes.",
      },
    ],
    [
      "is not given a Volume in a storage pool that its node does not have",
      running,
      [mine({}, { pool: "fast" })],
      { volumes: [], volumesReady: expect.stringContaining("StoragePoolNotFound: ") },
    ],
    [
      "is not given a Volume that its node has no room for",
      running,
      [mine({}, { size: "99Gi" })],
      {
        volumes: [],
        volumesReady:
          "InsufficientCapacity: Node node-1 of the machine has too little disk free in storage pool local for the 101376 MiB of Volume data. Delete Volumes or machines of the node that are not needed, or take it out of spec.volumes.",
      },
    ],
    [
      "is given of two Volumes the first, when its node has no room for both",
      running,
      [
        mine({}, { size: "60Gi" }),
        {
          name: "more",
          volume: volumeOf("more", running, {}, { size: "60Gi" }),
          isShared: false,
        },
      ],
      { volumes: ["data"], volumesReady: expect.stringContaining("InsufficientCapacity: ") },
    ],
    [
      "is given a Volume that is on its node already, however full that is",
      running,
      [mine({ nodeName: "node-1" }, { size: "99Gi" })],
      { volumes: ["data"] },
    ],
    [
      "keeps the Volumes that it has when another one is missing",
      having(),
      [mine({ nodeName: "node-1" }), { name: "more", volume: undefined, isShared: false }],
      { volumes: ["data"], volumesReady: expect.stringContaining("VolumeNotFound: Volume more") },
    ],
    [
      "keeps a Volume while it is not known whom that is reserved for, or where it is",
      having(),
      [use(volumeWith({ pool: "fast" }, {}, { nodeName: "node-9" }))],
      { writes: 0, volumes: ["data"] },
    ],
    [
      "loses a Volume that is another machine's",
      having(),
      [use(volumeOf("data", other))],
      { volumes: [], volumesReady: expect.stringContaining("VolumeInUse: ") },
    ],
    [
      "is not given another Volume of the name in place of the one that it has",
      having([{ name: "data", uid: uidOf("earlier") }]),
      [use(volumeWith())],
      { volumes: [], volumesReady: expect.stringContaining("VolumeNotReserved: ") },
    ],
  ])("%s", (_, machine, volumes, expected) => {
    expect(outcomeOf(machine, { volumes })).toMatchObject(expected);
  });

  test("tells that its guest does not let go of a Volume, and when it has", () => {
    const guest = {
      ...guestOn(),
      volumes: [{ ...given[0], name: "data", uid: uidOf("data"), state: "Detaching" as const }],
    };
    const holding = placedMachine({ ...agentsWords(), guest });
    expect(outcomeOf(holding, {})).toMatchObject({
      writes: 1,
      volumesReady:
        "DetachPending: The guest was asked to let go of Volume data and has not done so yet. Should it take long, unmount in the guest what is on it, or restart the guest.",
    });
    const told = carriedOut(holding, decideMachine(placedFacts(holding, hypervisorWith()), NOW));
    const free = { ...told, status: { ...told.status, guest: guestOn() } };
    expect(outcomeOf(free, {}).volumesReady).toBe("Valid: All volumes that are named are the machine's.");
  });

  test("says nothing of volumes when it never had any", () => {
    expect(outcomeOf(running, {})).toMatchObject({ writes: 0, volumesReady: undefined });
  });
});

const iso = imageWith({ format: "raw" }, { name: "installer", uid: uidOf("installer") });
const cdrom = (changes: Partial<CdromUse> = {}): CdromUse => ({
  name: "installer",
  image: iso,
  reports: [],
  ...changes,
});
const inserted = carriedOut(
  running,
  decideMachine(placedFacts(running, hypervisorWith(), { cdroms: [cdrom()] }), NOW),
);

describe("A CD-ROM", () => {
  test("is put in while the machine is on its node, in one write", () => {
    expect(outcomeOf(running, { cdroms: [cdrom()] })).toMatchObject({
      writes: 1,
      cdroms: [{ name: "installer", uid: uidOf("installer"), format: "raw" }],
    });
    expect(outcomeOf(inserted, { cdroms: [cdrom()] })).toMatchObject({ writes: 0 });
  });

  test.each<[string, CdromUse, string]>([
    [
      "waits for its Image",
      cdrom({ image: undefined }),
      "CdromNotFound: spec.cdroms: Image installer does not exist in namespace default. Make it there.",
    ],
    [
      "is not made of an Image of another format",
      cdrom({ image: imageWith({ format: "qcow2" }, { name: "installer" }) }),
      "CdromFormat: spec.cdroms: Image installer has format qcow2, and a CD-ROM is an image of format raw. Name another image.",
    ],
    [
      "is not made of an Image that a node refused for what it is",
      cdrom({
        reports: [
          {
            node: "node-2",
            image: cachedImage({ state: "Failed", reason: "ChecksumMismatch", message: "It differs." }),
          },
        ],
      }),
      "ChecksumMismatch: spec.cdroms: Image installer was refused by node node-2: It differs. Name another image.",
    ],
  ])("%s", (_, wanted, expected) => {
    expect(outcomeOf(running, { cdroms: [wanted] })).toMatchObject({ cdroms: [], imageReady: expected });
  });

  test("stays what it is when its Image is deleted, and becomes another with another Image of the name", () => {
    expect(outcomeOf(inserted, { cdroms: [cdrom({ image: undefined })] })).toMatchObject({ writes: 0 });
    const another = imageWith({ format: "raw" }, { name: "installer", uid: uidOf("another") });
    expect(outcomeOf(inserted, { cdroms: [cdrom({ image: another })] })).toMatchObject({
      writes: 1,
      cdroms: [{ uid: uidOf("another") }],
    });
  });

  test("is taken out when the spec does not name it", () => {
    expect(outcomeOf(inserted, {})).toMatchObject({ writes: 1, cdroms: [] });
  });
});

test("a machine that is placed is given its Volumes and CD-ROMs with the same write", () => {
  const machine = machineWith();
  const volumes = [use(volumeOf("data", machine))];
  const decision = decideMachine(unplacedFacts({ machine, volumes, cdroms: [cdrom()] }), NOW);
  expect(stepsOf(decision)).toEqual(["add-finalizer", "apply-status", "Normal Scheduled"]);
  expect(statusOf(decision).allocation).toMatchObject({ volumes: given, cdroms: [{ name: "installer" }] });
});

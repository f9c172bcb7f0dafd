import { afterAll, beforeAll, describe, expect, test } from "@jest/globals";

import { virtualMachines } from "../../src/api/virtual-machine.ts";
import { MERGE_PATCH, refusalOf, type Reply } from "./support/api-client.ts";
import { create, startTestCluster, type TestCluster } from "./support/cluster.ts";
import { type JsonObject, mergePatch, validManifest } from "./support/manifests.ts";
import { type BadSpec, outcomeOf, tryToCreate } from "./support/refusals.ts";

/** What a user may get wrong about a machine's size, hardware and addresses. Every refusal must name the field. */

let cluster: TestCluster;

beforeAll(async () => {
  cluster = await startTestCluster();
});

afterAll(() => cluster.stop());

const XML = "a'/><script>";

/** Of a good machine without what lays out its CPUs. */
const free = (patch: JsonObject): JsonObject => ({ cpu: null, ...patch });

const bad: readonly BadSpec[] = [
  ["no flavor, and virtual CPUs and memory alone", { flavor: null, disk: null }, "spec.flavor"],
  ["no flavor, and memory and disk alone", free({ flavor: null, vcpus: null }), "spec.flavor"],
  ["neither an image nor a source", { image: null }, "spec.image"],
  ["an image and a source", { source: { virtualMachine: "golden" } }, "spec.image"],
  ["a source of no kind", { image: null, source: {} }, "spec.source"],
  [
    "an image's namespace without an image",
    { image: null, source: { volume: "golden" }, imageNamespace: "base" },
    "spec.imageNamespace",
  ],
  ["an image's namespace that is a path", { imageNamespace: "../base" }, "spec.imageNamespace"],
  ["no virtual CPUs", free({ vcpus: 0 }), "spec.vcpus"],
  ["room for fewer virtual CPUs than it has", free({ maxVcpus: 1 }), "spec.maxVcpus"],
  ["room for 257 virtual CPUs", free({ maxVcpus: 257 }), "spec.maxVcpus"],
  ["room for less memory than it has", { maxMemory: "256Mi" }, "spec.maxMemory"],
  ["memory as a bare number", { memory: 512 }, "spec.memory"],
  ["memory that is not a whole number of MiB", { memory: "600M" }, "spec.memory"],
  ["a disk with a fraction", { disk: "1.5Gi" }, "spec.disk"],
  ["a layout of other CPUs than it has room for", { maxVcpus: 8 }, "spec.cpu.topology"],
  ["three threads of a core", { cpu: { topology: { threads: 3 } } }, "spec.cpu.topology.threads"],
  ["a processor model with XML in it", { cpu: { model: XML } }, "spec.cpu.model"],
  ["huge pages of a size that does not exist", { hugePages: { pageSize: "4Mi" } }, "spec.hugePages.pageSize"],
  ["a screen by a protocol that does not exist", { graphics: ["RDP"] }, "spec.graphics[0]"],
  ["a screen by the same protocol twice", { graphics: ["VNC", "VNC"] }, "spec.graphics"],
  [
    "an address that is a block",
    { networks: [{ name: "a", address: "10.0.0.0/28" }] },
    "spec.networks[0].address",
  ],
  ["an address of IPv6", { networks: [{ name: "a", address: "fd00::5" }] }, "spec.networks[0].address"],
  [
    "an address with zeros in front",
    { networks: [{ name: "a", address: "10.0.0.05" }] },
    "spec.networks[0].address",
  ],
  ["five CD-ROMs", { cdroms: Array.from({ length: 5 }, (_, i) => ({ image: `i${i}` })) }, "spec.cdroms"],
  ["a CD-ROM that is a path", { cdroms: [{ image: "../iso" }] }, "spec.cdroms[0].image"],
  ["a place in the boot order before the first", { rootDisk: { bootOrder: 0 } }, "spec.rootDisk.bootOrder"],
  ["a device of the node", { hostDevices: [{ name: "0000:01:00.0" }] }, "spec.hostDevices"],
];

test.each(bad)("a machine is refused with %s", async (_sentence, patch, field) => {
  const manifest = mergePatch(validManifest(virtualMachines, "bad"), { spec: patch });
  expect(outcomeOf(await tryToCreate(cluster, virtualMachines, manifest), field)).toBe(
    `refused for ${field}`,
  );
});

test.each<[string, JsonObject]>([
  ["a size of its own, without a flavor", { flavor: null }],
  ["a copy of a machine's disk", { image: null, source: { virtualMachine: "golden" } }],
  ["an image of another namespace", { imageNamespace: "base" }],
  [
    "a layout that gives only its sockets",
    { maxVcpus: 2, cpu: { topology: { sockets: 2, cores: null, threads: null } } },
  ],
  ["eight networks", { networks: Array.from({ length: 8 }, (_, i) => ({ name: `n${i}` })) }],
  ["no screen", { graphics: [] }],
])("a machine is taken with %s", async (_sentence, patch) => {
  const manifest = mergePatch(validManifest(virtualMachines, "good"), { spec: patch });
  expect(refusalOf(await tryToCreate(cluster, virtualMachines, manifest))).toBeUndefined();
});

describe("after a machine was made", () => {
  beforeAll(async () => {
    await create(cluster, virtualMachines, validManifest(virtualMachines, "fixed"));
  });

  const tryToChange = (patch: JsonObject): Promise<Reply> =>
    cluster.administrator.call({
      method: "PATCH",
      path: `${cluster.pathOf(virtualMachines, "fixed")}?dryRun=All`,
      contentType: MERGE_PATCH,
      body: { spec: patch },
    });

  test.each<[string, JsonObject, string]>([
    ["a smaller disk", { disk: "10239Mi" }, "spec.disk"],
    ["another address", { networks: [{ name: "default", address: "10.0.0.6" }] }, "spec.networks"],
    ["one network more", { networks: [{ name: "default" }, { name: "other" }] }, "spec.networks"],
    ["the image's namespace", { imageNamespace: "base" }, "spec.imageNamespace"],
    ["a source in place of its image", { image: null, source: { snapshot: "before" } }, "spec.source"],
    ["another storage pool for its root disk", { rootDisk: { pool: "local" } }, "spec.rootDisk.pool"],
  ])("it does not take %s", async (_sentence, patch, field) => {
    expect(outcomeOf(await tryToChange(patch), field)).toBe(`refused for ${field}`);
  });

  test.each<[string, JsonObject]>([
    ["more virtual CPUs", { vcpus: 3 }],
    ["fewer virtual CPUs", { vcpus: 1 }],
    ["less memory", { memory: "256Mi" }],
    ["the flavor's size in place of its own", { vcpus: null, memory: null }],
    ["another processor and no layout", { cpu: { model: "EPYC-Rome", topology: null }, maxVcpus: 16 }],
    ["a larger disk", { disk: "20Gi" }],
  ])("it takes %s", async (_sentence, patch) => {
    expect(refusalOf(await tryToChange(patch))).toBeUndefined();
  });
});

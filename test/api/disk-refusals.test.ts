import { afterAll, beforeAll, describe, expect, test } from "@jest/globals";

import { images } from "../../src/api/image.ts";
import type { CustomResource } from "../../src/api/kind.ts";
import { virtualMachineRestores } from "../../src/api/virtual-machine-restore.ts";
import { virtualMachineSnapshots } from "../../src/api/virtual-machine-snapshot.ts";
import { virtualMachines } from "../../src/api/virtual-machine.ts";
import { volumes } from "../../src/api/volume.ts";
import { MERGE_PATCH, refusalOf, type Reply } from "./support/api-client.ts";
import { create, startTestCluster, type TestCluster } from "./support/cluster.ts";
import { type JsonObject, mergePatch, validManifest } from "./support/manifests.ts";
import { type BadSpec, outcomeOf, tryToCreate } from "./support/refusals.ts";

/** What a user may get wrong about disks. Every refusal must name the field. */

let cluster: TestCluster;

beforeAll(async () => {
  cluster = await startTestCluster();
});

afterAll(() => cluster.stop());

const TRAVERSAL = "../../etc/passwd";
const UID = "145484f2-8d1a-4016-aef2-d8fe7e21ccff";
/** In place of the snapshot that a good Volume starts as. */
const from = (source: JsonObject): JsonObject => ({ source: { snapshot: null, disk: null, ...source } });

const badVolumes: readonly BadSpec[] = [
  ["no size", { size: null }, "spec.size"],
  ["a size that is a number", { size: 1_073_741_824 }, "spec.size"],
  ["a size of less than 1Mi", { size: "512Ki" }, "spec.size"],
  ["a size that is no whole number of MiB", { size: "1G" }, "spec.size"],
  ["a size of 65Ti", { size: "65Ti" }, "spec.size"],
  ["a pool that is a path", { pool: TRAVERSAL }, "spec.pool"],
  ["a pool with a dot", { pool: "nfs.example" }, "spec.pool"],
  ["an empty source", from({}), "spec.source"],
  ["two sources", { source: { volume: "golden" } }, "spec.source"],
  [
    "a source of another kind",
    { source: { snapshot: null, disk: null, url: "http://a/" } },
    "spec.source.url",
  ],
  [
    "an image's namespace without an image",
    { source: { imageNamespace: "base" } },
    "spec.source.imageNamespace",
  ],
  ["a disk of no snapshot", { source: { snapshot: null, volume: "golden" } }, "spec.source.disk"],
  ["a retained disk that is a path", from({ retained: TRAVERSAL }), "spec.source.retained"],
  ["a retained disk by a name", from({ retained: "data" }), "spec.source.retained"],
  ["a policy that does not exist", { deletionPolicy: "Recycle" }, "spec.deletionPolicy"],
];

const badSnapshots: readonly BadSpec[] = [
  ["no machine", { virtualMachine: null }, "spec.virtualMachine"],
  ["a machine that is a path", { virtualMachine: TRAVERSAL }, "spec.virtualMachine"],
  ["memory in a word", { includeMemory: "yes" }, "spec.includeMemory"],
  ["a way to quiesce that does not exist", { quiesce: "Always" }, "spec.quiesce"],
];

const badRestores: readonly BadSpec[] = [
  ["no machine", { virtualMachine: null }, "spec.virtualMachine"],
  ["no snapshot", { snapshot: null }, "spec.snapshot"],
  ["nothing said of the power", { powerState: null }, "spec.powerState"],
  ["a power state that does not exist", { powerState: "Off" }, "spec.powerState"],
];

const badMachines: readonly BadSpec[] = [
  ["a Volume called root", { volumes: [{ name: "root" }] }, "spec.volumes[0].name"],
  ["a Volume named twice", { volumes: [{ name: "data" }, { name: "data" }] }, "spec.volumes[1]"],
  ["17 Volumes", { volumes: Array.from({ length: 17 }, (_, i) => ({ name: `v${i}` })) }, "spec.volumes"],
  [
    "a Volume on a bus that does not exist",
    { volumes: [{ name: "data", bus: "IDE" }] },
    "spec.volumes[0].bus",
  ],
  ["an image and a source", { source: { snapshot: "before" } }, "spec"],
  ["two sources", { image: null, source: { snapshot: "before", volume: "data" } }, "spec.source"],
  ["a root disk in a pool that is a path", { rootDisk: { pool: TRAVERSAL } }, "spec.rootDisk.pool"],
  ["a device of the node", { hostDevices: [{ name: "0000:01:00.0" }] }, "spec.hostDevices"],
];

const badImages: readonly BadSpec[] = [
  ["a visibility that does not exist", { visibility: "Everybody" }, "spec.visibility"],
  ["namespaces that it is not shared with", { visibility: "Private" }, "spec.sharedWith"],
  ["a namespace that is a path", { sharedWith: [TRAVERSAL] }, "spec.sharedWith[0]"],
  ["a machine beside the url", { source: { virtualMachine: "golden" } }, "spec.source"],
  ["a compression of a machine's disk", { source: { url: null, virtualMachine: "golden" } }, "spec.format"],
];

const badSpecs: readonly (readonly [CustomResource, readonly BadSpec[]])[] = [
  [volumes, badVolumes],
  [virtualMachineSnapshots, badSnapshots],
  [virtualMachineRestores, badRestores],
  [virtualMachines, badMachines],
  [images, badImages],
];

describe.each(badSpecs.map(([resource, rows]) => [resource.kind, resource, rows] as const))(
  "a %s is refused with",
  (_kind, resource, rows) => {
    test.each(rows)("%s", async (_sentence, patch, field) => {
      const manifest = mergePatch(validManifest(resource, "bad"), { spec: patch });
      expect(outcomeOf(await tryToCreate(cluster, resource, manifest), field)).toBe(`refused for ${field}`);
    });
  },
);

describe("a Volume is taken that starts as", () => {
  test.each<[string, JsonObject]>([
    ["nothing", { source: null }],
    ["an image", from({ image: "debian" })],
    ["an image of another namespace", from({ image: "debian", imageNamespace: "base" })],
    ["a machine's root disk in a snapshot", { source: { disk: null } }],
    ["another Volume", from({ volume: "golden" })],
    ["the data of a deleted one", from({ retained: UID })],
  ])("%s", async (_sentence, patch) => {
    const manifest = mergePatch(validManifest(volumes, "good"), { spec: patch });
    expect(refusalOf(await tryToCreate(cluster, volumes, manifest))).toBeUndefined();
  });
});

const forbiddenChanges: readonly (readonly [CustomResource, string, JsonObject, string])[] = [
  [volumes, "a smaller size", { size: "10239Mi" }, "spec.size"],
  [volumes, "another pool", { pool: "local" }, "spec.pool"],
  [volumes, "another source", { source: { snapshot: "after" } }, "spec.source"],
  [volumes, "no source any more", { source: null }, "spec.source"],
  [virtualMachineSnapshots, "another machine", { virtualMachine: "api" }, "spec"],
  [virtualMachineSnapshots, "memory left out", { includeMemory: false }, "spec"],
  [virtualMachineRestores, "another snapshot", { snapshot: "after" }, "spec"],
  [virtualMachineRestores, "another power state", { powerState: "Halted" }, "spec"],
  [virtualMachines, "a smaller root disk", { disk: "9Gi" }, "spec.disk"],
  [virtualMachines, "a root disk in another pool", { rootDisk: { pool: "local" } }, "spec.rootDisk.pool"],
  [virtualMachines, "a TPM less", { tpm: false }, "spec.tpm"],
  [images, "another format", { format: "raw" }, "spec.format"],
];

const allowedChanges: readonly (readonly [CustomResource, string, JsonObject])[] = [
  [volumes, "a larger size", { size: "11Gi" }],
  [volumes, "the same size in another unit", { size: "10240Mi" }],
  [volumes, "another deletion policy", { deletionPolicy: "Delete" }],
  [virtualMachines, "other Volumes", { volumes: [{ name: "logs" }] }],
  [virtualMachines, "no Volumes any more", { volumes: [] }],
  [virtualMachines, "other CD-ROMs", { cdroms: [{ image: "drivers" }] }],
  [virtualMachines, "a larger root disk", { disk: "11Gi" }],
  [images, "others to share it with", { sharedWith: ["shop", "blog"] }],
  [images, "all to share it with", { visibility: "Public", sharedWith: [] }],
];

const tryToChange = (resource: CustomResource, patch: JsonObject): Promise<Reply> =>
  cluster.administrator.call({
    method: "PATCH",
    path: `${cluster.pathOf(resource, "fixed")}?dryRun=All`,
    contentType: MERGE_PATCH,
    body: { spec: patch },
  });

describe("after it was made", () => {
  beforeAll(async () => {
    for (const [kind] of badSpecs) await create(cluster, kind, validManifest(kind, "fixed"));
  });

  test.each(forbiddenChanges.map(([kind, ...row]) => [kind.kind, row[0], kind, row] as const))(
    "a %s does not take %s",
    async (_kind, _sentence, resource, [, patch, field]) => {
      expect(outcomeOf(await tryToChange(resource, patch), field)).toBe(`refused for ${field}`);
    },
  );

  test.each(allowedChanges.map(([kind, ...row]) => [kind.kind, row[0], kind, row] as const))(
    "a %s takes %s",
    async (_kind, _sentence, resource, [, patch]) => {
      expect(refusalOf(await tryToChange(resource, patch))).toBeUndefined();
    },
  );
});

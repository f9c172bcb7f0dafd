import { readdir } from "node:fs/promises";
import { join } from "node:path";

import { afterAll, beforeAll, describe, expect, test } from "@jest/globals";

import { volumes } from "../../src/api/volume.ts";
import { waitFor } from "../testbed/wait.ts";
import { type DataRun, startDataRun } from "./support/data/data-run.ts";
import { MACHINE, removeSnapshots } from "./support/data/operations.ts";
import { ROOT_SLOTS } from "./support/data/plan.ts";
import { guestLeftovers } from "./support/leftovers.ts";
import { guestOf } from "./support/guest.ts";
import { manifests } from "./support/manifests.ts";
import { choicesFrom } from "./support/random.ts";
import { isReady, NAMESPACE, type Stage, startStage } from "./support/stage.ts";

/**
 * What was written is what is read. A guest writes blocks with checksums to its
 * root disk and two volumes all the time, while at random snapshots are taken,
 * gone back to and deleted, volumes come, grow and go, processors and memory
 * change, the machine moves to and fro, and agents, controller, libvirtds and
 * the guest's QEMU are killed in the middle of that. An oracle says what must
 * be on the disks: support/data/oracle.ts.
 *
 * The choices of `make test` are the same each time, so that a change is judged by
 * what it changes; the moments are not. It makes five sequences, since twenty take
 * ten minutes. `make data` makes others, and more of them; VIREO_DATA_SEED repeats
 * those of a run.
 */
const SEQUENCES = Number(process.env["VIREO_DATA_SEQUENCES"] ?? 5);
const SEED = Number(process.env["VIREO_DATA_SEED"] ?? 2);
const VOLUMES = ["one", "two"] as const;
const VOLUME_MIB = 64;

let stage: Stage;
let run: DataRun;
const choices = choicesFrom(SEED);
const startedAt = Date.now();
const say = (text: string): void =>
  void process.stderr.write(`data: ${((Date.now() - startedAt) / 1000).toFixed(1)} s: ${text}\n`);

beforeAll(async () => {
  stage = await startStage({ nodes: 2 });
  await stage.applyBasics();
  await stage.apply(
    ...VOLUMES.map((name) => manifests.volume(name, { size: `${VOLUME_MIB}Mi` })),
    manifests.machine(MACHINE, {
      flavor: undefined,
      vcpus: 1,
      maxVcpus: 2,
      memory: "128Mi",
      maxMemory: "256Mi",
      disk: "1Gi",
      terminationGracePeriodSeconds: 0,
      volumes: VOLUMES.map((name) => ({ name })),
    }),
  );
  await stage.untilStatus(MACHINE, "Running");
  const guest = await guestOf(stage, MACHINE);
  await guest.untilBooted();
  const volumeUids = new Map<string, string>();
  for (const name of VOLUMES) volumeUids.set(name, (await stage.until(volumes, name, isReady)).metadata.uid);
  const nodeName = guest.node.name;
  const world = {
    nodeName,
    nodeNames: stage.testbed.nodes.map((node) => node.name),
    vcpus: 1,
    memoryMiB: 128,
    volumes: VOLUMES.map((name) => ({ name, sizeMiB: VOLUME_MIB, attached: true, nodeName })),
    snapshots: [],
  };
  run = await startDataRun({ stage, choices, world, volumeUids, say });
}, 300_000);

afterAll(() => stage.stop(), 60_000);

/** The layers that a node has, by disk. */
const layersOn = async (stateDirectory: string): Promise<ReadonlyMap<string, readonly string[]>> => {
  const disks = new Map<string, readonly string[]>();
  for (const kind of ["disks", "volumes"]) {
    for (const uid of await readdir(join(stateDirectory, kind))) {
      const directory = join(stateDirectory, kind, uid);
      const layers = (await readdir(directory)).filter((name) => name.endsWith(".qcow2"));
      disks.set(
        uid,
        layers.map((name) => join("/var/lib/vireo", kind, uid, name)),
      );
    }
  }
  return disks;
};

interface Check {
  readonly corruptions?: number;
  readonly "check-errors": number;
}

describe(`${SEQUENCES} random sequences of snapshot, restore, hot-plug, resize, migrate and kill -9, seed ${SEED}`, () => {
  test(
    "leave on every disk what was written, at every moment",
    async () => {
      say(`seed ${SEED}, ${SEQUENCES} sequences`);
      for (let index = 0; index < SEQUENCES; index += 1) {
        say(`sequence ${index + 1}`);
        expect(await run.sequence(3 + choices.integer(2))).toBeGreaterThanOrEqual(ROOT_SLOTS);
      }
      say(run.tally());
    },
    90_000 + 60_000 * SEQUENCES,
  );

  test("leave one sound file of each disk when the snapshots are deleted", async () => {
    await removeSnapshots(stage, ...run.world().snapshots.map(({ name }) => name));
    await run.verify();
    await stage.patchMachine(MACHINE, { runStrategy: "Halted" });
    await stage.untilStatus(MACHINE, "Stopped");
    for (const node of stage.testbed.nodes) {
      const disks = await layersOn(node.stateDirectory);
      for (const layers of disks.values()) {
        expect(layers).toHaveLength(1);
        for (const layer of layers) {
          // A guest that was killed may have left clusters that nobody uses: an exit status of 3.
          const said = await node.run([
            "sh",
            "-c",
            `qemu-img check --output=json -f qcow2 ${layer} || [ $? = 3 ]`,
          ]);
          expect(JSON.parse(said) as Check).toMatchObject({ "check-errors": 0 });
          expect((JSON.parse(said) as Check).corruptions ?? 0).toBe(0);
        }
      }
    }
  }, 240_000);

  test("leave nothing over when machine and volumes are deleted", async () => {
    await stage.deleteMachines(MACHINE);
    const { signal } = new AbortController();
    for (const name of VOLUMES) {
      await stage.api.delete(volumes, { namespace: NAMESPACE, name }, { signal });
      await waitFor(`the end of volume ${name}`, async () => (await stage.read(volumes, name)) === undefined);
    }
    for (const { name, stateDirectory } of stage.testbed.nodes) {
      expect((await layersOn(stateDirectory)).size).toBe(0);
      await waitFor(`nothing is left on ${name}`, async () => {
        expect(await guestLeftovers(stage.testbed, name)).toEqual([]);
        return true;
      });
    }
  }, 120_000);
});

import { createHash, randomBytes } from "node:crypto";
import { chmod, type FileHandle, mkdtemp, readdir, rm } from "node:fs/promises";
import { join } from "node:path";

import { afterAll, beforeAll, describe, expect, test } from "@jest/globals";

import { images } from "../../src/api/image.ts";
import { subresourcePath } from "../../src/api/subresources.ts";
import { virtualMachines } from "../../src/api/virtual-machine.ts";
import { virtualMachineSnapshots } from "../../src/api/virtual-machine-snapshot.ts";
import { volumes } from "../../src/api/volume.ts";
import { waitFor } from "../testbed/wait.ts";
import { contentOf, filesWith, openLayers } from "./support/disk-files.ts";
import { type Guest, guestOf } from "./support/guest.ts";
import { guestDisk } from "./support/guest-disk.ts";
import { expectLeftovers } from "./support/leftovers.ts";
import { manifests } from "./support/manifests.ts";
import { conditionOf, isReady, NAMESPACE, type Place, startStage, type Stage } from "./support/stage.ts";

/**
 * A walk through all that is done with machines, from creation to termination,
 * each step seen from inside the guests by ssh. Every kind of step has its own
 * suite for what can happen on the way: lifecycle, consoles, cli, volumes,
 * snapshots and changes.
 */

const BOOT_MS = 300_000;
const NO_BOOT_MS = 120_000;
const TENANT = "tenant";
const MiB = 2 ** 20;
const ROOT_MIB = 96;
const VOLUME_MIB = 32;
/** Guests that a test is done with need not be asked to end. */
const atOnce = { terminationGracePeriodSeconds: 0 };
const small = { vcpus: 1, maxVcpus: 2, memory: "128Mi", maxMemory: "256Mi", disk: `${ROOT_MIB}Mi` };

let stage: Stage;
let tenant: Place;
/** The storage pools by how what is deleted in them is wiped. */
let pools: { readonly zeroed: string; readonly discarded: string };
let main: Guest;
/** What the node holds when there is no machine. */
let nothing: readonly string[];

const { signal } = new AbortController();

const uidOf = async (name: string, at: Place = stage): Promise<string> =>
  (await at.until(volumes, name, isReady)).metadata.uid;

const diskOf = async (guest: Guest, volume: string, at: Place = stage) =>
  guestDisk(guest, await uidOf(volume, at));

const settled = (name: string) =>
  stage.until(
    virtualMachines,
    name,
    (machine) => isReady(machine) && machine.status?.observedGeneration === machine.metadata.generation,
  );

/** A guest that has just been made, when it can be worked with. */
const untilUp = async (name: string, at: Place = stage): Promise<Guest> => {
  await at.untilStatus(name, "Running");
  const guest = await guestOf(at, name);
  await guest.untilSaid(new RegExp(`vireo-guest ready hostname=${name} `));
  return guest;
};

/** What a guest takes itself for. All of it must be another one's in another machine. */
const identityOf = async (guest: Guest): Promise<readonly string[]> =>
  (
    await guest.run(
      "hostname; cat /var/lib/cloud/instance-id /sys/class/net/eth0/address /sys/class/dmi/id/product_uuid; sha256sum </etc/dropbear/host_key",
    )
  )
    .trim()
    .split("\n");

const memoryMiB = async (guest: Guest): Promise<number> =>
  Number((await guest.run("grep MemTotal /proc/meminfo")).replaceAll(/\D/g, "")) / 1024;

beforeAll(async () => {
  const makePool = async (): Promise<string> => {
    const path = await mkdtemp("/var/tmp/vireo-pool-");
    await chmod(path, 0o711);
    return path;
  };
  pools = { zeroed: await makePool(), discarded: await makePool() };
  stage = await startStage({
    nodes: 1,
    agentFlags: () => [
      `--storage-pool=zeroed=${pools.zeroed},wipe=zero`,
      `--storage-pool=discarded=${pools.discarded},wipe=discard`,
    ],
  });
  nothing = await stage.testbed.leftovers("node-1");
  tenant = await stage.inNamespace(TENANT);
  await stage.applyBasics();
  await tenant.applyBasics();
  await stage.apply(
    manifests.flavor("small", small),
    manifests.flavor("large", { vcpus: 2, memory: "256Mi", disk: "128Mi" }),
    // As large a disk as the large one has: disks do not shrink.
    manifests.flavor("slim", { ...small, disk: "128Mi" }),
  );
}, 300_000);

afterAll(async () => {
  await stage.stop();
  for (const path of Object.values(pools)) await rm(path, { recursive: true, force: true });
}, 60_000);

describe("a machine is made", () => {
  test(
    "from an image, starts, and is as large as its flavor says",
    async () => {
      await stage.apply(
        manifests.machine("main", { ...atOnce, flavor: "small", graphics: ["VNC", "SPICE"] }),
      );
      main = await untilUp("main");
      expect(await main.run("hostname; nproc; cat /sys/block/vda/size")).toBe(
        `main\n1\n${(ROOT_MIB * MiB) / 512}\n`,
      );
      expect(await memoryMiB(main)).toBeLessThan(128);
      const line = await stage.testbed.kubectl(["get", "vm", "main", "-o", "wide", "-n", NAMESPACE]);
      expect(line).toMatch(new RegExp(`main +Running +True +node-1 +${main.address} +small `));
    },
    BOOT_MS,
  );

  test(
    "is given a disk while it runs",
    async () => {
      await stage.apply(manifests.volume("data", { size: `${VOLUME_MIB}Mi` }));
      await stage.patchMachine("main", { volumes: [{ name: "data" }] });
      await settled("main");
      const data = await diskOf(main, "data");
      expect(await data.sizeMiB()).toBe(VOLUME_MIB);
      const written = await data.write(2);
      expect(await data.read(2)).toBe(written);
    },
    NO_BOOT_MS,
  );
});

describe("of a machine that runs there is", () => {
  let before: string;
  let after: string;
  let identity: readonly string[];

  // All three boot at the same time.
  beforeAll(async () => {
    const data = await diskOf(main, "data");
    identity = await identityOf(main);
    before = await data.write(2);
    await main.run("echo before >/root/word; sync");
    await stage.apply(manifests.snapshot("moment", "main"));
    await stage.until(virtualMachineSnapshots, "moment", isReady);
    after = await data.write(2);
    await main.run("echo after >/root/word; sync");
    await stage.apply(
      manifests.image("golden", { source: { virtualMachine: "main" } }),
      manifests.volume("twin-data", { size: `${VOLUME_MIB}Mi`, source: { volume: "data" } }),
      manifests.machine("twin", {
        ...atOnce,
        flavor: "small",
        image: undefined,
        source: { virtualMachine: "main" },
        volumes: [{ name: "twin-data" }],
      }),
      manifests.volume("chosen-data", {
        size: `${VOLUME_MIB}Mi`,
        pool: "zeroed",
        source: { snapshot: "moment", disk: "data" },
      }),
      manifests.machine("chosen", {
        ...atOnce,
        flavor: "large",
        image: undefined,
        source: { snapshot: "moment" },
        rootDisk: { pool: "zeroed" },
        volumes: [{ name: "chosen-data", bus: "SCSI" }],
      }),
    );
    await tenant.apply(
      manifests.volume("heir-data", { size: `${VOLUME_MIB}Mi`, pool: "discarded" }),
      manifests.machine("heir", {
        ...atOnce,
        flavor: "small",
        image: "golden",
        imageNamespace: NAMESPACE,
        rootDisk: { pool: "discarded" },
        volumes: [{ name: "heir-data" }],
      }),
    );
  }, NO_BOOT_MS);

  test(
    "an image, which another namespace cannot use before it is shared with it",
    async () => {
      await stage.until(images, "golden", isReady);
      const refused = await tenant.until(
        virtualMachines,
        "heir",
        (machine) => conditionOf(machine, "Ready")?.reason === "ImageNotFound",
      );
      expect(refused.status?.nodeName).toBeUndefined();
      await stage.api.mergePatch(
        images,
        { namespace: NAMESPACE, name: "golden" },
        { spec: { visibility: "Shared", sharedWith: [TENANT] } },
        { signal },
      );
      const heir = await untilUp("heir", tenant);
      expect(await heir.run("cat /root/word")).toBe("after\n");
    },
    BOOT_MS,
  );

  test(
    "a clone: its data of now in another machine, which is its own",
    async () => {
      const twin = await untilUp("twin");
      expect(await twin.run("cat /root/word")).toBe("after\n");
      expect(await (await diskOf(twin, "twin-data")).read(2)).toBe(after);
      for (const [index, part] of (await identityOf(twin)).entries()) expect(part).not.toBe(identity[index]);
      await twin.run("echo twin >/root/word; sync");
      expect(await main.run("cat /root/word")).toBe("after\n");
      expect(await identityOf(main)).toEqual(identity);
    },
    BOOT_MS,
  );

  test(
    "a snapshot, restored with another name, configuration and storage",
    async () => {
      const chosen = await untilUp("chosen");
      expect(await chosen.run("cat /root/word; hostname; nproc; cat /sys/block/vda/size")).toBe(
        `before\nchosen\n2\n${(128 * MiB) / 512}\n`,
      );
      expect(await memoryMiB(chosen)).toBeGreaterThan(160);
      const data = await diskOf(chosen, "chosen-data");
      expect(await data.untilThere()).toMatch(/^sd/);
      expect(await data.read(2)).toBe(before);
      for (const [index, part] of (await identityOf(chosen)).entries())
        expect(part).not.toBe(identity[index]);
      expect(await readdir(join(pools.zeroed, "disks"))).toEqual([chosen.vmUid]);
      expect(await readdir(join(pools.zeroed, "volumes"))).toEqual([await uidOf("chosen-data")]);
    },
    BOOT_MS,
  );
});

describe("a machine gets another size", () => {
  /** The tiny guest has nobody who switches on what is new. */
  const switchOn = "for one in /sys/devices/system/cpu/cpu*/online; do echo 1 >$one; done; nproc";
  /** What of its 128 MiB its kernel leaves. */
  let before: number;

  const untilMemory = (isRight: (sizeMiB: number) => boolean): Promise<true> =>
    waitFor(`memory beside ${before} MiB: ${isRight.toString()}`, async () => {
      const sizeMiB = await memoryMiB(main);
      return isRight(sizeMiB) || Promise.reject(new Error(`${sizeMiB} MiB`));
    });

  test(
    "while it runs: processors, memory and disks grow",
    async () => {
      await main.run(
        "modprobe virtio_mem; echo online_movable >/sys/devices/system/memory/auto_online_blocks",
      );
      before = await memoryMiB(main);
      await stage.patchMachine("main", { flavor: "large" });
      await stage.api.mergePatch(
        volumes,
        { namespace: NAMESPACE, name: "data" },
        { spec: { size: "48Mi" } },
        { signal },
      );
      await stage.until(
        virtualMachines,
        "main",
        (machine) => isReady(machine) && machine.status?.guest?.vcpus === 2,
      );
      const data = await diskOf(main, "data");
      await waitFor("the larger disks", async () => {
        const sizes = [Number(await main.run("cat /sys/block/vda/size")) / 2048, await data.sizeMiB()];
        return (sizes[0] === 128 && sizes[1] === 48) || Promise.reject(new Error(sizes.join()));
      });
      await untilMemory((sizeMiB) => sizeMiB > before + 120);
      expect(await main.run(switchOn)).toBe("2\n");
      expect(await main.boots()).toHaveLength(1);
    },
    NO_BOOT_MS,
  );

  test(
    "and a smaller one: memory at once, processors when it is restarted",
    async () => {
      await stage.patchMachine("main", { flavor: "slim" });
      const waiting = await stage.until(
        virtualMachines,
        "main",
        (machine) => conditionOf(machine, "RestartRequired")?.status === "True",
      );
      expect(waiting.status?.pendingChanges).toEqual([{ path: "vcpus", current: "2", desired: "1" }]);
      await untilMemory((sizeMiB) => sizeMiB < before + 8);
      expect(await main.run("nproc")).toBe("2\n");
      const restart = subresourcePath({ namespace: NAMESPACE, name: "main" }, "restart");
      await stage.testbed.kubectl(["create", "--raw", restart, "-f", "-"], { stdin: "{}" });
      await main.untilBooted(2);
      expect(await main.run("nproc; cat /sys/block/vda/size")).toBe(`1\n${(128 * MiB) / 512}\n`);
      expect(await memoryMiB(main)).toBeLessThan(128);
      const { status } = await stage.until(
        virtualMachines,
        "main",
        (machine) => isReady(machine) && conditionOf(machine, "RestartRequired") === undefined,
      );
      expect(status?.pendingChanges).toBeUndefined();
    },
    BOOT_MS,
  );

  test(
    "its added disk is taken away and deleted",
    async () => {
      const data = await diskOf(main, "data");
      await stage.patchMachine("main", { volumes: [] });
      await data.untilGone();
      await settled("main");
      await stage.remove(virtualMachineSnapshots, "moment");
      await stage.remove(volumes, "data");
      expect(await main.run("cat /root/word; ls /sys/block")).toMatch(/^after\n[^]*vda/);
    },
    NO_BOOT_MS,
  );
});

describe("a machine is terminated", () => {
  /** Known to this test and to what the guests have written. */
  const pattern = randomBytes(16).toString("hex");

  interface Owner {
    readonly pool: "local" | "zeroed" | "discarded";
    readonly name: string;
    readonly at: () => Place;
  }
  const owners: readonly Owner[] = [
    { pool: "local", name: "twin", at: () => stage },
    { pool: "zeroed", name: "chosen", at: () => stage },
    { pool: "discarded", name: "heir", at: () => tenant },
  ];

  const directoryOf = (pool: Owner["pool"]): string =>
    pool === "local" ? main.node.stateDirectory : pools[pool];
  /** The files of disks, also when they have no name any more. */
  const held: { readonly pool: Owner["pool"]; readonly file: FileHandle }[] = [];

  afterAll(async () => {
    for (const { file } of held) await file.close();
  });

  test(
    "after it has written what nobody else may read, on its root disk and on a volume",
    async () => {
      for (const { pool, name, at } of owners) {
        const guest = await guestOf(at(), name);
        const device = await (await diskOf(guest, `${name}-data`, at())).untilThere();
        await guest.run(
          `yes ${pattern} | head -c 1048576 >/root/secret; sync; dd if=/root/secret of=/dev/${device} bs=64k seek=100 conv=fsync 2>/dev/null`,
        );
        const directories = [`disks/${guest.vmUid}`, `volumes/${await uidOf(`${name}-data`, at())}`];
        for (const file of await openLayers(directories.map((path) => join(directoryOf(pool), path))))
          held.push({ pool, file });
      }
      expect(held).toHaveLength(6);
      for (const { file } of held) expect((await contentOf(file, pattern)).found).toBe(true);
    },
    NO_BOOT_MS,
  );

  test(
    "nothing of it is left in the pools, and what it wrote is overwritten where a pool wants that",
    async () => {
      for (const { at, name } of owners) {
        await at().deleteMachines(name);
        await at().remove(volumes, `${name}-data`);
      }
      for (const { pool } of owners)
        for (const folder of ["disks", "volumes"])
          expect(await readdir(join(directoryOf(pool), folder))).toEqual(
            pool === "local" && folder === "disks" ? [main.vmUid] : [],
          );
      for (const { pool, file } of held) {
        // "local" wipes nothing: that shows that the pattern would be found.
        const wanted = pool === "local" ? { found: true, isZero: false } : { found: false, isZero: true };
        expect({ pool, ...(await contentOf(file, pattern)) }).toEqual({ pool, ...wanted });
        if (pool === "discarded") expect((await file.stat()).blocks).toBe(0);
      }
    },
    NO_BOOT_MS,
  );

  test(
    "no new volume has anything but zeros, for its guest and in its file",
    async () => {
      const fresh = owners.flatMap(({ pool }) => [
        { name: `${pool}-root`, pool, sizeMiB: ROOT_MIB },
        { name: `${pool}-data`, pool, sizeMiB: VOLUME_MIB },
      ]);
      await stage.apply(
        ...fresh.map(({ name, pool, sizeMiB }) => manifests.volume(name, { pool, size: `${sizeMiB}Mi` })),
      );
      await stage.patchMachine("main", { volumes: fresh.map(({ name }) => ({ name })) });
      await settled("main");
      for (const { name, sizeMiB } of fresh) {
        const device = await (await diskOf(main, name)).untilThere();
        const zeros = createHash("md5").update(Buffer.alloc(sizeMiB * MiB));
        expect(await main.run(`md5sum </dev/${device}`)).toBe(`${zeros.digest("hex")}  -\n`);
      }
      const folders = owners.flatMap(({ pool }) =>
        ["disks", "volumes"].map((folder) => join(directoryOf(pool), folder)),
      );
      expect(await filesWith(pattern, folders)).toEqual([]);
    },
    NO_BOOT_MS,
  );

  test(
    "in the end the node is as it was before",
    async () => {
      await stage.deleteMachines("main");
      for (const pool of ["local", "zeroed", "discarded"])
        for (const kind of ["root", "data"]) await stage.remove(volumes, `${pool}-${kind}`);
      await expectLeftovers(stage.testbed, "node-1", nothing);
    },
    NO_BOOT_MS,
  );
});

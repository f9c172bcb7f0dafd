import { describe, expect, test } from "@jest/globals";
import { type Condition, findCondition, isTrue } from "../../../../../src/api/condition.ts";
import { dataUid, DiskWorld, restoreUid, snapshotUid, vmUid } from "./disk-world.ts";

interface WithConditions {
  readonly status?: { readonly conditions?: readonly Condition[] | undefined } | undefined;
}
const readyOf = (object: WithConditions | undefined): Condition | undefined =>
  findCondition(object?.status?.conditions, "Ready");

const machineOf = ({ node }: DiskWorld) => ({
  ready: findCondition(node.machine?.status?.conditions, "Ready")?.status,
  reason: findCondition(node.machine?.status?.conditions, "Ready")?.reason,
  volumes: node.guest?.volumes?.map(({ name, state }) => `${name} ${state}`) ?? [],
});

/** Runs a story whole, then once for each effect with the agent killed just before or just after it. */
const killedAnywhere = async (live: (world: DiskWorld) => Promise<void>): Promise<void> => {
  const whole = new DiskWorld();
  await live(whole);
  for (let effect = 1; effect <= whole.node.effects; effect += 1) {
    for (const when of ["before", "after"] as const) {
      const world = new DiskWorld();
      world.node.killAt = { effect, when };
      await live(world);
      expect({ effect, when, kills: world.kills }).toEqual({ effect, when, kills: 1 });
    }
  }
};

describe("a Volume", () => {
  const attached = async (): Promise<DiskWorld> => {
    const world = new DiskWorld();
    await world.settle();
    world.addVolume();
    await world.settle();
    world.setVolumes(true);
    await world.settle();
    return world;
  };

  test("is made, given to a running guest, taken away again and removed", async () => {
    const world = await attached();
    expect(world.volume?.status).toMatchObject({ phase: "InUse", sizeMiB: 1024, format: "qcow2" });
    expect(machineOf(world)).toEqual({ ready: "True", reason: "Running", volumes: ["data Attached"] });
    expect(world.node.starts).toBe(1);
    world.setVolumes(false);
    await world.settle();
    expect(machineOf(world)).toEqual({ ready: "True", reason: "Running", volumes: [] });
    expect(world.volume?.status?.phase).toBe("Available");
    world.deleteVolume();
    await world.settle();
    expect(isTrue(world.volume?.status?.conditions, "Released")).toBe(true);
    expect([...world.node.volumes.disks.keys()]).toEqual([vmUid]);
  });

  test("stands in the machine's status before the guest has it, so that nobody else gets it", async () => {
    const world = new DiskWorld();
    await world.settle();
    world.addVolume();
    await world.settle();
    world.setVolumes(true);
    world.node.onEffect = () => {
      const { machine, guest } = world.node;
      const has = world.node.domains.get(vmUid)?.hardware?.disks.some(({ uid }) => uid === dataUid) === true;
      if (has) expect(guest?.volumes?.map(({ uid }) => uid)).toEqual([dataUid]);
      const speaksOfIt = machine?.status?.observedGeneration === machine?.metadata.generation;
      if (machineOf(world).ready === "True" && speaksOfIt) expect(has).toBe(true);
    };
    const writes = world.node.statusWrites;
    await world.settle();
    expect(machineOf(world).volumes).toEqual(["data Attached"]);
    expect(world.node.statusWrites - writes).toBe(2);
  });

  test("is there when the guest is started, and the start waits for its data", async () => {
    const world = new DiskWorld();
    world.addVolume();
    world.setVolumes(true);
    await world.settle();
    expect(world.node.domains.get(vmUid)?.hardware?.disks.map(({ uid }) => uid)).toEqual([vmUid, dataUid]);
    expect(world.node.starts).toBe(1);
  });

  test("grows while the guest runs, and while it is off", async () => {
    const world = await attached();
    const grow = async (size: string, sizeMiB: number): Promise<void> => {
      world.changeVolume((volume) => ({ ...volume, spec: { ...volume.spec, size } }));
      await world.settle();
      expect(world.volume?.status?.sizeMiB).toBe(sizeMiB);
      expect(readyOf(world.volume)?.status).toBe("True");
    };
    await grow("2Gi", 2048);
    world.setStrategy("Halted");
    await world.settle();
    await grow("3Gi", 3072);
  });

  test("that the guest does not let go of keeps the machine from being Ready, and is said so after a minute", async () => {
    const world = await attached();
    world.node.clinging.add(dataUid);
    world.setVolumes(false);
    const from = world.now.getTime();
    const reasons = new Set<string | undefined>();
    world.node.onEffect = () => reasons.add(machineOf(world).reason);
    await expect(
      (async () => {
        while (world.now.getTime() < from + 90_000) await world.settleOnce();
      })(),
    ).resolves.toBeUndefined();
    expect(machineOf(world)).toEqual({
      ready: "False",
      reason: "DetachPending",
      volumes: ["data Detaching"],
    });
    expect(reasons).toContain("Detaching");
    world.node.clinging.clear();
    await world.settle();
    expect(machineOf(world)).toEqual({ ready: "True", reason: "Running", volumes: [] });
  });

  test("is not removed under a guest that still has it", async () => {
    const world = await attached();
    world.node.clinging.add(dataUid);
    world.setVolumes(false);
    world.deleteVolume();
    await world.settleOnce();
    expect(isTrue(world.volume?.status?.conditions, "Released")).toBe(false);
    expect(world.node.volumes.disks.has(dataUid)).toBe(true);
  });

  test("whose data have vanished is not made anew, since they may come back", async () => {
    const world = await attached();
    world.setStrategy("Halted");
    await world.settle();
    const disks = new Map(world.node.volumes.disks);
    world.node.volumes.disks.clear();
    world.setStrategy("Always");
    for (let round = 0; round < 3; round += 1) await world.settleOnce();
    expect(world.node.volumes.disks.size).toBe(0);
    expect(machineOf(world)).toMatchObject({ ready: "False", reason: "DataMissing" });
    expect(readyOf(world.volume)).toMatchObject({ reason: "DataMissing" });
    for (const [uid, disk] of disks) world.node.volumes.disks.set(uid, disk);
    await world.settle();
    expect(machineOf(world)).toMatchObject({ ready: "True", volumes: ["data Attached"] });
  });

  test("comes and goes wherever the agent is killed", async () => {
    await killedAnywhere(async (world) => {
      await world.settle();
      world.addVolume();
      world.setVolumes(true);
      await world.settle();
      expect(machineOf(world)).toEqual({ ready: "True", reason: "Running", volumes: ["data Attached"] });
      world.setVolumes(false);
      await world.settle();
      world.deleteVolume();
      await world.settle();
      expect([...world.node.volumes.disks.keys()]).toEqual([vmUid]);
      expect(world.node.starts).toBe(1);
    });
  });
});

describe("a size", () => {
  test("grows live where there is room for it, and waits for a restart where there is none", async () => {
    const world = new DiskWorld();
    world.resize({ maxVcpus: 4, maxMemoryMiB: 512 });
    await world.settle();
    world.resize({ vcpus: 2, memoryMiB: 256 });
    await world.settle();
    expect(world.node.guest).toMatchObject({ vcpus: 2, memoryMiB: 256 });
    expect(world.node.machine?.status?.pendingChanges).toBeUndefined();
    expect(world.node.starts).toBe(1);

    world.resize({ vcpus: 1, memoryMiB: 1024, maxMemoryMiB: 2048 });
    await world.settle();
    expect(world.node.machine?.status?.pendingChanges).toEqual([
      { path: "vcpus", current: "2", desired: "1" },
      { path: "memory", current: expect.any(String), desired: "1024Mi" },
    ]);
    expect(isTrue(world.node.machine?.status?.conditions, "RestartRequired")).toBe(true);
    expect(machineOf(world).ready).toBe("True");

    const asked = world.requests.ask(vmUid, "restart", { signal: new AbortController().signal });
    await world.settle();
    await asked;
    expect(world.node.guest).toMatchObject({ vcpus: 1, memoryMiB: 1024, restarts: 0 });
    expect(world.node.machine?.status?.pendingChanges).toBeUndefined();
    expect(findCondition(world.node.machine?.status?.conditions, "RestartRequired")).toBeUndefined();
  });

  test("of the root disk grows live", async () => {
    const world = new DiskWorld();
    await world.settle();
    world.resize({ diskMiB: 2048 });
    await world.settle();
    expect(world.node.volumes.disks.get(vmUid)?.sizeMiB).toBe(2048);
  });

  test("costs one write for each change, and none when it is settled", async () => {
    const world = new DiskWorld();
    world.resize({ maxVcpus: 4 });
    await world.settle();
    const writes = world.node.statusWrites;
    world.resize({ vcpus: 2 });
    await world.settle();
    expect(world.node.statusWrites - writes).toBe(1);
    await world.settle();
    expect(world.node.statusWrites - writes).toBe(1);
  });
});

describe("a machine that moves", () => {
  test("keeps its hardware and its layers as they are, and gets the rest afterwards", async () => {
    const world = new DiskWorld();
    world.resize({ maxVcpus: 4 });
    await world.settle();
    world.takeSnapshot();
    await world.settle();
    world.node.migrating = "power";
    world.resize({ vcpus: 2 });
    world.deleteSnapshot();
    for (let round = 0; round < 5; round += 1) await world.settleOnce();
    expect(machineOf(world)).toMatchObject({ ready: "True", reason: "Running" });
    expect(world.node.probed.has(vmUid)).toBe(true);
    expect(world.node.guest?.vcpus).toBe(1);
    expect(world.node.volumes.layersOf(vmUid)).toEqual(["base", snapshotUid]);
    world.node.migrating = "shape";
    await world.settleOnce();
    expect(machineOf(world)).toMatchObject({ ready: "False", reason: "Migrating" });
    world.node.migrating = undefined;
    await world.settle();
    expect(world.node.guest?.vcpus).toBe(2);
    expect(world.node.volumes.layersOf(vmUid)).toEqual([snapshotUid]);
    expect(machineOf(world)).toMatchObject({ ready: "True", reason: "Running" });
  });
});

describe("a pause", () => {
  test("is made, survives an agent's restart, and ends when that is asked for", async () => {
    const world = new DiskWorld();
    const { signal } = new AbortController();
    await world.settle();
    const paused = world.requests.ask(vmUid, "pause", { signal });
    await world.settle();
    await paused;
    expect(world.node.guest).toMatchObject({ powerState: "Paused", pauseRequested: true });
    expect(machineOf(world)).toMatchObject({ ready: "False", reason: "Paused" });
    world.node.killAt = { effect: world.node.effects + 1, when: "after" };
    await world.settle();
    expect(world.node.domains.get(vmUid)?.powerState).toBe("Paused");
    const goesOn = world.requests.ask(vmUid, "unpause", { signal });
    await world.settle();
    await goesOn;
    expect(machineOf(world)).toMatchObject({ ready: "True", reason: "Running" });
    expect(world.node.guest).not.toHaveProperty("pauseRequested");
  });
});

describe("a snapshot", () => {
  const withData = async (world: DiskWorld): Promise<void> => {
    world.addVolume();
    world.setVolumes(true);
    await world.settle();
  };

  test.each<[string, boolean, boolean, object]>([
    ["of a running guest", true, false, { consistency: "Online", memory: false }],
    [
      "of a running guest with its memory",
      true,
      true,
      { consistency: "Online", memory: true, memoryBytes: 1 },
    ],
    ["of a guest that is off has no memory", false, true, { consistency: "Offline", memory: false }],
  ])("%s has all its disks", async (_, isOn, includeMemory, expected) => {
    const world = new DiskWorld();
    await withData(world);
    if (!isOn) world.setStrategy("Halted");
    await world.settle();
    world.takeSnapshot(includeMemory);
    await world.settle();
    expect(world.snapshot?.status).toMatchObject({
      phase: "Ready",
      takenAt: expect.any(String),
      disks: [
        { name: "root", sizeMiB: 1024 },
        { name: "data", volumeUid: dataUid, sizeMiB: 1024 },
      ],
      ...expected,
    });
    for (const uid of [vmUid, dataUid])
      expect(world.node.volumes.layersOf(uid)).toEqual(["base", snapshotUid]);
  });

  test.each(["Running", "Paused", "Halted"] as const)("puts the machine back: %s", async (powerState) => {
    const world = new DiskWorld();
    await withData(world);
    world.takeSnapshot(true);
    await world.settle();
    if (powerState === "Halted") world.setStrategy("Halted");
    await world.settle();
    world.restore(powerState);
    await world.settle();
    expect(world.restored?.status).toMatchObject({ phase: "Succeeded", completedAt: expect.any(String) });
    for (const uid of [vmUid, dataUid])
      expect(world.node.volumes.layersOf(uid)).toEqual(["base", restoreUid]);
    expect(world.node.guest?.powerState).toBe(powerState === "Halted" ? "ShutOff" : powerState);
    expect(machineOf(world).ready).toBe(powerState === "Paused" ? "False" : "True");
  });

  test("that the guest cannot be started on leaves the machine as it was", async () => {
    const world = new DiskWorld();
    await withData(world);
    world.takeSnapshot(true);
    await world.settle();
    world.restore("Running");
    world.node.onEffect = () => {
      const state = world.node.volumes.disks.get(vmUid)?.restore?.state;
      world.node.failStart = state === "switched" ? "no such CPU" : undefined;
    };
    await world.settle();
    expect(world.restored?.status?.phase).toBe("Failed");
    expect(readyOf(world.restored)?.message).toContain("no such CPU");
    expect(world.node.volumes.layersOf(vmUid)).toEqual(["base", snapshotUid]);
    expect(machineOf(world)).toMatchObject({ ready: "True", reason: "Running" });
  });

  test("of other disks than the machine has now is refused, and nothing is touched", async () => {
    const world = new DiskWorld();
    await withData(world);
    world.takeSnapshot();
    await world.settle();
    world.setVolumes(false);
    await world.settle();
    const { starts } = world.node;
    world.restore("Running");
    await world.settle();
    expect(readyOf(world.restored)?.reason).toBe("DisksDiffer");
    expect(world.node.starts).toBe(starts);
  });

  test("that is deleted leaves one layer, and a machine's deletion leaves what snapshots need", async () => {
    const world = new DiskWorld();
    await world.settle();
    world.takeSnapshot();
    await world.settle();
    world.deleteMachine();
    await world.settle();
    expect(isTrue(world.node.machine?.status?.conditions, "Released")).toBe(true);
    expect(world.node.volumes.layersOf(vmUid)).toEqual(["base"]);
    world.deleteSnapshot();
    await world.settle();
    expect(isTrue(world.snapshot?.status?.conditions, "Released")).toBe(true);
    expect(world.node.volumes.disks.size).toBe(0);
  });

  test("is taken, restored and deleted wherever the agent is killed", async () => {
    await killedAnywhere(async (world) => {
      await withData(world);
      world.takeSnapshot(true);
      await world.settle();
      expect(world.snapshot?.status?.phase).toBe("Ready");
      world.restore("Paused");
      await world.settle();
      expect(world.restored?.status?.phase).toBe("Succeeded");
      expect(world.node.guest).toMatchObject({ powerState: "Paused", pauseRequested: true });
      world.deleteSnapshot();
      await world.settle();
      for (const uid of [vmUid, dataUid]) expect(world.node.volumes.layersOf(uid)).toEqual([restoreUid]);
    });
  });
});

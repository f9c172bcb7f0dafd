import { describe, expect, test } from "@jest/globals";
import { Killed } from "./fake-host.ts";
import { disks, Machine, options, root, uidOf } from "./machine.ts";

const [one, two] = [uidOf(101), uidOf(102)] as const;

/** A machine that is off, whose root disk has two layers of which one is not needed. */
const withUnneededLayer = async (): Promise<Machine> => {
  const machine = new Machine();
  await machine.powerOn();
  machine.write(root, 0, 1);
  machine.write(root, 1, 2);
  machine.powerOff();
  await take(machine, one);
  await machine.volumes.snapshots.discard(one, disks, options);
  return machine;
};

const take = async (machine: Machine, snapshotUid: string): Promise<void> => {
  machine.remember(snapshotUid);
  await machine.volumes.snapshots.prepare({ snapshotUid, disks, withMemory: false }, options);
  await machine.volumes.snapshots.commit(snapshotUid, disks, options);
};

/** Calls back with a machine whose agent was killed at each change that the work makes, one after the other. */
const atEachChange = async (
  work: (machine: Machine) => Promise<unknown>,
  then: (machine: Machine) => Promise<void>,
): Promise<number> => {
  for (let changes = 0; ; changes += 1) {
    const machine = await withUnneededLayer();
    machine.host.dieAfter(changes);
    await work(machine).catch((error: unknown) => {
      if (!(error instanceof Killed)) throw error;
    });
    const isOver = !machine.host.isDead;
    await machine.restartAgent();
    await then(machine);
    expect(machine.differences()).toEqual([]);
    if (isOver) return changes;
  }
};

describe("an agent that is killed at each change of a merge", () => {
  const merge = (machine: Machine) => machine.advance(root);

  test("merges when it is asked to go on", async () => {
    const changes = await atEachChange(merge, async (machine) => {
      await machine.clean();
      expect(machine.record(root).layers).toHaveLength(1);
    });
    expect(changes).toBeGreaterThan(4);
  });

  test("gives the guest its disk when that is started, and merges live", async () => {
    await atEachChange(merge, async (machine) => {
      await machine.powerOn();
      machine.write(root, 0, 9);
      expect(machine.differences()).toEqual([]);
      await machine.clean();
      expect(machine.record(root).layers).toHaveLength(1);
    });
  });

  test("takes another snapshot first", async () => {
    await atEachChange(merge, async (machine) => {
      await take(machine, two);
      expect(machine.differences()).toEqual([]);
      await machine.clean();
      expect(machine.record(root).layers).toHaveLength(2);
    });
  });
});

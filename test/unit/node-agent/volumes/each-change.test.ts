import { describe, expect, test } from "@jest/globals";
import { disks, Machine, root } from "./machine.ts";
import { killAtEachChange, options, uidOf } from "./node.ts";

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

/** Whatever the fresh agent does, the disks and snapshots are as they are to be. */
const atEachChange = (
  work: (machine: Machine) => Promise<unknown>,
  then: (machine: Machine) => Promise<void>,
): Promise<number> =>
  killAtEachChange({
    start: withUnneededLayer,
    work,
    afterwards: async (machine) => {
      await then(machine);
      expect(machine.differences()).toEqual([]);
    },
  });

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

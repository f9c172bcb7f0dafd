import { beforeAll, describe, expect, test } from "@jest/globals";

import type { DiskManifest } from "../../../../src/node-agent/volumes/index.ts";
import { Killed } from "./fake-host.ts";
import { disks, Machine, root } from "./machine.ts";
import { killAtEachChange, Node, options, uidOf } from "./node.ts";

const [first, second] = [uidOf(201), uidOf(202)] as const;

/** The node that the machine comes to. */
class Target extends Node {
  readonly #source: Machine;

  constructor(source: Machine) {
    super();
    this.#source = source;
  }

  /** Asks until the disk is here; throws when it cannot come. */
  async receive(migrationUid: string, manifest: DiskManifest): Promise<void> {
    const { transfers } = this.#source.volumes;
    const reception = {
      migrationUid,
      ref: root,
      manifest,
      withHead: true,
      fetch: async function* (name: string) {
        await using file = await transfers.open(root, name, options);
        if (file === undefined) throw new Error(`there is no ${name}`);
        yield* file.chunks();
      },
    };
    const outcome = await this.whileWorking(() => this.volumes.transfers.receive(reception, options));
    if (outcome.kind === "failed") throw this.host.isDead ? new Killed() : new Error(outcome.message);
  }

  drop(migrationUid?: string): Promise<void> {
    return this.volumes.transfers.drop(root, migrationUid === undefined ? {} : { migrationUid }, options);
  }

  /** What is in the disk's directory. */
  left(): readonly string[] {
    return this.host.paths().filter((path) => path.includes(root.uid));
  }
}

let source: Machine;
let manifest: DiskManifest;

beforeAll(async () => {
  source = new Machine();
  await source.powerOn();
  source.write(root, 0, 1);
  source.powerOff();
  source.remember(first);
  await source.volumes.snapshots.prepare({ snapshotUid: first, disks, withMemory: false }, options);
  await source.volumes.snapshots.commit(first, disks, options);
  manifest = await source.volumes.transfers.describe(root, { isRunning: false }, options);
});

const expectArrived = ({ host }: Target): void => {
  const head = source.layerPath(root, source.record(root).head ?? "");
  expect(host.content(head)).toEqual(source.host.content(head));
};

const atEachChange = (
  prepare: (target: Target) => Promise<void>,
  work: (target: Target) => Promise<void>,
  then: (target: Target) => Promise<void>,
): Promise<number> =>
  killAtEachChange({
    start: async () => {
      const target = new Target(source);
      await prepare(target);
      return target;
    },
    work,
    afterwards: then,
  });

const nothing = async (): Promise<void> => {};
const receiveFirst = (target: Target): Promise<void> => target.receive(first, manifest);

describe("an agent that is killed at each change of a disk's arrival", () => {
  test("goes on with it when it is asked again", async () => {
    const changes = await atEachChange(nothing, receiveFirst, async (target) => {
      await receiveFirst(target);
      expectArrived(target);
    });
    expect(changes).toBeGreaterThan(8);
  });

  test("does away with it when the machine does not come, and receives it later", async () => {
    await atEachChange(nothing, receiveFirst, async (target) => {
      await target.drop(first);
      await target.receive(second, manifest);
      expectArrived(target);
    });
  });

  test("receives it when it comes by another migration, though nobody has done away with it", async () => {
    await atEachChange(nothing, receiveFirst, async (target) => {
      await target.receive(second, manifest);
      expectArrived(target);
    });
  });
});

describe("an agent that is killed at each change of a disk's removal", () => {
  test("goes on with it when the machine has not come", async () => {
    const changes = await atEachChange(
      receiveFirst,
      (target) => target.drop(first),
      async (target) => {
        await target.drop(first);
        expect(target.left()).toEqual([]);
        await target.receive(second, manifest);
        expectArrived(target);
      },
    );
    expect(changes).toBeGreaterThan(4);
  });

  test("goes on with it when the machine has left", async () => {
    const arrive = async (target: Target): Promise<void> => {
      await receiveFirst(target);
      await target.volumes.transfers.accept(root, options);
    };
    await atEachChange(
      arrive,
      (target) => target.drop(),
      async (target) => {
        await target.drop();
        expect(target.left()).toEqual([]);
        await target.receive(second, manifest);
        expectArrived(target);
      },
    );
  });

  test("is not begun for a disk that no migration has brought", async () => {
    const target = new Target(source);
    await receiveFirst(target);
    await target.volumes.transfers.accept(root, options);
    const before = target.left();
    await target.drop(first);
    await expect(target.receive(second, manifest)).rejects.toThrow(/no migration has brought it/);
    expect(target.left()).toEqual(before);
  });
});

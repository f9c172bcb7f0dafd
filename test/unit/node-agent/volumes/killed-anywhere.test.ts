import { describe, expect, test } from "@jest/globals";
import fc from "fast-check";
import { childrenOf, isNamed } from "../../../../src/node-agent/volumes/layers.ts";
import { Killed } from "./fake-host.ts";
import { data, disks, Machine, root } from "./machine.ts";
import { options, uidOf } from "./node.ts";

/**
 * What the agent and its users do, each thing perhaps cut short by a kill at
 * some change of the host; then a fresh agent takes it up by what it finds.
 */
type Action =
  | { readonly kind: "write"; readonly isRoot: boolean; readonly cluster: number; readonly value: number }
  | { readonly kind: "power" | "snapshot" | "merge"; readonly killedAfter: number; readonly variant: number }
  | {
      readonly kind: "restore" | "discard";
      readonly which: number;
      readonly killedAfter: number;
      readonly variant: number;
    };

const NEVER = 1000;
const killedAfter = fc.oneof(fc.constant(NEVER), fc.nat(25));
const variant = fc.nat(5);
const action: fc.Arbitrary<Action> = fc.oneof(
  {
    weight: 3,
    arbitrary: fc.record({
      kind: fc.constant("write" as const),
      isRoot: fc.boolean(),
      cluster: fc.nat(4),
      value: fc.integer({ min: 1, max: 99 }),
    }),
  },
  {
    weight: 3,
    arbitrary: fc.record({
      kind: fc.constantFrom("power" as const, "snapshot" as const, "merge" as const),
      killedAfter,
      variant,
    }),
  },
  {
    weight: 2,
    arbitrary: fc.record({
      kind: fc.constantFrom("restore" as const, "discard" as const),
      which: fc.nat(9),
      killedAfter,
      variant,
    }),
  },
);

/** Does something, and says whether the agent lived to see its end. */
const survived = async (machine: Machine, after: number, work: () => Promise<void>): Promise<boolean> => {
  if (after !== NEVER) machine.host.dieAfter(after);
  try {
    await work();
  } catch (error) {
    if (!(error instanceof Killed) && !machine.host.isDead) throw error;
  }
  const isAlive = !machine.host.isDead;
  await machine.restartAgent();
  return isAlive;
};

const nth = <T>(items: readonly T[], which: number): T | undefined =>
  items[which % Math.max(1, items.length)];

const turnPower = async (machine: Machine, after: number): Promise<void> => {
  if (machine.isRunning) machine.powerOff();
  else if (!(await survived(machine, after, () => machine.powerOn()))) await machine.powerOn();
};

/** A merge that libvirt has in hand is given up before anything else is begun; QEMU holds nothing of it back then. */
const giveMergesUp = async (machine: Machine): Promise<void> => {
  machine.flush();
  const { isRunning } = machine;
  for (const ref of disks) await machine.volumes.merges.abandon(ref, { isRunning }, options);
};

/** libvirt changes over to all overlays at once, or to none. */
const takeSnapshot = async (machine: Machine, uid: string, after: number, variant: number): Promise<void> => {
  await giveMergesUp(machine);
  machine.remember(uid);
  let hasChangedOver = !machine.isRunning;
  const isAlive = await survived(machine, after, async () => {
    const prepared = await machine.volumes.snapshots.prepare(
      { snapshotUid: uid, disks, withMemory: false },
      options,
    );
    if (machine.isRunning) {
      if (variant === 0) return;
      for (const { ref, overlayPath } of prepared.disks) machine.heads.set(ref.uid, overlayPath);
      hasChangedOver = true;
    }
    await machine.volumes.snapshots.commit(uid, disks, options);
  });
  if (isAlive && variant !== 0) return;
  // The guest goes on, or ends, while no agent sees it.
  machine.write(root, 0, 77);
  if (variant % 2 === 1) machine.powerOff();
  await takeUpSnapshot(machine, uid, hasChangedOver);
};

const takeUpSnapshot = async (machine: Machine, uid: string, hasChangedOver: boolean): Promise<void> => {
  const { snapshots } = machine.volumes;
  const state = await snapshots.find(uid, disks, options);
  if (state === "none") return;
  const isToBe = state !== "prepared" || hasChangedOver || !machine.isRunning;
  if (!isToBe) return snapshots.undo(uid, disks, options);
  if (!machine.isRunning) await snapshots.prepare({ snapshotUid: uid, disks, withMemory: false }, options);
  // Of a guest that has ended before QEMU changed over, the snapshot shows its end.
  if (!hasChangedOver) machine.remember(uid);
  await snapshots.commit(uid, disks, options);
};

const restore = async (
  machine: Machine,
  uid: string,
  { which, killedAfter: after, variant: choice }: Extract<Action, { which: number }>,
): Promise<void> => {
  const committed = machine.record(root).snapshots.map(({ uid: taken }) => taken);
  const snapshotUid = nth(committed, which);
  if (snapshotUid === undefined) return;
  await giveMergesUp(machine);
  await survived(machine, after, async () => {
    const { restores } = machine.volumes;
    await restores.prepare({ restoreUid: uid, snapshotUid, disks }, options);
    machine.powerOff();
    if (choice === 1) return;
    await restores.switch(uid, disks, options);
    if (choice === 2) await restores.undo(uid, disks, options);
    else await restores.finish(uid, disks, options);
  });
  machine.powerOff();
  await takeUpRestore(machine, uid, choice);
  if (machine.record(root).layers.some(({ name }) => name === uid)) machine.backTo(snapshotUid);
};

/** Forward after the switch, back before it; sometimes the other way round, for that is allowed too. */
const takeUpRestore = async (machine: Machine, uid: string, choice: number): Promise<void> => {
  const { restores } = machine.volumes;
  const state = await restores.find(uid, disks, options);
  if (state === undefined) return;
  if (state === "finishing") await restores.finish(uid, disks, options);
  else if (state === "switched" && choice !== 2) {
    await restores.switch(uid, disks, options);
    await restores.finish(uid, disks, options);
  } else await restores.undo(uid, disks, options);
};

const discard = async (
  machine: Machine,
  { which, killedAfter: after }: Extract<Action, { which: number }>,
): Promise<void> => {
  const uid = nth(
    machine.record(root).snapshots.map(({ uid: taken }) => taken),
    which,
  );
  if (uid === undefined) return;
  const work = () => machine.volumes.snapshots.discard(uid, disks, options);
  if (!(await survived(machine, after, work))) await work();
};

/** One round of merging, with a block job that may be cut short or whose end nobody is told. */
const merge = async (machine: Machine, after: number, choice: number): Promise<void> => {
  await survived(machine, after, async () => {
    for (const ref of disks) {
      const outcome = await machine.advance(ref);
      if (outcome.kind === "live" && choice > 0)
        machine.blockJob(ref, outcome.merge, choice === 1 ? 1 : Number.POSITIVE_INFINITY);
      if (choice < 4) continue;
      machine.flush();
      if (choice === 5) await machine.volumes.merges.confirm(ref, options);
    }
  });
  if (choice === 3) machine.powerOff();
};

const act = async (machine: Machine, next: Action, number: number): Promise<void> => {
  if (next.kind === "write") machine.write(next.isRoot ? root : data, next.cluster, next.value);
  else if (next.kind === "power") await turnPower(machine, next.killedAfter);
  else if (next.kind === "snapshot")
    await takeSnapshot(machine, uidOf(number + 100), next.killedAfter, next.variant);
  else if (next.kind === "merge") await merge(machine, next.killedAfter, next.variant);
  else if ("which" in next)
    await (next.kind === "restore" ? restore(machine, uidOf(number + 100), next) : discard(machine, next));
};

const play = async (actions: readonly Action[]): Promise<Machine> => {
  const machine = new Machine();
  await machine.ensureAll();
  for (const [number, next] of actions.entries()) {
    await act(machine, next, number);
    expect(machine.differences()).toEqual([]);
  }
  return machine;
};

const expectTidy = (machine: Machine): void => {
  const files = disks.flatMap((ref) => {
    const record = machine.record(ref);
    for (const { name } of record.layers)
      expect(isNamed(record, name) || childrenOf(record, name).length > 1).toBe(true);
    return [
      machine.layerPath(ref, "x").replace("x.qcow2", "disk.json"),
      ...record.layers.map(({ name }) => machine.layerPath(ref, name)),
    ];
  });
  // What is being written counts for nothing, and is written anew by the next.
  const left = machine.host.paths().filter((path) => path.startsWith("/pool") && !path.endsWith(".new"));
  expect(left).toEqual(files.sort());
};

/** The agent has seen a block job to its end, and not that QEMU had written it out; it asks for it again. */
const aCommitThatNobodyHeardOf: Action[] = [
  { kind: "snapshot", killedAfter: NEVER, variant: 0 },
  { kind: "power", killedAfter: NEVER, variant: 0 },
  { kind: "discard", which: 0, killedAfter: NEVER, variant: 0 },
  { kind: "snapshot", killedAfter: NEVER, variant: 1 },
  { kind: "merge", killedAfter: NEVER, variant: 1 },
];

describe("an agent that is killed anywhere in any sequence of", () => {
  test("snapshots, restores, deletions and merges changes no content, and leaves only what is needed", async () => {
    await fc.assert(
      fc.asyncProperty(fc.array(action, { maxLength: 25 }), async (actions) => {
        const machine = await play(actions);
        await machine.clean();
        expect(machine.differences()).toEqual([]);
        expectTidy(machine);
      }),
      { numRuns: 400, examples: [[aCommitThatNobodyHeardOf]] },
    );
  });

  test("deletions of all snapshots leaves one file for each disk", async () => {
    await fc.assert(
      fc.asyncProperty(fc.array(action, { maxLength: 20 }), async (actions) => {
        const machine = await play(actions);
        for (const { uid } of machine.record(root).snapshots)
          await machine.volumes.snapshots.discard(uid, disks, options);
        await machine.clean();
        expect(machine.differences()).toEqual([]);
        expectTidy(machine);
        for (const ref of disks) expect(machine.record(ref).layers).toHaveLength(1);
      }),
      { numRuns: 150 },
    );
  });
});

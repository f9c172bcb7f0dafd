import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from "@jest/globals";

import {
  DomainJobOperation,
  DomainJobType,
  DomainPausedReason,
  DomainState,
  ErrorCode,
  type DomainEvents,
  type MigrateParameters,
} from "../../../src/libvirt/index.ts";
import { waitFor } from "../../testbed/wait.ts";
import { realLibvirtd } from "./daemons.ts";
import { MigratingPair, RESET_MS, type Migration } from "./migrating-pair.ts";
import { startSocketRelay } from "./socket-relay.ts";

/**
 * What becomes of a migration that loses somebody while it moves data. Only the
 * real libvirtd moves any.
 */

const SLOWLY = { bandwidth: 1n };
const PAUSED_FOR_MIGRATION = { state: DomainState.PAUSED, reason: DomainPausedReason.MIGRATION };

let pair: MigratingPair;
let migration: Migration;

beforeAll(async () => {
  pair = await MigratingPair.start(realLibvirtd);
});
afterAll(() => pair.stop());
beforeEach(async () => {
  migration = await pair.startGuest();
  await migration.prepare();
});
afterEach(() => pair.reset(), RESET_MS);

/** Begins to move the guest slowly; resolves when data is on its way. */
const performing = async (
  differences: MigrateParameters = {},
): Promise<{ readonly outcome: Promise<Error | undefined> }> => {
  const outcome = migration.perform({ ...SLOWLY, ...differences }).then(
    () => undefined,
    (error: Error) => error,
  );
  await waitFor("data is on its way", async () => {
    const { type, fileProcessed } = await pair.atSource.jobInfo(migration.domain);
    return type === DomainJobType.UNBOUNDED && fileProcessed > 0n;
  });
  return { outcome };
};

const jobHasEnded = () =>
  waitFor("no job is left at the source", async () => {
    return (await pair.atSource.jobInfo(migration.domain)).type === DomainJobType.NONE;
  });

const expectToRunAtSource = () =>
  waitFor("the domain runs at the source", async () => {
    const { state, reason } = await migration.stateAtSource();
    if (state === DomainState.RUNNING) return reason;
    throw new Error(`its state is ${state}, for reason ${reason}`);
  });

test("a migration can be ended, whereupon the domain runs on", async () => {
  const { outcome } = await performing();
  await pair.atSource.abortJob(migration.domain);
  expect(await outcome).toMatchObject({ name: "LibvirtError", code: ErrorCode.OPERATION_ABORTED });
  await expectToRunAtSource();
  await expect(migration.finish({ cancelled: true })).rejects.toMatchObject({ name: "LibvirtError" });
  await migration.targetIsGone();
});

test("a migration tells how far it is, and when it has ended", async () => {
  const ended: DomainEvents["jobCompleted"][] = [];
  const passes: number[] = [];
  await pair.atSource.subscribe("jobCompleted", (event) => ended.push(event));
  await pair.atSource.subscribe("migrationIteration", ({ iteration }) => passes.push(iteration));
  const { outcome } = await performing();
  const { type, stats } = await pair.atSource.jobStats(migration.domain);
  expect(type).toBe(DomainJobType.UNBOUNDED);
  expect(stats.get("operation")).toBe(DomainJobOperation.MIGRATION_OUT);
  expect(stats.get("disk_total")).toBe(5_242_880n);
  await pair.atSource.setMigrationMaxDowntime(migration.domain, 1_000n);
  await pair.atSource.setMigrationMaxSpeed(migration.domain, 100n);
  expect(await outcome).toBeUndefined();
  await migration.finish();
  await migration.confirm();
  const [event] = await waitFor("the event", () => (ended.length > 0 ? ended : undefined));
  expect(event?.domain.uuid).toBe(migration.domain.uuid);
  expect(passes[0]).toBe(1);
});

describe("when the data takes a way that others carry", () => {
  const pathOf = (uri: string): string => uri.replace("unix://", "");
  const carry = async () => {
    const { uri, disksUri } = pair.newWay();
    const relays = await Promise.all([
      startSocketRelay(pathOf(uri), pathOf(migration.way.uri)),
      startSocketRelay(pathOf(disksUri), pathOf(migration.way.disksUri)),
    ]);
    return { way: { uri, disksUri }, relays };
  };

  test("all of it goes that way", async () => {
    const { way, relays } = await carry();
    await migration.perform(way);
    await migration.finish();
    await migration.confirm();
    expect((await migration.stateAtTarget()).state).toBe(DomainState.RUNNING);
    for (const { passed } of relays) expect(passed).toBeGreaterThan(0);
    await Promise.all(relays.map((relay) => relay.stop()));
  });

  test("and that breaks, perform rejects and the domain runs on at the source", async () => {
    const { way, relays } = await carry();
    const { outcome } = await performing(way);
    await Promise.all(relays.map((relay) => relay.stop()));
    expect(await outcome).toMatchObject({ name: "LibvirtError" });
    await expectToRunAtSource();
  });
});

describe("when the source's connection ends while data moves", () => {
  test("the migration goes on; the domain then waits, paused, and runs on when it is resumed", async () => {
    const { outcome } = await performing();
    await migration.outgoing.close();
    expect(await outcome).toMatchObject({ name: "OutcomeUnknownError", reason: "disconnected" });
    expect((await migration.stateAtSource()).state).toBe(DomainState.RUNNING);
    await jobHasEnded();
    expect(await migration.stateAtSource()).toEqual(PAUSED_FOR_MIGRATION);
    await migration.incoming.close();
    await migration.targetIsGone();
    await pair.atSource.resumeDomain(migration.domain);
    await expectToRunAtSource();
  });

  test("and the way to the target too, the domain runs on at the source", async () => {
    const { outcome } = await performing();
    await migration.outgoing.close();
    await migration.incoming.close();
    expect(await outcome).toMatchObject({ name: "OutcomeUnknownError" });
    await jobHasEnded();
    await expectToRunAtSource();
    await migration.targetIsGone();
  });
});

test("when the target's connection ends while data moves, perform rejects and the domain runs on at the source", async () => {
  const { outcome } = await performing();
  await migration.incoming.close();
  expect(await outcome).toMatchObject({ name: "LibvirtError" });
  await expectToRunAtSource();
  await migration.targetIsGone();
});

describe("when libvirtd is killed and started again", () => {
  test("at the source while data moves, the domain runs on there", async () => {
    const { outcome } = await performing();
    await pair.restartSource();
    expect(await outcome).toMatchObject({ name: "OutcomeUnknownError" });
    await expectToRunAtSource();
  });

  test("at the source after perform, the domain waits there, paused, and runs on when it is resumed", async () => {
    await migration.perform();
    await pair.restartSource();
    expect(await migration.stateAtSource()).toEqual(PAUSED_FOR_MIGRATION);
    expect((await pair.atSource.jobInfo(migration.domain)).type).toBe(DomainJobType.NONE);
    await pair.atSource.resumeDomain(migration.domain);
    await expectToRunAtSource();
  });

  test("at the target after perform, the incoming domain goes, and the source can go on", async () => {
    await migration.perform();
    await pair.restartTarget();
    await migration.targetIsGone();
    await migration.confirm({ cancelled: true });
    await expectToRunAtSource();
  });

  test("at the target after finish, the domain runs on there", async () => {
    await migration.perform();
    await migration.finish();
    await pair.restartTarget();
    expect((await migration.stateAtTarget()).state).toBe(DomainState.RUNNING);
    await migration.confirm();
    expect(await pair.atSource.lookupDomain(migration.domain.uuid)).toBeUndefined();
  });
});

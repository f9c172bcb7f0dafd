import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from "@jest/globals";

import {
  DomainJobType,
  DomainPausedReason,
  DomainRunningReason,
  DomainState,
  ErrorCode,
} from "../../../src/libvirt/index.ts";
import { waitFor } from "../../testbed/wait.ts";
import { daemonKinds } from "./daemons.ts";
import { MigratingPair, RESET_MS, SOURCE_FLAGS, type Migration } from "./migrating-pair.ts";

const PAUSED_FOR_MIGRATION = { state: DomainState.PAUSED, reason: DomainPausedReason.MIGRATION };

describe.each(daemonKinds)("$name", (kind) => {
  let pair: MigratingPair;
  let migration: Migration;

  beforeAll(async () => {
    pair = await MigratingPair.start(kind);
  });
  afterAll(() => pair.stop());
  beforeEach(async () => {
    migration = await pair.startGuest();
  });
  afterEach(() => pair.reset(), RESET_MS);

  test("a migration goes through its five phases, each on its own daemon", async () => {
    const { domain } = migration;
    await migration.prepare();
    expect((await migration.stateAtTarget()).state).toBe(DomainState.PAUSED);
    await migration.perform();
    expect(await migration.stateAtSource()).toEqual(PAUSED_FOR_MIGRATION);
    expect(await migration.finish()).toMatchObject({ uuid: domain.uuid, name: "guest" });
    expect(await migration.stateAtTarget()).toEqual({
      state: DomainState.RUNNING,
      reason: DomainRunningReason.MIGRATED,
    });
    await migration.confirm();
    expect(await pair.atSource.lookupDomain(domain.uuid)).toBeUndefined();
  });

  test("a migration goes back when the target is told to cancel and the source to go on", async () => {
    await migration.prepare();
    await migration.perform();
    await expect(migration.finish({ cancelled: true })).rejects.toMatchObject({
      code: ErrorCode.MIGRATE_FINISH_OK,
    });
    await migration.targetIsGone();
    await migration.confirm({ cancelled: true });
    expect(await migration.stateAtSource()).toEqual({
      state: DomainState.RUNNING,
      reason: DomainRunningReason.MIGRATION_CANCELED,
    });
  });

  describe("when the source's connection ends", () => {
    test("after begin, the domain runs on and can be migrated by another connection", async () => {
      const { domain, outgoing } = migration;
      await outgoing.migrateBegin(domain, { flags: SOURCE_FLAGS });
      await outgoing.close();
      expect((await migration.stateAtSource()).state).toBe(DomainState.RUNNING);
      const other = await pair.connect(pair.source);
      expect((await other.migrateBegin(domain, { flags: SOURCE_FLAGS })).xml).toContain(domain.uuid);
    });

    test("after perform, the domain stays paused, cannot be confirmed, and can be resumed", async () => {
      const { domain } = migration;
      await migration.prepare();
      await migration.perform();
      await migration.outgoing.close();
      await waitFor("the end of the connection is noticed", async () => {
        return (await pair.atSource.jobInfo(domain)).type === DomainJobType.NONE;
      });
      expect(await migration.stateAtSource()).toEqual(PAUSED_FOR_MIGRATION);
      const confirmed = migration.confirm({ cancelled: true, on: pair.atSource });
      await expect(confirmed).rejects.toMatchObject({ code: ErrorCode.OPERATION_INVALID });
      await pair.atSource.resumeDomain(domain);
      expect((await migration.stateAtSource()).state).toBe(DomainState.RUNNING);
    });
  });

  describe("when the target's connection ends", () => {
    test("after prepare, the incoming domain goes", async () => {
      await migration.prepare();
      await migration.incoming.close();
      await migration.targetIsGone();
      expect((await migration.stateAtSource()).state).toBe(DomainState.RUNNING);
    });

    test("after perform, the incoming domain goes too, and the source can go on", async () => {
      await migration.prepare();
      await migration.perform();
      await migration.incoming.close();
      await migration.targetIsGone();
      await migration.confirm({ cancelled: true });
      expect((await migration.stateAtSource()).state).toBe(DomainState.RUNNING);
    });

    test("after finish, the domain runs on there", async () => {
      await migration.prepare();
      await migration.perform();
      await migration.finish();
      await migration.incoming.close();
      expect((await migration.stateAtTarget()).state).toBe(DomainState.RUNNING);
    });
  });

  test("what has not begun can be neither finished nor confirmed nor ended", async () => {
    await expect(migration.finish()).rejects.toMatchObject({ code: ErrorCode.NO_DOMAIN });
    await expect(migration.confirm()).rejects.toMatchObject({ code: ErrorCode.OPERATION_INVALID });
    const { domain, outgoing } = migration;
    await expect(outgoing.abortJob(domain)).rejects.toMatchObject({ code: ErrorCode.OPERATION_INVALID });
    expect((await outgoing.jobInfo(domain)).type).toBe(DomainJobType.NONE);
    expect((await outgoing.jobStats(domain)).type).toBe(DomainJobType.NONE);
    expect((await migration.stateAtSource()).state).toBe(DomainState.RUNNING);
  });
});

import { expect, test } from "@jest/globals";

import type { VirtualMachineMigration } from "../../../../../src/api/virtual-machine-migration.ts";
import { systemClock } from "../../../../../src/kube/index.ts";
import type { DomainStanding } from "../../../../../src/node-agent/migrations/index.ts";
import { resumeStrandedGuests } from "../../../../../src/node-agent/reconcilers/migration/stranded-guests.ts";
import { migrationWith } from "../../../controllers/disk-objects.ts";

const { signal } = new AbortController();
const quiet = { info: () => {}, warn: () => {} };

const resumedAmong = async (
  standings: Readonly<Record<string, DomainStanding>>,
  { moving = [] as readonly string[], failures = 0 } = {},
): Promise<readonly string[]> => {
  const resumed: string[] = [];
  let left = failures;
  const migrations: readonly VirtualMachineMigration[] = moving.map((machineUid) =>
    migrationWith({ phase: "Copying", machineUid }),
  );
  await resumeStrandedGuests(
    {
      machineUids: () => Object.keys(standings),
      migrations: () => migrations,
      room: {
        observe: async (_role, uid) => {
          left -= 1;
          if (left >= 0) throw new Error("libvirtd is away");
          return standings[uid] ?? "absent";
        },
        resume: async (uid) => void resumed.push(uid),
      },
      hold: (_uid, work) => work(),
      clock: { ...systemClock, after: (_ms, callback) => systemClock.after(0, callback) },
      logger: quiet,
    },
    signal,
  );
  return resumed;
};

test("a guest goes on that a migration has left standing still, of which nothing is known any more", async () => {
  expect(await resumedAmong({ a: "left", b: "running", c: "paused", d: "off", e: "leaving" })).toEqual(["a"]);
});

test("one that a migration still knows of is that one's", async () => {
  expect(await resumedAmong({ a: "left", b: "left" }, { moving: ["a"] })).toEqual(["b"]);
});

test("libvirt is asked until it answers", async () => {
  expect(await resumedAmong({ a: "left" }, { failures: 2 })).toEqual(["a"]);
});

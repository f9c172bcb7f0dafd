import { expect } from "@jest/globals";

import {
  type VirtualMachineMigration,
  virtualMachineMigrations,
} from "../../../src/api/virtual-machine-migration.ts";
import { virtualMachines } from "../../../src/api/virtual-machine.ts";
import { tapName } from "../../../src/node-agent/links/index.ts";
import { waitFor } from "../../testbed/wait.ts";
import { type Guest, guestOf } from "./guest.ts";
import { manifests } from "./manifests.ts";
import { conditionOf, isReady, NAMESPACE, type Stage } from "./stage.ts";

export const isOver = ({ status }: VirtualMachineMigration): boolean =>
  ["Succeeded", "Failed", "Cancelled"].includes(status?.phase ?? "");

/** What Ready says, as "Reason: sentence". */
export const saysOf = (migration: VirtualMachineMigration): string => {
  const { reason, message } = conditionOf(migration, "Ready") ?? {};
  return `${reason}: ${message}`;
};

/** Verbs for migrations of the stage's machines. */
export const migrationsOn = (stage: Stage) => {
  const read = (name: string) => stage.read(virtualMachineMigrations, name);
  const until = (name: string, wanted: (migration: VirtualMachineMigration) => boolean) =>
    stage.until(virtualMachineMigrations, name, wanted, { timeoutMs: 180_000, intervalMs: 20 });
  const start = (name: string, machine: string, spec: object = {}): Promise<void> =>
    stage.apply(manifests.migration(name, machine, spec));
  const remove = (name: string): Promise<void> =>
    stage.api.delete(
      virtualMachineMigrations,
      { namespace: NAMESPACE, name },
      { signal: new AbortController().signal },
    );
  return {
    read,
    until,
    start,
    remove,
    untilGone: (name: string) =>
      waitFor(`the end of migration ${name}`, async () => (await read(name)) === undefined, {
        timeoutMs: 120_000,
      }),
    /** Waits until it is over, and that well; otherwise the error shows what was said of it. */
    untilSucceeded: async (name: string): Promise<NonNullable<VirtualMachineMigration["status"]>> => {
      const migration = await until(name, isOver);
      expect(saysOf(migration)).toMatch(/^Succeeded: /);
      if (migration.status === undefined) throw new Error("it has no status");
      return migration.status;
    },
    /** The guest at the node that the machine is Ready on. */
    arrivedAt: async (machine: string, nodeName: string | undefined): Promise<Guest> => {
      await stage.until(
        virtualMachines,
        machine,
        (object) => object.status?.nodeName === nodeName && isReady(object),
      );
      return guestOf(stage, machine);
    },
  };
};

export type MigrationVerbs = ReturnType<typeof migrationsOn>;

/**
 * Waits until a node that the machine is not on holds nothing of it: domain,
 * process, tap, rules, files; no sockets of a migration; and where no guest is,
 * no sets of addresses, which only rules of guests use.
 */
export const expectNothingOf = async (stage: Stage, nodeName: string, vmUid: string): Promise<void> => {
  const isOf = (line: string, _: number, all: readonly string[]): boolean =>
    line.includes(vmUid) ||
    line.includes(tapName(vmUid, "test")) ||
    line.startsWith("file migrations/") ||
    (line.startsWith("ipset ") && !all.some((other) => other.startsWith("domain ")));
  await waitFor(
    `${nodeName} to hold nothing of machine ${vmUid}`,
    async () => {
      expect((await stage.testbed.leftovers(nodeName)).filter(isOf)).toEqual([]);
      return true;
    },
    { timeoutMs: 60_000, intervalMs: 250 },
  );
};

import { describe, expect, test } from "@jest/globals";

import type { VirtualMachineMigration } from "../../../../../src/api/virtual-machine-migration.ts";
import { ApiError } from "../../../../../src/kube/index.ts";
import { finishAsAsked } from "../../../../../src/node-agent/reconcilers/migration/arrive.ts";
import type { MigrationContext } from "../../../../../src/node-agent/reconcilers/migration/migration-context.ts";
import { waitFor } from "../../../../testbed/wait.ts";
import { acceptedWith } from "../../../controllers/virtual-machine-migration/migrating.ts";
import { machineWith } from "../../machines.ts";

const options = { signal: new AbortController().signal };
const cookie = Buffer.from("from the source");

type Metadata = Partial<VirtualMachineMigration["metadata"]>;

const copying = (resourceVersion: string, metadata: Metadata = {}): VirtualMachineMigration => {
  const migration = acceptedWith({ phase: "Copying" });
  return { ...migration, metadata: { ...migration.metadata, ...metadata, resourceVersion } };
};

const inPhase = (phase: "Preparing" | "Cancelled", resourceVersion: string): VirtualMachineMigration => {
  const migration = acceptedWith({ phase });
  return { ...migration, metadata: { ...migration.metadata, resourceVersion } };
};

const failing = (message: string) => async (): Promise<never> => {
  throw new Error(message);
};

/** An API server that has one version of the migration, and what the agent does, in its order. */
const target = (
  stored: VirtualMachineMigration | undefined,
  { hasMachine = true, libvirt = async () => {}, links = async () => {} } = {},
) => {
  const done: string[] = [];
  const context = {
    migrations: {
      read: async () => {
        done.push("read");
        return stored;
      },
      swap: async (migration: VirtualMachineMigration, { phase }: { phase: string }) => {
        const isNewest = migration.metadata.resourceVersion === stored?.metadata.resourceVersion;
        done.push(isNewest ? phase : "conflict");
        if (!isNewest) throw new ApiError("swap", 409, { reason: "Conflict", message: "it was changed" });
        return migration;
      },
    },
    room: {
      incoming: () => ({
        finish: async () => {
          done.push("finish");
          await libvirt();
          return Buffer.from("to the source");
        },
      }),
      forget: async () => void done.push("forget"),
    },
    readMachine: async () => (hasMachine ? machineWith() : undefined),
    steps: {
      links: {
        ensure: async () => {
          done.push("link");
          await links();
        },
      },
    },
    lookAt: () => void done.push("look"),
  } as unknown as MigrationContext;
  return { done, finish: (known: VirtualMachineMigration) => finishAsAsked(known, cookie, context, options) };
};

describe("A guest that is to go on at the target", () => {
  test.each<[string, VirtualMachineMigration, VirtualMachineMigration, string[]]>([
    [
      "does so after one write, when the migration is as the agent knows it",
      copying("7"),
      copying("7"),
      ["Switching", "finish", "link", "forget", "look"],
    ],
    [
      "does so when the source has said meanwhile how far it is",
      copying("7"),
      copying("8"),
      ["conflict", "read", "Switching", "finish", "link", "forget", "look"],
    ],
    [
      "does so when the watch has not brought the phase yet",
      inPhase("Preparing", "6"),
      copying("7"),
      ["read", "Switching", "finish", "link", "forget", "look"],
    ],
  ])("%s", async (_, known, stored, expected) => {
    const { done, finish } = target(stored);
    expect((await finish(known)).toString()).toBe("to the source");
    expect(done).toEqual(expected);
  });

  test.each<[string, VirtualMachineMigration, VirtualMachineMigration | undefined, string[]]>([
    ["was given up", copying("7"), inPhase("Cancelled", "8"), ["conflict", "read"]],
    ["was given up, as the agent knows", inPhase("Cancelled", "8"), inPhase("Cancelled", "8"), ["read"]],
    ["is gone", copying("7"), undefined, ["conflict", "read"]],
    [
      "is being deleted",
      copying("7"),
      copying("8", { deletionTimestamp: "2026-01-01T00:00:00Z" }),
      ["conflict", "read"],
    ],
  ])("does not when the migration %s", async (_, known, stored, expected) => {
    const { done, finish } = target(stored);
    await expect(finish(known)).rejects.toThrow(/not Copying/);
    expect(done).toEqual([...expected, "forget", "look"]);
  });

  test("is led to while libvirt lets it go on, so that it need not wait for that", async () => {
    const running = Promise.withResolvers<void>();
    const { done, finish } = target(copying("7"), { libvirt: () => running.promise });
    const finishing = finish(copying("7"));
    await waitFor("it is led to", () => done.includes("link"), { intervalMs: 1 });
    expect(done).not.toContain("forget");
    running.resolve();
    await finishing;
  });

  test.each<[string, Parameters<typeof target>[1], string[]]>([
    ["its machine cannot be read", { hasMachine: false }, []],
    ["the ways cannot lead here now", { links: failing("the kernel is busy") }, ["link"]],
  ])("does so all the same when %s: the next pass does that", async (_, circumstances, link) => {
    const { done, finish } = target(copying("7"), circumstances);
    await finish(copying("7"));
    expect(done).toEqual(["Switching", "finish", ...link, "forget", "look"]);
  });

  test("is not taken for arrived when libvirt fails, and its session ends after that", async () => {
    const { done, finish } = target(copying("7"), { libvirt: failing("no such guest") });
    await expect(finish(copying("7"))).rejects.toThrow("no such guest");
    expect(done).toEqual(["Switching", "finish", "link", "forget", "look"]);
  });
});

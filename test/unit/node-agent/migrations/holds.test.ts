import { describe, expect, test } from "@jest/globals";
import type {
  MigrationPhase,
  VirtualMachineMigration,
} from "../../../../src/api/virtual-machine-migration.ts";
import { createMigrationHolds } from "../../../../src/node-agent/reconcilers/migration/migration-holds.ts";

const released = {
  type: "Released",
  status: "True" as const,
  reason: "Released",
  message: "Nothing is left.",
  lastTransitionTime: "2026-01-01T00:00:00Z",
  observedGeneration: 1,
};

const MACHINE = "5a1d7d0e-8f0c-4c52-9f7c-3f0a4f6b8c01";

const migration = (
  name: string,
  phase: MigrationPhase,
  {
    live = true,
    source = "here",
    createdAt = "2026-01-01T00:00:00Z",
    conditions = [] as (typeof released)[],
  } = {},
): VirtualMachineMigration => ({
  apiVersion: "vireo.dev/v1alpha1",
  kind: "VirtualMachineMigration",
  metadata: { name, namespace: "default", uid: name, resourceVersion: "1", creationTimestamp: createdAt },
  spec: { virtualMachine: "web", maxDowntimeMilliseconds: 300, autoConverge: true, timeoutSeconds: 3600 },
  status: {
    phase,
    live,
    conditions,
    machineUid: MACHINE,
    sourceNode: source,
    targetNode: source === "here" ? "there" : "here",
  },
});

const holdsOf = (...all: readonly VirtualMachineMigration[]) =>
  createMigrationHolds(
    "here",
    () => all,
    (uid) => uid === "with-session",
  );

describe("what a migration forbids", () => {
  test.each<[string, VirtualMachineMigration, "shape" | "power" | undefined]>([
    ["nothing before it is accepted", migration("m", "Pending"), undefined],
    ["changes of the shape while the target prepares", migration("m", "Preparing"), "shape"],
    [
      "all while files of a guest that is off are copied",
      migration("m", "Preparing", { live: false }),
      "power",
    ],
    ["all while the guest is copied", migration("m", "Copying"), "power"],
    ["all while it is let go on", migration("m", "Switching", { source: "there" }), "power"],
    ["all at the source until that has cleaned up", migration("m", "Succeeded"), "power"],
    ["nothing at the target then", migration("m", "Succeeded", { source: "there" }), undefined],
    ["nothing when it has failed", migration("m", "Failed"), undefined],
    ["all until the session of one that failed has ended", migration("with-session", "Failed"), "power"],
  ])("%s", (_sentence, one, hold) => {
    expect(holdsOf(one).of(MACHINE)).toBe(hold);
    expect(holdsOf(one).of("another machine")).toBeUndefined();
  });

  test("is over at the source when it has cleaned up", () => {
    expect(holdsOf(migration("m", "Succeeded", { conditions: [released] })).of(MACHINE)).toBeUndefined();
  });

  test("is over at the source when the machine has come back by a later one", () => {
    const back = migration("back", "Succeeded", { source: "there", createdAt: "2026-01-02T00:00:00Z" });
    expect(holdsOf(migration("m", "Succeeded"), back).of(MACHINE)).toBeUndefined();
  });
});

import type { Hypervisor } from "../../../../src/api/hypervisor.ts";
import type { VirtualMachineMigration } from "../../../../src/api/virtual-machine-migration.ts";
import { noResources } from "../../../../src/controllers/scheduler/types.ts";
import type { Usage } from "../../../../src/controllers/virtual-machine/ledger.ts";
import { createReservations } from "../../../../src/controllers/virtual-machine/reservations.ts";
import {
  decideMigration,
  type MigrationDecision,
} from "../../../../src/controllers/virtual-machine-migration/decide.ts";
import { observeMigration } from "../../../../src/controllers/virtual-machine-migration/observe.ts";
import { createPromises } from "../../../../src/controllers/virtual-machine-migration/promises.ts";
import { keyOf } from "../../../../src/kube/index.ts";
import { type Held, machineOf, migrationWith, storesWith, WEB_UID } from "../disk-objects.ts";
import { hypervisorWith, NOW, readyCondition, uidOf } from "../objects.ts";

/** Migrations for tests, and what is done about them. */

export const nodeWith = (
  name: string,
  status: Parameters<typeof hypervisorWith>[0] = {},
  spec: Partial<Hypervisor["spec"]> = {},
): Hypervisor => hypervisorWith(status, { name, uid: uidOf(name) }, spec);

export const silent = { conditions: [readyCondition("Unknown", "HeartbeatLost")] };

/** Silent, and nothing of it runs. */
export const fenced = {
  conditions: [...silent.conditions, { ...readyCondition("True", "OutOfService"), type: "Fenced" }],
};

export const NODES: readonly Hypervisor[] = [nodeWith("node-1"), nodeWith("node-2")];

/** Machine web, whose guest is on. */
export const running = machineOf("web", {}, { status: { printableStatus: "Running" } });

type Status = NonNullable<VirtualMachineMigration["status"]>;

/** A migration of web from node-1 to node-2 that has been accepted. */
export const acceptedWith = (
  status: Partial<Status> = {},
  meta: Parameters<typeof migrationWith>[1] = {},
  spec: Partial<VirtualMachineMigration["spec"]> = {},
): VirtualMachineMigration =>
  migrationWith(
    {
      phase: "Preparing",
      observedGeneration: 1,
      machineUid: WEB_UID,
      sourceNode: "node-1",
      targetNode: "node-2",
      live: true,
      conditions: [
        readyCondition("False", "Accepted", "Node node-2 prepares for the machine."),
        {
          ...readyCondition("True", "Accepted", "The machine moves from node node-1 to node node-2."),
          type: "Accepted",
          lastTransitionTime: "2026-02-03T04:05:00Z",
        },
      ],
      ...status,
    },
    meta,
    spec,
  );

const emptyUsage: Usage = {
  resourcesOn: () => noResources,
  diskIn: () => 0,
  hasAddress: () => false,
  isAllowedAddress: () => false,
  hasMacAddress: () => false,
};

/** What is done about the first of the migrations. */
export const decide = (
  held: Held,
  { seenForMs = 60_000, maxParallel = 5, now = NOW, usage = emptyUsage } = {},
): MigrationDecision => {
  const [migration] = held.migrations ?? [];
  if (migration === undefined) throw new Error("no migration");
  const books = {
    reservations: createReservations(),
    promises: createPromises(),
    ledger: { usage: () => usage },
  };
  const facts = observeMigration(
    storesWith({ hypervisors: NODES, machines: [running], ...held }),
    { books, maxParallel, seenForMs: () => seenForMs },
    keyOf(migration),
  );
  if (facts === undefined) throw new Error("no facts");
  return decideMigration(facts, now);
};

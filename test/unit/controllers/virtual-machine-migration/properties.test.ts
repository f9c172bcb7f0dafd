import { describe, expect, test } from "@jest/globals";
import fc from "fast-check";

import { migrationPhases } from "../../../../src/api/virtual-machine-migration.ts";
import { claimsOf } from "../../../../src/controllers/virtual-machine-migration/claims.ts";
import { afterElders, obstacleOf } from "../../../../src/controllers/virtual-machine-migration/slots.ts";
import { ownParts } from "../../../../src/controllers/virtual-machine-migration/status.ts";
import { createLedger } from "../../../../src/controllers/virtual-machine/ledger.ts";
import { createReservations } from "../../../../src/controllers/virtual-machine/reservations.ts";
import { takenBy } from "../../../../src/controllers/virtual-machine/size.ts";
import { afterwards, DELETED, machineOf, madeVolume, migrationWith, storesWith } from "../disk-objects.ts";
import { acceptedWith, decide, fenced, nodeWith, running, silent } from "./migrating.ts";

describe("Whatever there is", () => {
  test("what was decided is done once, and no terminal phase changes", () => {
    expect.hasAssertions();
    const phase = fc.constantFrom(undefined, ...migrationPhases);
    const node = fc.constantFrom("none", "alive", "silent", "out", "closed");
    const nodeOf = (name: string, kind: string) =>
      kind === "none"
        ? []
        : [
            nodeWith(name, kind === "alive" || kind === "closed" ? {} : kind === "out" ? fenced : silent, {
              outOfService: kind === "out",
              unschedulable: kind === "closed",
            }),
          ];
    const machine = fc.constantFrom(
      [],
      [running],
      [machineOf("web", {}, { nodeName: "node-2" })],
      [machineOf("web", {}, { meta: DELETED })],
    );
    fc.assert(
      fc.property(phase, node, node, machine, fc.boolean(), (stage, source, target, machines, isDeleted) => {
        const meta = isDeleted ? DELETED : {};
        const migration =
          stage === undefined ? migrationWith(undefined, meta) : acceptedWith({ phase: stage }, meta);
        const held = { machines, hypervisors: [...nodeOf("node-1", source), ...nodeOf("node-2", target)] };
        const { steps } = decide({ ...held, migrations: [migration] });
        const next = afterwards(migration, steps, ownParts(migration));
        if (next === undefined) return;
        if (stage === "Succeeded" || stage === "Failed" || stage === "Cancelled")
          expect(next.status?.phase).toBe(stage);
        const again = afterwards(next, decide({ ...held, migrations: [next] }).steps, ownParts(next));
        if (again !== undefined && next.status?.phase === again.status?.phase)
          expect(decide({ ...held, migrations: [again] }).steps).toEqual([]);
      }),
    );
  });
});

describe("Room", () => {
  const nodes = fc.constantFrom("node-1", "node-2");

  test("is kept once on each of both nodes, wherever machine and Volumes are said to be", () => {
    expect.hasAssertions();
    fc.assert(
      fc.property(nodes, fc.array(nodes, { maxLength: 3 }), (seat, places) => {
        const volumes = places.map((nodeName, i) => madeVolume({ nodeName }, { name: `v${i}` }));
        const machine = machineOf("web", { given: volumes }, { nodeName: seat });
        const flight = { machineUid: machine.metadata.uid, sourceNode: "node-1", targetNode: "node-2" };
        const stores = storesWith({ machines: [machine], volumes });
        const still = { onChange: () => () => {}, unreadable: () => [] };
        const ledger = createLedger(
          {
            virtualMachines: { ...stores.virtualMachines, ...still },
            volumes: { ...stores.volumes, ...still },
          },
          createReservations(),
          () => [flight],
        );
        const usage = ledger.usage();
        const { vcpus, memoryMiB } = takenBy(machine);
        const disks = { local: 1024 * (1 + volumes.length) };
        for (const node of ["node-1", "node-2"])
          expect(usage.resourcesOn(node)).toEqual({ vcpus, memoryMiB, disks });
      }),
    );
  });

  test("is asked of two nodes, of each what is not there", () => {
    const [source, target] = claimsOf(
      { machineUid: running.metadata.uid, sourceNode: "node-1", targetNode: "node-2" },
      running,
      [{ nodeName: "node-2", pool: "nfs", sizeMiB: 7 }],
    );
    expect(source?.resources).toEqual({ vcpus: 0, memoryMiB: 0, disks: { nfs: 7 } });
    expect(target?.resources).toEqual(takenBy(running));
  });
});

describe("Limits", () => {
  const node = fc.constantFrom("a", "b", "c");
  const wish = fc.record({ sourceNode: node, targetNode: node });

  test("are never passed, in whatever order migrations are looked at, and the eldest that could go is never passed over", () => {
    expect.hasAssertions();
    const wishes = fc.array(wish, { minLength: 1, maxLength: 12 });
    fc.assert(
      fc.property(
        wishes,
        fc.integer({ min: 1, max: 4 }),
        fc.integer({ min: 1, max: 3 }),
        fc.infiniteStream(fc.nat()),
        (all, maxParallel, perNode, order) => {
          const hypervisors = ["a", "b", "c"].map((name) =>
            nodeWith(name, {}, { maxParallelMigrations: perNode }),
          );
          let queue = all.map((ends, i) => ({
            ...ends,
            migration: migrationWith(undefined, {
              name: `m${i}`,
              creationTimestamp: `2026-01-01T00:00:${10 + i}Z`,
            }),
          }));
          const [eldest] = queue;
          const flights: { sourceNode: string; targetNode: string }[] = [];
          for (let look = 0; look < 40; look += 1) {
            const [pick = 0] = [...order.take(1)];
            const one = queue[pick % Math.max(1, queue.length)];
            if (one === undefined) break;
            const slots = afterElders({ flights, hypervisors, maxParallel }, one.migration, queue);
            if (obstacleOf(slots, one) !== undefined) continue;
            flights.push(one);
            queue = queue.filter((other) => other !== one);
            if (eldest !== undefined && queue.includes(eldest))
              expect(obstacleOf({ flights, hypervisors, maxParallel }, eldest)).toBeUndefined();
          }
          expect(flights.length).toBeLessThanOrEqual(maxParallel);
          for (const name of ["a", "b", "c"])
            expect(
              flights.filter((f) => f.sourceNode === name || f.targetNode === name).length,
            ).toBeLessThanOrEqual(perNode);
        },
      ),
    );
  });
});

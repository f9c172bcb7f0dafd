import { describe, expect, test } from "@jest/globals";
import { createReservations } from "../../../src/controllers/virtual-machine/reservations.ts";
import { placement } from "./machine-facts.ts";
import { machineWith, placedMachine } from "./objects.ts";

const UID = "machine-1";
const at = (resourceVersion: string) => machineWith({}, { uid: UID, resourceVersion });

describe("A reservation", () => {
  test("counts from the moment it is held", () => {
    const reservations = createReservations();
    reservations.hold(UID, placement());
    expect(reservations.find(UID)).toEqual(placement());
    expect([...reservations.list()]).toEqual([[UID, placement()]]);
  });

  test("of a size ends when the machine was changed since, and not because it has an allocation", () => {
    const reservations = createReservations();
    const { allocation } = placement();
    const growth = { vcpus: 1, memoryMiB: 0, disks: {} };
    reservations.hold(UID, { kind: "resize", nodeName: "node-1", size: allocation.flavor, growth });
    reservations.sent(UID, "10");
    reservations.settle(() => placedMachine({}, { uid: UID, resourceVersion: "10" }));
    expect(reservations.find(UID)).toBeDefined();
    reservations.settle(() => placedMachine({}, { uid: UID, resourceVersion: "11" }));
    expect(reservations.find(UID)).toBeUndefined();
  });

  test("that was never sent ends with the attempt", () => {
    const reservations = createReservations();
    reservations.hold(UID, placement());
    reservations.releaseUnsent(UID);
    expect(reservations.find(UID)).toBeUndefined();
  });

  test("that was sent outlives the attempt: nobody knows what became of it", () => {
    const reservations = createReservations();
    reservations.hold(UID, placement());
    reservations.sent(UID, "10");
    reservations.releaseUnsent(UID);
    expect(reservations.find(UID)).toEqual(placement());
  });

  test.each([
    ["ends when the machine is gone", undefined, false],
    [
      "ends when the machine has its allocation",
      placedMachine({}, { uid: UID, resourceVersion: "11" }),
      false,
    ],
    ["ends when the machine was changed since, and has none: the write came too late", at("11"), false],
    ["holds while the store shows the version that the write was bound to", at("10"), true],
    ["holds while the store shows an older version", at("9"), true],
  ])("%s", (_, machine, holds) => {
    const reservations = createReservations();
    reservations.hold(UID, placement());
    reservations.sent(UID, "10");
    reservations.settle(() => machine);
    expect(reservations.find(UID) !== undefined).toBe(holds);
  });

  test("that is about to be sent is not ended by what the store does not show yet", () => {
    const reservations = createReservations();
    reservations.hold(UID, placement());
    reservations.settle(() => undefined);
    expect(reservations.find(UID)).toEqual(placement());
  });

  test("that is not there is not made by sending it: other statuses are sent too", () => {
    const reservations = createReservations();
    reservations.sent(UID, "10");
    expect(reservations.list().size).toBe(0);
  });
});

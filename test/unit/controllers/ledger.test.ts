import { describe, expect, test } from "@jest/globals";
import fc from "fast-check";
import type { VirtualMachine } from "../../../src/api/virtual-machine.ts";
import type { Volume } from "../../../src/api/volume.ts";
import { parseAddress } from "../../../src/api/ipv4.ts";
import { noResources } from "../../../src/controllers/scheduler/types.ts";
import { createLedger, type Ledger } from "../../../src/controllers/virtual-machine/ledger.ts";
import { createReservations } from "../../../src/controllers/virtual-machine/reservations.ts";
import { type Change, keyOf, type Store } from "../../../src/kube/index.ts";
import { placement } from "./machine-facts.ts";
import {
  allocationWith,
  guestOn,
  machineWith,
  placedMachine,
  uidOf,
  volumeOf,
  volumeWith,
} from "./objects.ts";

/** A store that a test changes by hand. */
const createHandStore = <T extends VirtualMachine | Volume>(initial: readonly T[] = []) => {
  const unreadable = new Set<string>();
  const objects = new Map(initial.map((machine) => [machine.metadata.name, machine]));
  const listeners: ((change: Change<T>) => void)[] = [];
  const tell = (change: Change<T>): void => {
    for (const listener of listeners) listener(change);
  };
  const store = {
    list: () => [...objects.values()],
    unreadable: () => [...unreadable].map((uid) => ({ uid })),
    byIndex: (_: string, uid: string) => [...objects.values()].filter(({ metadata }) => metadata.uid === uid),
    onChange: (listener: (change: Change<T>) => void) => {
      listeners.push(listener);
      return () => {};
    },
  } as unknown as Store<T>;
  return {
    store,
    set: (after: T): void => {
      const before = objects.get(after.metadata.name);
      objects.set(after.metadata.name, after);
      unreadable.delete(after.metadata.uid);
      tell({ key: keyOf(after), after, unreadable: false, ...(before && { before }) });
    },
    remove: (name: string): void => {
      const before = objects.get(name);
      if (before === undefined) return;
      objects.delete(name);
      tell({ key: keyOf(before), before, unreadable: false });
    },
    makeUnreadable: (name: string): void => {
      const before = objects.get(name);
      if (before === undefined) return;
      unreadable.add(before.metadata.uid);
      tell({ key: keyOf(before), before, unreadable: true });
    },
  };
};

const withoutVolumes = (virtualMachines: Store<VirtualMachine>) => ({
  virtualMachines,
  volumes: createHandStore<Volume>().store,
});

const machineAt = (name: string, address: string, node = "node-1"): VirtualMachine =>
  placedMachine({ nodeName: node, allocation: allocationWith(address) }, { name, uid: uidOf(name) });

const has = (ledger: Ledger, address: string): boolean =>
  ledger.usage().hasAddress("lan", parseAddress(address));

const ONE = { vcpus: 1, memoryMiB: 512, disks: { local: 1024 } };

describe("The books", () => {
  test("tell addresses that machines may share from those that are a machine's own", () => {
    const allocation = allocationWith("10.0.0.2");
    const [card] = allocation.interfaces;
    if (card === undefined) throw new Error("no card");
    const sharing = (name: string): VirtualMachine =>
      placedMachine(
        {
          allocation: {
            ...allocation,
            interfaces: [{ ...card, allowedAddresses: ["10.0.0.9"] }],
          },
        },
        { name, uid: uidOf(name) },
      );
    const machines = createHandStore([sharing("a"), sharing("b")]);
    const ledger = createLedger(withoutVolumes(machines.store), createReservations());
    const isAllowed = (): boolean => ledger.usage().isAllowedAddress("lan", parseAddress("10.0.0.9"));
    machines.remove("a");
    expect([has(ledger, "10.0.0.9"), isAllowed()]).toEqual([false, true]);
    machines.remove("b");
    expect(isAllowed()).toBe(false);
  });

  test("know what was there before them", () => {
    const ledger = createLedger(
      withoutVolumes(createHandStore([machineAt("a", "10.0.0.2")]).store),
      createReservations(),
    );
    expect(has(ledger, "10.0.0.2")).toBe(true);
    expect(has(ledger, "10.0.0.3")).toBe(false);
    expect(ledger.usage().hasAddress("wan", parseAddress("10.0.0.2"))).toBe(false);
    expect(ledger.usage().hasMacAddress("02:00:00:00:00:01")).toBe(true);
    expect(ledger.usage().resourcesOn("node-1")).toEqual(ONE);
    expect(ledger.usage().resourcesOn("node-2")).toEqual(noResources);
  });

  test("free what a machine had when it is gone", () => {
    const { store, set, remove } = createHandStore<VirtualMachine>();
    const ledger = createLedger(withoutVolumes(store), createReservations());
    set(machineAt("a", "10.0.0.2"));
    expect(has(ledger, "10.0.0.2")).toBe(true);
    remove("a");
    expect(has(ledger, "10.0.0.2")).toBe(false);
    expect(ledger.usage().resourcesOn("node-1")).toEqual(noResources);
  });

  test("keep an address that two had until both are gone", () => {
    const { store, remove } = createHandStore([machineAt("a", "10.0.0.2"), machineAt("b", "10.0.0.2")]);
    const ledger = createLedger(withoutVolumes(store), createReservations());
    remove("a");
    expect(has(ledger, "10.0.0.2")).toBe(true);
    remove("b");
    expect(has(ledger, "10.0.0.2")).toBe(false);
  });

  test("keep what a machine had that cannot be understood any more", () => {
    const { store, makeUnreadable, set } = createHandStore([machineAt("a", "10.0.0.2")]);
    const ledger = createLedger(withoutVolumes(store), createReservations());
    makeUnreadable("a");
    expect(has(ledger, "10.0.0.2")).toBe(true);
    set(machineAt("a", "10.0.0.2"));
    expect(ledger.usage().resourcesOn("node-1")).toEqual(ONE);
  });

  test("count what is reserved, once, before and after the store shows it", () => {
    const { store, set } = createHandStore<VirtualMachine>([
      machineWith({}, { name: "a", uid: uidOf("a"), resourceVersion: "1" }),
    ]);
    const reservations = createReservations();
    const ledger = createLedger(withoutVolumes(store), reservations);
    reservations.hold(uidOf("a"), placement("10.0.0.2"));
    reservations.sent(uidOf("a"), "1");
    expect(ledger.usage().resourcesOn("node-1")).toEqual(ONE);
    set(machineAt("a", "10.0.0.2"));
    expect(ledger.usage().resourcesOn("node-1")).toEqual(ONE);
    expect(reservations.list().size).toBe(0);
    expect(has(ledger, "10.0.0.2")).toBe(true);
  });

  test("count the Volumes that are on a node, by storage pool, as large as they are to be", () => {
    const volumes = createHandStore<Volume>();
    const ledger = createLedger(
      {
        virtualMachines: createHandStore<VirtualMachine>([machineAt("a", "10.0.0.2")]).store,
        volumes: volumes.store,
      },
      createReservations(),
    );
    const volume = (name: string, nodeName: string | undefined, sizeMiB?: number): Volume =>
      volumeWith(
        { pool: "nfs", size: "2Gi" },
        { name, uid: uidOf(name) },
        { ...(nodeName !== undefined && { nodeName }), ...(sizeMiB !== undefined && { sizeMiB }) },
      );
    volumes.set(volume("pending", undefined));
    expect(ledger.usage().diskIn("nfs")).toBe(0);
    volumes.set(volume("data", "node-1", 1024));
    volumes.set(volume("logs", "node-2", 3072));
    expect(ledger.usage().resourcesOn("node-1")).toEqual({ ...ONE, disks: { local: 1024, nfs: 2048 } });
    expect(ledger.usage().diskIn("nfs")).toBe(5120);
    volumes.remove("data");
    expect(ledger.usage().resourcesOn("node-1")).toEqual(ONE);
    expect(ledger.usage().diskIn("nfs")).toBe(3072);
  });

  test("count a Volume that has no node yet where the machine is that was given it, once", () => {
    const machine = (allocated: boolean): VirtualMachine =>
      placedMachine(
        {
          allocation: {
            ...allocationWith(),
            ...(allocated && { volumes: [{ name: "data", uid: uidOf("data") }] }),
          },
        },
        { name: "a", uid: uidOf("a") },
      );
    const machines = createHandStore<VirtualMachine>([machine(false)]);
    const volumes = createHandStore<Volume>();
    const ledger = createLedger(
      { virtualMachines: machines.store, volumes: volumes.store },
      createReservations(),
    );
    const disks = () => ledger.usage().resourcesOn("node-1").disks;
    const data = volumeOf("data", machine(false), {}, { size: "2Gi" });
    volumes.set(data);
    expect(disks()).toEqual({ local: 1024 });
    machines.set(machine(true));
    expect(disks()).toEqual({ local: 3072 });
    volumes.set({ ...data, status: { ...data.status, nodeName: "node-1" } });
    expect(disks()).toEqual({ local: 3072 });
    volumes.makeUnreadable("data");
    machines.set(machine(false));
    expect(disks()).toEqual({ local: 3072 });
  });

  test("count what a running guest still has that its machine was given before", () => {
    const allocation = allocationWith("10.0.0.2", { memoryMiB: 512 });
    const guest = { ...guestOn(), vcpus: 1, memoryMiB: 2048 };
    const shrunk = (status: Partial<NonNullable<VirtualMachine["status"]>>): VirtualMachine =>
      placedMachine({ allocation, ...status }, { name: "a", uid: uidOf("a") });
    const machines = createHandStore<VirtualMachine>([shrunk({ guest })]);
    const ledger = createLedger(withoutVolumes(machines.store), createReservations());
    expect(ledger.usage().resourcesOn("node-1")).toEqual({ ...ONE, memoryMiB: 2048 });
    machines.set(shrunk({ guest: { ...guest, nodeName: "node-0" } }));
    expect(ledger.usage().resourcesOn("node-1")).toEqual(ONE);
    machines.set(shrunk({ guest }));
    machines.set(shrunk({ guest: { ...guestOn(), powerState: "ShutOff" } }));
    expect(ledger.usage().resourcesOn("node-1")).toEqual(ONE);
  });

  test("count what a machine is to have more, until the store shows the machine with it", () => {
    const machines = createHandStore<VirtualMachine>([machineAt("a", "10.0.0.2")]);
    const reservations = createReservations();
    const ledger = createLedger(withoutVolumes(machines.store), reservations);
    const size = { ...allocationWith().flavor, vcpus: 3 };
    const growth = { vcpus: 2, memoryMiB: 0, disks: {} };
    reservations.hold(uidOf("a"), { kind: "resize", nodeName: "node-1", size, growth });
    reservations.sent(uidOf("a"), "1");
    expect(ledger.usage().resourcesOn("node-1")).toEqual({ ...ONE, vcpus: 3 });
    machines.set(
      placedMachine(
        { allocation: allocationWith("10.0.0.2", { vcpus: 3 }) },
        { name: "a", uid: uidOf("a"), resourceVersion: "2" },
      ),
    );
    expect(ledger.usage().resourcesOn("node-1")).toEqual({ ...ONE, vcpus: 3 });
    expect(reservations.list().size).toBe(0);
  });

  test("are the same whether they were kept from the start or are opened now, whatever happened", () => {
    const anyAction = fc.record({
      name: fc.constantFrom("a", "b", "c"),
      address: fc.constantFrom("10.0.0.2", "10.0.0.3"),
      node: fc.constantFrom("node-1", "node-2"),
      kind: fc.constantFrom("place", "unplace", "remove"),
    });
    fc.assert(
      fc.property(fc.array(anyAction, { maxLength: 20 }), (actions) => {
        const { store, set, remove } = createHandStore<VirtualMachine>();
        const kept = createLedger(withoutVolumes(store), createReservations());
        for (const { name, address, node, kind } of actions) {
          if (kind === "place") set(machineAt(name, address, node));
          if (kind === "unplace") set(machineWith({}, { name, uid: uidOf(name) }));
          if (kind === "remove") remove(name);
        }
        const opened = createLedger(withoutVolumes(store), createReservations());
        for (const node of ["node-1", "node-2"])
          expect(kept.usage().resourcesOn(node)).toEqual(opened.usage().resourcesOn(node));
        for (const address of ["10.0.0.2", "10.0.0.3"]) expect(has(kept, address)).toBe(has(opened, address));
      }),
    );
  });
});

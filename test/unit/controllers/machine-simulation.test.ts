import { afterEach, beforeEach, describe, expect, test } from "@jest/globals";
import { setTimeout as delay } from "node:timers/promises";
import { flavors } from "../../../src/api/flavor.ts";
import { hypervisors } from "../../../src/api/hypervisor.ts";
import { images } from "../../../src/api/image.ts";
import { keyPairs } from "../../../src/api/key-pair.ts";
import { networks } from "../../../src/api/network.ts";
import { type VirtualMachine, virtualMachines } from "../../../src/api/virtual-machine.ts";
import { FakeKubeApiServer } from "../../fakes/kube-api-server.ts";
import { waitFor } from "../../testbed/wait.ts";
import {
  flavorWith,
  hypervisorWith,
  imageWith,
  keyPairWith,
  machineWith,
  numberedNetwork,
  uidOf,
} from "./objects.ts";
import {
  type ControllerRun,
  findDoubles,
  machinesOf,
  put,
  release,
  remove,
  runMachineController,
  type RunOptions,
} from "./world.ts";

/**
 * The machines' controller, with its real stores, queue and client, over an API
 * server in memory that is slow to tell and may fail at any moment.
 */

let server: FakeKubeApiServer;
let runs: ControllerRun[];
/** Writes to each machine that took effect, its creation not counted. */
let writes: Map<string, number>;
/** Machines whose node was changed after it had been chosen. */
let moves: string[];

beforeEach(async () => {
  server = new FakeKubeApiServer();
  await server.start();
  runs = [];
  writes = new Map();
  moves = [];
  put(server, flavors, flavorWith());
  put(server, images, imageWith());
  put(server, keyPairs, keyPairWith());
  put(server, networks, numberedNetwork());
});

afterEach(async () => {
  await Promise.all(runs.map((run) => run.stop().catch(() => {})));
  await server.stop();
});

const start = (options: RunOptions = {}): ControllerRun => {
  const run = runMachineController(server, options);
  runs.push(run);
  return run;
};

const countWrites = (): void => {
  server.objects.onWrite(({ collection, before, after }) => {
    if (!collection.endsWith("/virtualmachines") || before === undefined || after === undefined) return;
    const { name } = after.metadata;
    const [from, to] = [before, after].map((object) => virtualMachines.parse(object).status?.nodeName);
    if (from !== undefined && from !== to) moves.push(`${name} from ${from} to ${to}`);
    writes.set(name, (writes.get(name) ?? 0) + 1);
  });
};

const node = (name: string, machines: number) =>
  hypervisorWith(
    { capacity: { cpus: machines, memoryMiB: 1_000_000, diskMiB: 10_000_000 } },
    { name, uid: uidOf(name) },
  );

const makeMachines = (count: number): void => {
  for (let index = 0; index < count; index += 1) {
    const name = `vm-${index}`;
    put(server, virtualMachines, machineWith({}, { name, uid: uidOf(name) }));
  }
};

const isPlaced = ({ status }: VirtualMachine): boolean => status?.nodeName !== undefined;
const isRefused = ({ status }: VirtualMachine): boolean =>
  status?.conditions?.some(({ type, reason }) => type === "Scheduled" && reason === "Unschedulable") ?? false;

const untilSettled = (placed: number, refused = 0): Promise<readonly VirtualMachine[]> =>
  waitFor(`${placed} machines placed, ${refused} refused`, () => {
    const machines = machinesOf(server);
    const seen = [machines.filter(isPlaced).length, machines.filter(isRefused).length];
    if (seen[0] !== placed || seen[1] !== refused || machines.length !== placed + refused)
      throw new Error(`${seen[0]} placed, ${seen[1]} refused of ${machines.length}`);
    return machines;
  });

/** Between 0 and 15 ms, the same in each run of the test. */
const unevenLag = (): (() => Promise<void>) => {
  let state = 12_345;
  return async () => {
    state = (state * 1_103_515_245 + 12_345) % 2 ** 31;
    await delay(state % 16);
  };
};

describe("A hundred machines at once", () => {
  test("over stale stores get different addresses, fill no node beyond its room, and cost two writes each", async () => {
    const nodes = [node("a", 40), node("b", 30), node("c", 20)];
    for (const each of nodes) put(server, hypervisors, each);
    makeMachines(100);
    countWrites();
    start({ lag: unevenLag() });
    const machines = await untilSettled(90, 10);
    expect(findDoubles(machines, nodes)).toEqual([]);
    for (const machine of machines)
      expect(writes.get(machine.metadata.name)).toBeLessThanOrEqual(isPlaced(machine) ? 2 : 1);
  });

  test("that wait are placed as others go, with the addresses of those", async () => {
    const nodes = [node("a", 5)];
    for (const each of nodes) put(server, hypervisors, each);
    makeMachines(8);
    start({ lag: unevenLag() });
    const before = (await untilSettled(5, 3)).filter(isPlaced);
    const going = before.slice(0, 2);
    for (const machine of going) remove(server, machine);
    for (const machine of going) release(server, machine);
    const after = await untilSettled(5, 1);
    expect(findDoubles(after, nodes)).toEqual([]);
    const addresses = (list: readonly VirtualMachine[]): readonly string[] =>
      list
        .flatMap(({ status }) => status?.allocation?.interfaces.map(({ address }) => address) ?? [])
        .toSorted();
    expect(addresses(after)).toEqual(addresses(before));
  });
});

describe("Machines that want the same", () => {
  const conditionOf = ({ status }: VirtualMachine, type: string) =>
    status?.conditions?.find((condition) => condition.type === type);

  test("address get it one after the other, as the one before goes", async () => {
    put(server, hypervisors, node("a", 40));
    for (let index = 0; index < 12; index += 1) {
      const networks = [{ name: "lan", address: "10.0.0.9", allowedAddresses: [] }];
      put(server, virtualMachines, machineWith({ networks }, { name: `vm-${index}` }));
    }
    countWrites();
    start({ lag: unevenLag() });
    const isTold = (machine: VirtualMachine): boolean =>
      conditionOf(machine, "NetworkReady")?.reason === "AddressTaken";
    for (let left = 12; left > 0; left -= 1) {
      const [holder, ...others] = await waitFor(`one of ${left} placed, the others told`, () => {
        const machines = machinesOf(server);
        const placed = machines.filter(isPlaced);
        if (machines.length !== left || placed.length !== 1 || machines.filter(isTold).length !== left - 1)
          throw new Error(`${placed.length} of ${machines.length} placed`);
        return placed;
      });
      expect(others).toEqual([]);
      if (holder === undefined) throw new Error("nobody has it");
      expect(holder.status?.allocation?.interfaces[0]?.address).toBe("10.0.0.9");
      remove(server, holder);
      release(server, holder);
    }
  });

  test("room on their node are given what there is, over stale stores, in one write each", async () => {
    const nodes = [node("a", 15)];
    for (const each of nodes) put(server, hypervisors, each);
    makeMachines(10);
    start({ lag: unevenLag() });
    const machines = await untilSettled(10);
    countWrites();
    for (const { metadata } of machines)
      server.objects.patch(
        { collection: "vireo.dev/v1alpha1/virtualmachines", namespace: "default", name: metadata.name },
        { spec: { vcpus: 2 } },
        undefined,
        "tester",
      );
    const after = await waitFor("five larger, five told", () => {
      const found = machinesOf(server);
      const larger = found.filter(({ status }) => status?.allocation?.flavor.vcpus === 2);
      const told = found.filter(
        (machine) => conditionOf(machine, "ResizePending")?.reason === "InsufficientCapacity",
      );
      if (larger.length !== 5 || told.length !== 5) throw new Error(`${larger.length}, ${told.length}`);
      return found;
    });
    expect(findDoubles(after, nodes)).toEqual([]);
    // The change of the spec, and what the controller says of it.
    expect(after.map(({ metadata }) => writes.get(metadata.name))).toEqual(after.map(() => 2));
  });
});

describe("A controller that dies", () => {
  test.each(["before", "after"] as const)(
    "%s any of its writes leaves nothing that the next cannot finish",
    async (when) => {
      const nodes = [node("a", 4), node("b", 4)];
      for (const each of nodes) put(server, hypervisors, each);
      makeMachines(8);
      countWrites();
      const isDone = (): boolean => machinesOf(server).every(isPlaced);
      for (let life = 1; !isDone(); life += 1) {
        // Lives of one, two or three writes, so that each step is somebody's last.
        const run = start({ death: { atWrite: (life % 3) + (when === "after" ? 1 : 2), when } });
        let isDead = false;
        void run.ended.catch(() => {}).finally(() => (isDead = true));
        await waitFor("the controller dead, or done", () => isDead || isDone());
        await run.stop().catch(() => {});
        expect(findDoubles(machinesOf(server), nodes)).toEqual([]);
      }
      start();
      const machines = await untilSettled(8);
      expect(findDoubles(machines, nodes)).toEqual([]);
      expect(machines.map(({ metadata }) => writes.get(metadata.name))).toEqual(machines.map(() => 2));
    },
  );
});

describe("Writes whose outcome is not known", () => {
  test("are repeated as they were, and give nothing twice", async () => {
    const nodes = [node("a", 10), node("b", 10)];
    for (const each of nodes) put(server, hypervisors, each);
    makeMachines(20);
    countWrites();
    for (let count = 0; count < 6; count += 1) {
      server.failNext("apply", { kind: "lose-answer" });
      server.failNext("patch", { kind: "lose-answer" });
      server.failNext("apply", { kind: "status", status: 503 });
      server.failNext("apply", { kind: "drop" });
    }
    start({ lag: unevenLag() });
    const machines = await untilSettled(20);
    expect(server.pendingFaults).toBe(0);
    expect(findDoubles(machines, nodes)).toEqual([]);
    expect(machines.map(({ metadata }) => writes.get(metadata.name))).toEqual(machines.map(() => 2));
  });
});

describe("Two controllers at once, as when a leader does not know yet that it is none", () => {
  test("place each machine once: the later write has no effect", async () => {
    const nodes = [node("a", 30), node("b", 30)];
    for (const each of nodes) put(server, hypervisors, each);
    makeMachines(30);
    countWrites();
    // They never agree, since each sees another node.
    start({ lag: unevenLag(), nodes: ["a"] });
    start({ lag: unevenLag(), nodes: ["b"] });
    const machines = await untilSettled(30);
    await Promise.all(runs.map((run) => run.stop().catch(() => {})));
    expect(moves).toEqual([]);
    expect(machines).toHaveLength(30);
  });
});

test("a machine that is deleted and made again while it is placed is not given what its predecessor was", async () => {
  put(server, hypervisors, node("a", 10));
  makeMachines(1);
  const unsubscribe = server.objects.onWrite(({ collection, before, after }) => {
    // The finalizer has just been written: the very moment between the two writes.
    const finalizers = after?.metadata["finalizers"];
    if (!collection.endsWith("/virtualmachines") || before === undefined || !Array.isArray(finalizers))
      return;
    unsubscribe();
    queueMicrotask(() => {
      const [machine] = machinesOf(server);
      if (machine === undefined) return;
      const address = { collection, namespace: "default", name: machine.metadata.name };
      server.objects.patch(address, { metadata: { finalizers: null } }, undefined, "tester");
      server.objects.delete(address, {});
      makeMachines(1);
    });
  });
  start();
  const [machine] = await untilSettled(1);
  expect(machine?.metadata.finalizers).toEqual(["vireo.dev/guest"]);
  const mac = machine?.status?.allocation?.interfaces[0]?.macAddress;
  expect(mac).toMatch(/^02:/);
  expect(machine?.metadata.uid).not.toBe(uidOf("vm-0"));
});

test("what a machine refers to may come a moment after it, at no further write", async () => {
  put(server, hypervisors, node("a", 10));
  put(server, virtualMachines, machineWith({ image: "later" }));
  countWrites();
  start();
  await waitFor("the controller to watch machines and images", () => server.watcherCount >= 7);
  put(server, images, imageWith({}, { name: "later", uid: uidOf("later") }));
  await untilSettled(1);
  expect(writes.get("hello")).toBe(2);
});

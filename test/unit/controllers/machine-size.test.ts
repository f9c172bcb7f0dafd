import { describe, expect, test } from "@jest/globals";
import fc from "fast-check";
import type { Flavor } from "../../../src/api/flavor.ts";
import type { VirtualMachine } from "../../../src/api/virtual-machine.ts";
import { judgeSize, type MachineSize } from "../../../src/controllers/virtual-machine/size.ts";
import { flavorWith, machineWith } from "./objects.ts";

type Spec = VirtualMachine["spec"];

/** 1 virtual CPU, 512 MiB, 1 GiB. */
const small = flavorWith();
const inline = { vcpus: 2, memory: "2Gi", disk: "4Gi" };

/** A machine without a flavor. */
const withoutFlavor = (changes: Partial<Spec> = {}): Spec => {
  const { flavor: _, ...spec } = machineWith(inline).spec;
  return { ...spec, ...changes };
};

const withFlavor = (changes: Partial<Spec> = {}): Spec => machineWith(changes).spec;

const topology = (sockets: number, cores: number, threads: number) => ({
  cpu: { topology: { sockets, cores, threads } },
});

const sizeOf = (spec: Spec, flavor: Flavor | undefined, allocated?: MachineSize): MachineSize => {
  const verdict = judgeSize(spec, flavor, allocated);
  if (verdict.kind !== "valid") throw new Error(JSON.stringify(verdict));
  return verdict.size;
};

const had: MachineSize = {
  name: "small",
  vcpus: 1,
  maxVcpus: 4,
  memoryMiB: 512,
  maxMemoryMiB: 512,
  diskMiB: 1024,
};

describe("The size of a machine", () => {
  test.each<[string, MachineSize, MachineSize]>([
    ["is its flavor's, with room for four times the CPUs", sizeOf(withFlavor(), small), had],
    [
      "is what it says itself, without a flavor",
      sizeOf(withoutFlavor(), undefined),
      { vcpus: 2, maxVcpus: 8, memoryMiB: 2048, maxMemoryMiB: 2048, diskMiB: 4096 },
    ],
    [
      "is its flavor's but for what it says itself",
      sizeOf(withFlavor({ memory: "1Gi" }), small),
      { ...had, memoryMiB: 1024, maxMemoryMiB: 1024 },
    ],
    [
      "has the room to grow that the flavor gives",
      sizeOf(withFlavor(), flavorWith({ maxVcpus: 2, maxMemory: "1Gi" })),
      { ...had, maxVcpus: 2, maxMemoryMiB: 1024 },
    ],
    [
      "has the room to grow that it says itself, rather than the flavor's",
      sizeOf(withFlavor({ maxVcpus: 3, maxMemory: "2Gi" }), flavorWith({ maxVcpus: 2, maxMemory: "1Gi" })),
      { ...had, maxVcpus: 3, maxMemoryMiB: 2048 },
    ],
    [
      "is not kept below what it says by what the flavor gives at most",
      sizeOf(withFlavor({ vcpus: 3, memory: "2Gi" }), flavorWith({ maxVcpus: 2, maxMemory: "1Gi" })),
      { ...had, vcpus: 3, maxVcpus: 3, memoryMiB: 2048, maxMemoryMiB: 2048 },
    ],
    [
      "never has room for more than 256 CPUs",
      sizeOf(withFlavor({ vcpus: 100 }), small),
      { ...had, vcpus: 100, maxVcpus: 256 },
    ],
    [
      "has room for as many CPUs as it lays out",
      sizeOf(withFlavor(topology(1, 3, 2)), flavorWith({ maxVcpus: 2 })),
      { ...had, maxVcpus: 6 },
    ],
    [
      "keeps its room to grow when it has grown into it",
      sizeOf(withFlavor({ vcpus: 3 }), small, had),
      { ...had, vcpus: 3, maxVcpus: 4 },
    ],
    [
      "has new room to grow when it has outgrown the old",
      sizeOf(withFlavor({ vcpus: 5, memory: "1Gi" }), small, had),
      { ...had, vcpus: 5, maxVcpus: 20, memoryMiB: 1024, maxMemoryMiB: 1024 },
    ],
    [
      "keeps its room to grow when it becomes smaller",
      sizeOf(withFlavor(), small, { ...had, memoryMiB: 1024, maxMemoryMiB: 1024 }),
      { ...had, maxMemoryMiB: 1024 },
    ],
    [
      "has a disk that does not shrink",
      sizeOf(withFlavor(), small, { ...had, diskMiB: 8192 }),
      { ...had, diskMiB: 8192 },
    ],
    [
      "is the same for a machine that was placed before there was room to grow",
      sizeOf(withFlavor(), small, { name: "small", vcpus: 1, memoryMiB: 512, diskMiB: 1024 }),
      { name: "small", vcpus: 1, memoryMiB: 512, diskMiB: 1024 },
    ],
  ])("%s", (_, size, expected) => {
    expect(size).toEqual(expected);
  });

  test.each<[string, Spec, Flavor | undefined, string]>([
    [
      "a flavor that cannot be counted",
      withFlavor(),
      flavorWith({ memory: "99999999T" }),
      'FlavorInvalid: Flavor small: spec.memory: "99999999T" is more than Vireo can count. Choose another flavor.',
    ],
    [
      "less room than its flavor's CPUs take",
      withFlavor({ maxVcpus: 1 }),
      flavorWith({ vcpus: 2 }),
      "SizeInvalid: The machine has 2 virtual CPUs, and spec.maxVcpus is 1. Set it to 2 or more.",
    ],
    [
      "less room than its flavor's memory takes",
      withFlavor({ maxMemory: "256Mi" }),
      small,
      "SizeInvalid: The machine has 512 MiB of memory, and spec.maxMemory is 256 MiB. Set it to 512Mi or more.",
    ],
    [
      "another number of CPUs than it lays out",
      withFlavor({ maxVcpus: 4, ...topology(1, 2, 1) }),
      small,
      "TopologyMismatch: spec.cpu.topology lays out 2 virtual CPUs (sockets times cores times threads), and spec.maxVcpus is 4. Make them the same.",
    ],
    [
      "fewer CPUs laid out than its flavor has",
      withFlavor(topology(1, 2, 1)),
      flavorWith({ vcpus: 4 }),
      "TopologyMismatch: spec.cpu.topology lays out 2 virtual CPUs (sockets times cores times threads), and the machine has 4. Lay out 4 or more.",
    ],
    [
      "more CPUs laid out than a machine can have",
      withFlavor(topology(200, 2, 1)),
      small,
      "TopologyMismatch: spec.cpu.topology lays out 400 virtual CPUs (sockets times cores times threads); a machine can have 256.",
    ],
  ])("is told to be wrong with %s", (_, spec, flavor, expected) => {
    const verdict = judgeSize(spec, flavor, undefined);
    if (verdict.kind !== "invalid") throw new Error("it is right");
    expect(`${verdict.reason}: ${verdict.message}`).toBe(expected);
  });

  test("is not known while there is no flavor of that name, whatever the machine says itself", () => {
    expect(judgeSize(withFlavor(inline), undefined, undefined)).toEqual({ kind: "missing" });
  });

  test("is settled once it is allocated, and never takes disk away, whatever it was", () => {
    const anySpec = fc
      .record({
        vcpus: fc.integer({ min: 1, max: 64 }),
        memory: fc.integer({ min: 64, max: 8192 }).map((size) => `${size}Mi`),
        disk: fc.integer({ min: 64, max: 8192 }).map((size) => `${size}Mi`),
      })
      .map(withoutFlavor);
    const anySize = fc.option(
      anySpec.map((spec) => sizeOf(spec, undefined)),
      { nil: undefined },
    );
    fc.assert(
      fc.property(anySpec, anySize, (spec, before) => {
        const size = sizeOf(spec, undefined, before);
        expect(sizeOf(spec, undefined, size)).toEqual(size);
        expect(size.diskMiB).toBeGreaterThanOrEqual(before?.diskMiB ?? 0);
        expect(size.maxVcpus).toBeGreaterThanOrEqual(size.vcpus);
        expect(size.maxMemoryMiB).toBeGreaterThanOrEqual(size.memoryMiB);
      }),
    );
  });
});

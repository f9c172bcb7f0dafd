import type { HugePageSize } from "../../../api/virtual-machine-spec.ts";
import type { Domain } from "../types.ts";
import { MEMORY_ALIAS } from "./aliases.ts";
import type { Configurator } from "./configurator.ts";
import { element, type XmlElement } from "./xml.ts";

/** The least that a virtio-mem device gives and takes: a huge page of the processor. */
const BLOCK_MIB = 2;

const PAGE_KIB = { "2Mi": 2048, "1Gi": 1_048_576 } as const satisfies Record<HugePageSize, number>;

/**
 * How much memory a running guest can be given beyond what it starts with, in
 * MiB. None on huge pages: a node keeps few of them, and would have to promise
 * some that it may not have.
 */
export const growthMiB = ({ memoryMiB, maxMemoryMiB = memoryMiB, hugePageSize }: Domain): number =>
  hugePageSize === undefined
    ? Math.max(0, maxMemoryMiB - memoryMiB - ((maxMemoryMiB - memoryMiB) % BLOCK_MIB))
    : 0;

/**
 * A device that nothing is asked of at the start; see
 * https://libvirt.org/kbase/memorydevices.html#virtio-mem-model
 */
const virtioMem = (sizeMiB: number): XmlElement =>
  element(
    "memory",
    { model: "virtio-mem" },
    element(
      "target",
      {},
      element("size", { unit: "MiB" }, sizeMiB),
      element("node", {}, 0),
      element("block", { unit: "MiB" }, BLOCK_MIB),
      element("requested", { unit: "MiB" }, 0),
    ),
    element("alias", { name: MEMORY_ALIAS }),
  );

const hugePages = ({ hugePageSize }: Domain): readonly XmlElement[] =>
  hugePageSize === undefined
    ? []
    : [
        element(
          "memoryBacking",
          {},
          element("hugepages", {}, element("page", { size: PAGE_KIB[hugePageSize], unit: "KiB" })),
        ),
      ];

/**
 * A guest whose memory can grow has a virtio-mem device, which libvirt counts
 * into <memory> in full, and a NUMA node for it (cpu.ts).
 *
 * https://libvirt.org/formatdomain.html#memory-allocation
 */
export const memory: Configurator = (want) => {
  const growth = growthMiB(want);
  const total = element("memory", { unit: "MiB" }, want.memoryMiB + growth);
  if (growth === 0) return { domain: [total, ...hugePages(want)] };
  const maximum = element("maxMemory", { slots: 1, unit: "MiB" }, want.memoryMiB + growth);
  const current = element("currentMemory", { unit: "MiB" }, want.memoryMiB);
  return { domain: [maximum, total, current], devices: [virtioMem(growth)] };
};

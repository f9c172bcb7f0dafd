import type { Flavor } from "../../api/flavor.ts";
import { parseQuantity } from "../../api/quantity.ts";
import { LOCAL_POOL } from "../../api/storage-pool.ts";
import type { VirtualMachine, VirtualMachineAllocation } from "../../api/virtual-machine.ts";
import type { Volume } from "../../api/volume.ts";
import { sentence } from "../conditions.ts";
import { flavorSizes, type FlavorSizes, wholeMiB } from "../flavor/sizes.ts";
import { noResources, type Resources } from "../scheduler/types.ts";

/** A size as it is allocated. */
export type MachineSize = VirtualMachineAllocation["flavor"];

/** The size that a machine's spec asks for. */
export type SizeVerdict =
  | { readonly kind: "valid"; readonly size: MachineSize }
  /** It names a flavor that is not there. */
  | { readonly kind: "missing" }
  | {
      readonly kind: "invalid";
      readonly reason: "FlavorInvalid" | "SizeInvalid" | "TopologyMismatch";
      readonly message: string;
    };

/** Most virtual CPUs of a machine (src/api/virtual-machine-spec.ts). */
const MAX_VCPUS = 256;
/** Room for virtual CPUs to come, where nobody says how much. */
const VCPU_HEADROOM = 4;

type Spec = VirtualMachine["spec"];
type Offer = Partial<Omit<Extract<FlavorSizes, { kind: "valid" }>, "kind">>;

/**
 * Flavor and inline numbers put together. The inline ones count more.
 *
 * What nobody chose stays as it was allocated as long as it suffices: a
 * machine that gets another CPU while it runs must not need a restart because
 * four times as many would now be its limit. A disk never shrinks.
 *
 * @param allocated what the machine has by now
 */
export const judgeSize = (
  spec: Spec,
  flavor: Flavor | undefined,
  allocated: MachineSize | undefined,
): SizeVerdict => {
  if (spec.flavor !== undefined && flavor === undefined) return { kind: "missing" };
  const offer = flavor === undefined ? undefined : flavorSizes(flavor);
  if (offer?.kind === "invalid")
    return { kind: "invalid", reason: "FlavorInvalid", message: flavorProblem(spec.flavor, offer.message) };
  try {
    return sizeOf(spec, offer ?? {}, allocated);
  } catch (error) {
    if (error instanceof RangeError)
      return { kind: "invalid", reason: "SizeInvalid", message: sentence(error.message) };
    throw error;
  }
};

const flavorProblem = (name: string | undefined, message: string): string =>
  `Flavor ${name}: ${sentence(message)} Choose another flavor.`;

const sizeOf = (spec: Spec, offer: Offer, allocated: MachineSize | undefined): SizeVerdict => {
  const vcpus = spec.vcpus ?? offer.vcpus;
  const memoryMiB = inMiB("spec.memory", spec.memory) ?? offer.memoryMiB;
  const diskMiB = inMiB("spec.disk", spec.disk) ?? offer.diskMiB;
  // The API server's rule: without a flavor, all three are set.
  if (vcpus === undefined || memoryMiB === undefined || diskMiB === undefined)
    return invalid("SizeInvalid", "Without spec.flavor, spec.vcpus, spec.memory and spec.disk must be set.");
  const maxMemoryMiB =
    inMiB("spec.maxMemory", spec.maxMemory) ??
    atLeast(memoryMiB, offer.maxMemoryMiB) ??
    kept(memoryMiB, allocated?.maxMemoryMiB, allocated?.memoryMiB, memoryMiB);
  const maxVcpus =
    coresOf(spec) ??
    spec.maxVcpus ??
    atLeast(vcpus, offer.maxVcpus) ??
    kept(vcpus, allocated?.maxVcpus, allocated?.vcpus, Math.min(MAX_VCPUS, VCPU_HEADROOM * vcpus));
  const problem = problemOf(spec, { vcpus, maxVcpus, memoryMiB, maxMemoryMiB });
  if (problem !== undefined) return problem;
  return {
    kind: "valid",
    size: {
      ...(spec.flavor !== undefined && { name: spec.flavor }),
      vcpus,
      ...(maxVcpus !== undefined && { maxVcpus }),
      memoryMiB,
      ...(maxMemoryMiB !== undefined && { maxMemoryMiB }),
      diskMiB: Math.max(diskMiB, allocated?.diskMiB ?? 0),
    },
  };
};

const inMiB = (field: string, quantity: string | undefined): number | undefined =>
  quantity === undefined ? undefined : wholeMiB(field, quantity);

/** A flavor's limit does not keep a machine below what its own spec says. */
const atLeast = (wanted: number, limit: number | undefined): number | undefined =>
  limit === undefined ? undefined : Math.max(wanted, limit);

/** The limit that was allocated, while it suffices; an allocation without one has no more than what it is given. */
const kept = (
  wanted: number,
  limit: number | undefined,
  given: number | undefined,
  otherwise: number,
): number | undefined => ((limit ?? given ?? 0) >= wanted ? limit : otherwise);

const coresOf = ({ cpu }: Spec): number | undefined =>
  cpu?.topology === undefined ? undefined : cpu.topology.sockets * cpu.topology.cores * cpu.topology.threads;

const problemOf = (
  spec: Spec,
  {
    vcpus,
    maxVcpus = vcpus,
    memoryMiB,
    maxMemoryMiB = memoryMiB,
  }: Pick<MachineSize, "vcpus" | "maxVcpus" | "memoryMiB" | "maxMemoryMiB">,
): SizeVerdict | undefined => {
  const cores = coresOf(spec);
  if (cores !== undefined && (cores !== (spec.maxVcpus ?? cores) || cores < vcpus || cores > MAX_VCPUS))
    return invalid("TopologyMismatch", topologyMessage(spec, cores, vcpus));
  if (maxVcpus < vcpus)
    return invalid(
      "SizeInvalid",
      `The machine has ${vcpus} virtual CPUs, and spec.maxVcpus is ${maxVcpus}. Set it to ${vcpus} or more.`,
    );
  if (maxMemoryMiB < memoryMiB)
    return invalid(
      "SizeInvalid",
      `The machine has ${memoryMiB} MiB of memory, and spec.maxMemory is ${maxMemoryMiB} MiB. Set it to ${memoryMiB}Mi or more.`,
    );
  return undefined;
};

const topologyMessage = ({ maxVcpus }: Spec, cores: number, vcpus: number): string => {
  const laidOut = `spec.cpu.topology lays out ${cores} virtual CPUs (sockets times cores times threads)`;
  if (maxVcpus !== undefined && maxVcpus !== cores)
    return `${laidOut}, and spec.maxVcpus is ${maxVcpus}. Make them the same.`;
  return cores > MAX_VCPUS
    ? `${laidOut}; a machine can have ${MAX_VCPUS}.`
    : `${laidOut}, and the machine has ${vcpus}. Lay out ${vcpus} or more.`;
};

const invalid = (
  reason: Extract<SizeVerdict, { kind: "invalid" }>["reason"],
  message: string,
): SizeVerdict => ({ kind: "invalid", reason, message });

/**
 * What a machine takes of its node: what it was given, or more, while its
 * running guest has not let go of what it had before.
 */
export const takenBy = ({ status }: VirtualMachine): Resources => {
  const { allocation, guest, nodeName } = status ?? {};
  if (allocation === undefined) return noResources;
  const given = resourcesOf(allocation.flavor, allocation.pool);
  if (guest === undefined || guest.nodeName !== nodeName) return given;
  return {
    ...given,
    vcpus: Math.max(given.vcpus, guest.vcpus ?? 0),
    memoryMiB: Math.max(given.memoryMiB, guest.memoryMiB ?? 0),
  };
};

const MIB = 2 ** 20;

/** What a Volume takes, or will when it has grown. */
export const volumeSizeMiB = ({ spec, status }: Volume): number =>
  Math.max(status?.sizeMiB ?? 0, Math.ceil(parseQuantity(spec.size) / MIB));

/** What a machine of that size takes of its node. */
export const resourcesOf = (
  { vcpus, memoryMiB, diskMiB }: MachineSize,
  pool: string = LOCAL_POOL,
): Resources => ({ vcpus, memoryMiB, disks: { [pool]: diskMiB } });

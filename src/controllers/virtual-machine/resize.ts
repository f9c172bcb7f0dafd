import { filters } from "../scheduler/filters.ts";
import { type Candidate, noResources, type Resources, subtractResources } from "../scheduler/types.ts";
import { isSameStatus } from "../status-writer.ts";
import type { PlacedFacts } from "./observe.ts";
import type { Resize } from "./reservations.ts";
import { judgeSize, type MachineSize, resourcesOf, type SizeVerdict, takenBy } from "./size.ts";
import { memoryIsAsLargeAsTheImageAsks } from "./size-checks.ts";
import { INSUFFICIENT_CAPACITY } from "./violation.ts";

/** What becomes of a machine's size. */
export type ResizeChoice =
  /** It has what it asks for. */
  | { readonly kind: "none" }
  | { readonly kind: "granted"; readonly resize: Resize }
  /** It keeps what it has. */
  | { readonly kind: "pending"; readonly reason: string; readonly message: string };

/**
 * A machine stays on its node, so that the node must have the room. What
 * becomes smaller needs none, also on a node that has given out too much.
 */
export const chooseResize = (facts: PlacedFacts): ResizeChoice => {
  const { machine, flavor, node, reserved } = facts;
  const allocation = machine.status?.allocation;
  if (allocation === undefined || node === undefined || !facts.isUnderstood) return { kind: "none" };
  // It may have been written already; whatever else is true by now, it must not be another one.
  if (reserved?.kind === "resize") return { kind: "granted", resize: reserved };
  const verdict = judgeSize(machine.spec, flavor, allocation.flavor);
  if (verdict.kind !== "valid") return pendingFor(facts, verdict);
  const { size } = verdict;
  if (isSameStatus(allocation.flavor, size)) return { kind: "none" };
  const unsuited = memoryIsAsLargeAsTheImageAsks({ ...facts, ...imageOf(facts) });
  if (unsuited !== undefined) return { kind: "pending", reason: unsuited.reason, message: unsuited.message };
  const before = takenBy(machine);
  const after = resourcesOf(size, allocation.pool);
  const growth = growthOf(before, after);
  if (facts.unreadableMachines > 0 && !isSameStatus(growth, noResources))
    return {
      kind: "pending",
      reason: UNREADABLE_MACHINES,
      message: unreadableMessage(facts.unreadableMachines),
    };
  const lack = lackOf(growth, after, { ...node, allocated: subtractResources(node.allocated, before) });
  if (lack !== undefined)
    return {
      kind: "pending",
      reason: INSUFFICIENT_CAPACITY,
      message: messageOf(node, lack, allocation.flavor),
    };
  return { kind: "granted", resize: { kind: "resize", nodeName: node.name, size, growth } };
};

/** The image that the machine was made of; another one of the name has no say. */
const imageOf = ({ machine, image }: PlacedFacts) => ({
  image: image?.metadata.uid === machine.status?.allocation?.image?.uid ? image : undefined,
  imageReports: [],
  source: undefined,
});

/** A flavor that is gone takes nothing away from the machines that were given its size. */
const pendingFor = (
  { machine }: PlacedFacts,
  verdict: Exclude<SizeVerdict, { kind: "valid" }>,
): ResizeChoice => {
  if (verdict.kind === "invalid")
    return { kind: "pending", reason: verdict.reason, message: verdict.message };
  const { flavor } = machine.spec;
  if (flavor === machine.status?.allocation?.flavor.name) return { kind: "none" };
  return {
    kind: "pending",
    reason: "FlavorNotFound",
    message: `Flavor ${flavor} does not exist. Make it; flavors are cluster-wide.`,
  };
};

/** Nothing is given out while it is not known what is given out. */
export const UNREADABLE_MACHINES = "UnreadableMachines";

const unreadableMessage = (count: number): string =>
  `No machine is given more, because the controller cannot understand ${count === 1 ? "a VirtualMachine" : `${count} VirtualMachines`} and so does not know how much room there is on the node; its log says more. Is it older than the CustomResourceDefinitions?`;

const growthOf = (before: Resources, after: Resources): Resources => ({
  vcpus: Math.max(0, after.vcpus - before.vcpus),
  memoryMiB: Math.max(0, after.memoryMiB - before.memoryMiB),
  disks: Object.fromEntries(
    Object.entries(after.disks)
      .map(([pool, sizeMiB]) => [pool, sizeMiB - (before.disks[pool] ?? 0)] as const)
      .filter(([, more]) => more > 0),
  ),
});

/** Why the node cannot give what grows, as the rest of a sentence that begins with the node's name. */
const lackOf = (growth: Resources, after: Resources, others: Candidate): string | undefined => {
  const { cpusAreFree, memoryIsFree, diskIsFree } = filters;
  const lacks = [
    growth.vcpus > 0 ? cpusAreFree(after, others) : undefined,
    growth.memoryMiB > 0 ? memoryIsFree(after, others) : undefined,
    Object.keys(growth.disks).length > 0 ? diskIsFree(after, others) : undefined,
  ].filter((lack) => lack !== undefined);
  return lacks.length === 0 ? undefined : lacks.join(" and ");
};

const messageOf = ({ name }: Candidate, lack: string, kept: MachineSize): string =>
  `Node ${name} ${lack}. The machine keeps ${describeSize(kept)}. Ask for less, or make room on the node: other machines of it can be deleted or made smaller.`;

/** For example "2 virtual CPUs, 4096 MiB of memory and a root disk of 10240 MiB". */
export const describeSize = ({ vcpus, memoryMiB, diskMiB }: MachineSize): string =>
  `${vcpus} virtual ${vcpus === 1 ? "CPU" : "CPUs"}, ${memoryMiB} MiB of memory and a root disk of ${diskMiB} MiB`;

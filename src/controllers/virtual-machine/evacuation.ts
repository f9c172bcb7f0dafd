import { fateOfFenced, isFenced } from "../hypervisor/fencing.ts";
import { explainPlacement } from "../scheduler/explain.ts";
import { schedule } from "../scheduler/schedule.ts";
import type { PlacedFacts } from "./observe.ts";
import { relocationCandidates, relocationRequest, sortDisks } from "./relocation.ts";
import type { Relocation } from "./reservations.ts";

/** What becomes of a machine whose node is fenced. */
export type EvacuationChoice =
  /** Its node is in service, or may be. */
  | { readonly kind: "none" }
  | { readonly kind: "node"; readonly relocation: Relocation }
  /** It cannot be started elsewhere; says why, and what can be done. */
  | { readonly kind: "stays"; readonly message: string };

/**
 * A machine is started anew elsewhere only when its node is fenced: the
 * administrator has said that it is off, or its watchdog has reset it, and it is
 * silent; one that speaks is not off, and its guests would write to the same
 * disks. A machine on its way to another node is not touched before its
 * migration is over.
 */
export const chooseEvacuation = (facts: PlacedFacts): EvacuationChoice => {
  const { machine, hypervisor, migration, reserved, nodeName, nodes, unreadableMachines } = facts;
  if (hypervisor === undefined || !isFenced(hypervisor)) return { kind: "none" };
  if (migration !== undefined || machine.status?.allocation === undefined) return { kind: "none" };
  // It may have been written already; whatever else is true by now, it must not be another one.
  if (reserved?.kind === "relocation") return { kind: "node", relocation: reserved };
  const where = `Node ${nodeName} ${fateOfFenced(hypervisor)}, `;
  const { local } = sortDisks(facts);
  if (local.length > 0) return { kind: "stays", message: `${where}${lossMessage(nodeName, local)}` };
  // Where a Volume is that cannot be understood is not known.
  const isWhole =
    facts.isUnderstood && facts.givenVolumes.length === (machine.status.allocation.volumes?.length ?? 0);
  if (unreadableMachines > 0 || !isWhole)
    return {
      kind: "stays",
      message: `${where}and nothing is started elsewhere while the controller cannot understand some machines, or not all Volumes of this one; its log says more.`,
    };
  const relocation = { ...facts, nodes };
  const request = relocationRequest(relocation);
  const choice = schedule(request, relocationCandidates(relocation, { isOn: false }));
  if (choice.kind === "unschedulable")
    return {
      kind: "stays",
      message: `${where}and the machine waits for another one. ${explainPlacement(choice)}`,
    };
  const { vcpus, memoryMiB, disks } = request;
  return {
    kind: "node",
    relocation: { kind: "relocation", nodeName: choice.node, resources: { vcpus, memoryMiB, disks } },
  };
};

/** Snapshots are layers of the same disks, on the same node: they are of no help. */
const lossMessage = (
  nodeName: string,
  local: readonly { readonly name: string; readonly pool: string }[],
): string => {
  const disks = local.map(({ name, pool }) => `${name} (storage pool ${pool})`).join(", ");
  return `and only that node has ${disks}, with the snapshots of the machine. It goes on when the node is back. If the node is gone for good, delete the machine, and make it anew from an Image, or from a backup that you have elsewhere; then delete Hypervisor ${nodeName}.`;
};

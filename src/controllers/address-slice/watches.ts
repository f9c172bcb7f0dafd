import type { AddressSlice } from "../../api/address-slice.ts";
import { isTrue } from "../../api/condition.ts";
import type { Hypervisor } from "../../api/hypervisor.ts";
import type { Network } from "../../api/network.ts";
import type { VirtualMachine } from "../../api/virtual-machine.ts";
import type { Change } from "../../kube/index.ts";
import type { Stores } from "../context.ts";
import { BY_NODE } from "../stores.ts";
import { addressesOfNode } from "./entries.ts";
import { listOf, type ListKey, NODES } from "./observe.ts";

/** Which lists a change concerns; nothing of what happens to a guest that only runs. */

export const listsAfterMachine = ({ before, after }: Change<VirtualMachine>): readonly ListKey[] =>
  gistOf(before) === gistOf(after) ? [] : [...listsOf(before), ...listsOf(after)];

const listsOf = (machine: VirtualMachine | undefined): readonly ListKey[] =>
  (machine?.status?.allocation?.interfaces ?? []).map(({ network }) => ({ name: network }));

/** All that an entry is made from. */
const gistOf = (machine: VirtualMachine | undefined): string => {
  const { nodeName, allocation, conditions } = machine?.status ?? {};
  const cards = allocation?.interfaces ?? [];
  // Readiness decides only who has an address that several may have.
  const isSharing = cards.some(({ allowedAddresses }) => allowedAddresses.length > 0);
  return JSON.stringify([
    machine?.metadata.uid,
    machine?.spec.securityGroups,
    nodeName,
    cards.map(({ network, address, allowedAddresses }) => [network, address, allowedAddresses]),
    isTrue(conditions, "Released"),
    isSharing && isTrue(conditions, "Ready"),
  ]);
};

export const listsAfterHypervisor = (
  stores: Stores,
  { key, before, after }: Change<Hypervisor>,
): readonly ListKey[] => {
  const [earlier, now] = [before, after].map((node) => node && addressesOfNode(node).join());
  if (earlier === now) return [];
  return [NODES, ...stores.virtualMachines.byIndex(BY_NODE, key.name).flatMap(listsOf)];
};

/** A Network that comes or goes. */
export const listsAfterNetwork = ({ key, before, after }: Change<Network>): readonly ListKey[] =>
  before?.metadata.uid === after?.metadata.uid ? [] : [key];

/** Whoever writes slices, and whatever they held. */
export const listsAfterSlice = ({ before, after }: Change<AddressSlice>): readonly ListKey[] =>
  [before, after].flatMap((slice) => (slice === undefined ? [] : [listOf(slice)]));

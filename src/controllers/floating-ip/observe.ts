import { FLOATING_IP_FINALIZER, type FloatingIp } from "../../api/floating-ip.ts";
import type { FloatingIpPool } from "../../api/floating-ip-pool.ts";
import type { VirtualMachine } from "../../api/virtual-machine.ts";
import { type Clock, formatKey, keyOf, type ObjectKey, UnreadableObjectError } from "../../kube/index.ts";
import type { Stores } from "../context.ts";
import { lowestFree, poolAddresses } from "../floating-ip-pool/addresses.ts";
import { BY_ADDRESS, BY_NAMESPACE, BY_WISH } from "../stores.ts";
import type { AddressFacts } from "./address.ts";
import type { Candidate, ClaimFacts } from "./claim.ts";
import { judgeMachine, UNREADABLE } from "./judge.ts";
import { type FloatingMemory, type Move, promisedTo } from "./memory.ts";

/** A FloatingIP and all that is to be decided of it depends on. */
export interface FloatingIpFacts extends ClaimFacts {
  readonly floatingIp: FloatingIp;
  readonly isHeld: boolean;
  readonly address: AddressFacts;
  /** The other FloatingIP that has the same address: it must not happen, and is told if it does. */
  readonly rival: { readonly name: string; readonly isOlder: boolean } | undefined;
  /** The node that is said to answer has been silent for so long that it does not. */
  readonly holderIsFenced: boolean;
  /** Time since the claim could have been taken and was not, in ms; undefined when it could not. */
  readonly notTakenForMs: number | undefined;
  /** A move that was begun and whose end was not seen yet. */
  readonly move: Move | undefined;
  /** Monotonic ms of what happened last to the node of the claim if it is silent, else of now. */
  readonly happenedAt: number;
}

/** A node that could take a claim and has not done so after this time, in ms, is passed over. */
export const NOT_TAKEN_MS = 6_000;

/** Also brings the memory up to date: what was seen for the first time counts from now. */
export const observeFloatingIp = (
  stores: Stores,
  memory: FloatingMemory,
  clock: Pick<Clock, "monotonic">,
  key: ObjectKey,
): FloatingIpFacts | undefined => {
  const floatingIp = stores.floatingIps.get(key);
  if (floatingIp === undefined) return undefined;
  const { metadata, status } = floatingIp;
  const { claim, holder } = status ?? {};
  const notTakenForMs = memory.notTakenForMs(floatingIp);
  if (claim !== undefined && notTakenForMs !== undefined && notTakenForMs >= NOT_TAKEN_MS)
    if (memory.nodes.passedOver(claim.nodeName) === undefined)
      memory.nodes.passOver(claim.nodeName, "NotTaken");
  const isSilent = claim !== undefined && memory.nodes.isFenced(claim.nodeName);
  return {
    floatingIp,
    isHeld: metadata.finalizers?.includes(FLOATING_IP_FINALIZER) ?? false,
    address: observeAddress(stores, memory, floatingIp),
    rival: rivalOf(stores, floatingIp),
    candidates: candidatesOf(stores, floatingIp).map((name) => look(stores, memory, floatingIp, name)),
    present: claim === undefined ? undefined : lookAtClaimed(stores, memory, floatingIp, claim),
    holderIsFenced: holder !== undefined && memory.nodes.isFenced(holder.nodeName),
    notTakenForMs,
    move: memory.moves.get(metadata.uid),
    happenedAt: isSilent ? memory.nodes.aliveAt(claim.nodeName) : clock.monotonic(),
  };
};

const observeAddress = (stores: Stores, memory: FloatingMemory, floatingIp: FloatingIp): AddressFacts => {
  const { metadata, spec, status } = floatingIp;
  const reserved = memory.reservations.get(metadata.uid)?.address;
  const pool = status?.address === undefined ? stores.floatingIpPools.get({ name: spec.pool }) : undefined;
  const isNeeded = pool !== undefined && reserved === undefined;
  return {
    pool,
    reserved,
    takenBy:
      isNeeded && spec.address !== undefined ? ownerOf(stores, memory, floatingIp, spec.address) : undefined,
    free: isNeeded && spec.address === undefined ? freeAddress(stores, memory, floatingIp, pool) : undefined,
    unreadable: stores.floatingIps.unreadable().length,
  };
};

const ownerOf = (
  stores: Stores,
  memory: FloatingMemory,
  floatingIp: FloatingIp,
  address: string,
): string | undefined => {
  const [owner] = stores.floatingIps.byIndex(BY_ADDRESS, address);
  return owner === undefined ? promisedTo(memory, address, floatingIp) : formatKey(keyOf(owner));
};

/** Addresses that others ask for by name are left to them while there are more. */
const freeAddress = (
  stores: Stores,
  memory: FloatingMemory,
  floatingIp: FloatingIp,
  { spec }: FloatingIpPool,
): string | undefined =>
  lowestFree(
    poolAddresses(spec),
    (address) =>
      stores.floatingIps.byIndex(BY_WISH, address).length > 0 ||
      ownerOf(stores, memory, floatingIp, address) !== undefined,
  );

const rivalOf = (stores: Stores, floatingIp: FloatingIp): FloatingIpFacts["rival"] => {
  const { address } = floatingIp.status ?? {};
  if (address === undefined) return undefined;
  const rivals = stores.floatingIps
    .byIndex(BY_ADDRESS, address)
    .filter(({ metadata }) => metadata.uid !== floatingIp.metadata.uid)
    .toSorted((a, b) => (isOlder(a, b) ? -1 : 1));
  const [rival] = rivals;
  return rival === undefined
    ? undefined
    : { name: formatKey(keyOf(rival)), isOlder: isOlder(rival, floatingIp) };
};

/** A total order, so that two of the same second do not both yield. */
const isOlder = (a: FloatingIp, b: FloatingIp): boolean => {
  const [left, right] = [a.metadata.creationTimestamp, b.metadata.creationTimestamp];
  return left === right ? a.metadata.uid < b.metadata.uid : left < right;
};

/** Names of the machines that may have the address, in order. */
const candidatesOf = (stores: Stores, { metadata, spec }: FloatingIp): readonly string[] => {
  if (spec.targets !== undefined) return [...new Set(spec.targets)];
  const { selector } = spec;
  if (selector === undefined || metadata.namespace === undefined) return [];
  return stores.virtualMachines
    .byIndex(BY_NAMESPACE, metadata.namespace)
    .filter((machine) => isSelected(selector, machine))
    .map((machine) => machine.metadata.name)
    .toSorted();
};

/** Does the machine have all of these labels? */
export const isSelected = (
  selector: Readonly<Record<string, string>>,
  { metadata }: Pick<VirtualMachine, "metadata">,
): boolean => Object.entries(selector).every(([label, value]) => metadata.labels?.[label] === value);

const look = (
  stores: Stores,
  { nodes }: FloatingMemory,
  { metadata: { namespace } }: FloatingIp,
  name: string,
): Candidate => {
  const machine = readMachine(stores, { namespace, name });
  const nodeName = machine === UNREADABLE ? undefined : machine?.status?.nodeName;
  const hypervisor = nodeName === undefined ? undefined : readHypervisor(stores, nodeName);
  return {
    name,
    verdict: judgeMachine(name, machine, hypervisor),
    passedOver: nodeName === undefined ? undefined : nodes.passedOver(nodeName),
  };
};

/** Another machine of the same name is not the one that has the address. */
const lookAtClaimed = (
  stores: Stores,
  memory: FloatingMemory,
  floatingIp: FloatingIp,
  { machine: name, machineUid }: { readonly machine: string; readonly machineUid: string },
): Candidate => {
  const machine = readMachine(stores, { namespace: floatingIp.metadata.namespace, name });
  const isAnother = machine !== UNREADABLE && machine !== undefined && machine.metadata.uid !== machineUid;
  if (!isAnother) return look(stores, memory, floatingIp, name);
  return { name, verdict: judgeMachine(name, undefined, undefined), passedOver: undefined };
};

const readMachine = (stores: Stores, key: ObjectKey): VirtualMachine | undefined | typeof UNREADABLE => {
  try {
    return stores.virtualMachines.get(key);
  } catch (error) {
    if (error instanceof UnreadableObjectError) return UNREADABLE;
    throw error;
  }
};

/** A node that cannot be understood is none that an address should go to. */
const readHypervisor = (stores: Stores, name: string) => {
  try {
    return stores.hypervisors.get({ name });
  } catch (error) {
    if (error instanceof UnreadableObjectError) return undefined;
    throw error;
  }
};

import { MAX_VNI } from "../../api/network-identity.ts";
import type { Network } from "../../api/network.ts";
import type { VirtualMachine } from "../../api/virtual-machine.ts";
import { numberOf } from "./judge.ts";

/** What a Network's number is chosen by. */
export interface NumberFacts {
  readonly network: Network;
  /** All Networks, this one too. */
  readonly networks: readonly Network[];
  readonly machines: readonly VirtualMachine[];
  /** Networks and machines that exist and cannot be understood: their numbers are not known. */
  readonly unreadable: number;
  readonly memory: NumberMemory;
}

/** The Network's number, or why it has none. */
export type NumberChoice =
  | { readonly kind: "number"; readonly vni: number }
  | { readonly kind: "none"; readonly reason: string; readonly message: string };

/**
 * The number stays for life. A Network that has none, or that of an older one,
 * is given the number under which nodes know its machines, should it have some
 * (it was deleted and made again), and otherwise the lowest that is free.
 */
export const chooseNumber = (facts: NumberFacts): NumberChoice => {
  const { network, networks, unreadable } = facts;
  const own = numberOf(network, networks);
  if (own !== undefined) return { kind: "number", vni: own };
  if (unreadable > 0)
    return none(
      "UnreadableObjects",
      `No number is given out, because the controller cannot understand ${unreadable} Networks and VirtualMachines and so does not know which numbers are taken; its log says more. Is it older than the CustomResourceDefinitions?`,
    );
  const { name, uid } = network.metadata;
  const others = networks.filter(({ metadata }) => metadata.uid !== uid);
  const ofOthers = new Set(others.flatMap(({ status }) => status?.vni ?? []));
  const ofMachines = interfacesOf(facts).filter(({ network: its }) => its === name);
  const [kept] = ofMachines.map(({ vni }) => vni).toSorted((a, b) => a - b);
  if (kept === undefined) return lowestFree(facts, ofOthers);
  if (!ofOthers.has(kept)) return { kind: "number", vni: kept };
  const rival = others.find(({ status }) => status?.vni === kept);
  const message = `Machines of this Network have number ${kept}, which belongs to Network ${rival?.metadata.name ?? ""}. Delete them, and report this: it must not happen.`;
  return none("NumberConflict", message);
};

const lowestFree = (facts: NumberFacts, ofOthers: ReadonlySet<number>): NumberChoice => {
  const { network, memory } = facts;
  const held = memory.heldBesides(network.metadata.uid);
  const taken = new Set([...ofOthers, ...held, ...interfacesOf(facts).map(({ vni }) => vni)]);
  const promised = memory.promisedTo(network.metadata.uid);
  if (promised !== undefined && !taken.has(promised)) return { kind: "number", vni: promised };
  for (let vni = 1; vni <= MAX_VNI; vni += 1) if (!taken.has(vni)) return { kind: "number", vni };
  return none(
    "NumbersExhausted",
    `All ${MAX_VNI} numbers of Networks are given out. Delete Networks that are not needed.`,
  );
};

const interfacesOf = ({ machines }: NumberFacts) =>
  machines.flatMap(({ status }) => status?.allocation?.interfaces ?? []);

const none = (reason: string, message: string): NumberChoice => ({ kind: "none", reason, message });

/**
 * A number is not given out again so soon after its Network has gone, in ms: a
 * machine that was placed in the Network at that moment may come to light yet,
 * and nodes take a moment to forget.
 */
export const REST_MS = 60_000;

/**
 * What this process knows of numbers beside the store: a number that was sent
 * to the API server may have arrived even if no answer came.
 */
export interface NumberMemory {
  promise(uid: string, vni: number): void;
  promisedTo(uid: string): number | undefined;
  /** The Network is gone. */
  retire(network: Network): void;
  /** Numbers promised to others, or at rest. */
  heldBesides(uid: string): ReadonlySet<number>;
}

/** @param now monotonic ms */
export const createNumberMemory = (now: () => number): NumberMemory => {
  const promised = new Map<string, number>();
  const restingSince = new Map<number, number>();
  return {
    promise: (uid, vni) => void promised.set(uid, vni),
    promisedTo: (uid) => promised.get(uid),
    retire: ({ metadata: { uid }, status }) => {
      for (const vni of [promised.get(uid), status?.vni]) if (vni !== undefined) restingSince.set(vni, now());
      promised.delete(uid);
    },
    heldBesides: (uid) => {
      for (const [vni, since] of restingSince) if (now() - since >= REST_MS) restingSince.delete(vni);
      const others = [...promised].filter(([owner]) => owner !== uid).map(([, vni]) => vni);
      return new Set([...others, ...restingSince.keys()]);
    },
  };
};

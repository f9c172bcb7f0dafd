import type { Network } from "../../api/network.ts";
import { formatKey, keyOf, type ObjectKey } from "../../kube/index.ts";
import type { Stores } from "../context.ts";
import { BY_NETWORK } from "../stores.ts";
import { chooseNumber, type NumberChoice, type NumberMemory } from "./numbers.ts";

/** Two machines that were given the same address: it must not happen, and is told if it does. */
export interface AddressClash {
  readonly address: string;
  /** "namespace/name", in order. */
  readonly machines: readonly string[];
}

export interface NetworkFacts {
  readonly network: Network;
  /** All Networks, this one too. */
  readonly networks: readonly Network[];
  /** The number under which nodes know it. */
  readonly number: NumberChoice;
  /** Addresses that machines have. */
  readonly allocated: number;
  readonly clashes: readonly AddressClash[];
  /** Time since this process last wrote the status, in ms; undefined when it has not. */
  readonly sinceWriteMs: number | undefined;
}

/** What the controller remembers beside the stores. */
export interface NetworkMemory {
  readonly numbers: NumberMemory;
  /** Time since this process last wrote the status of the Network with that uid, in ms. */
  readonly sinceWriteMs: (uid: string) => number | undefined;
}

export const observeNetwork = (
  stores: Stores,
  key: ObjectKey,
  { numbers, sinceWriteMs }: NetworkMemory,
): NetworkFacts | undefined => {
  const network = stores.networks.get(key);
  if (network === undefined) return undefined;
  const holders = holdersOf(stores, key.name);
  return {
    network,
    networks: stores.networks.list(),
    number: chooseNumber({
      network,
      networks: stores.networks.list(),
      machines: stores.virtualMachines.list(),
      unreadable: stores.networks.unreadable().length + stores.virtualMachines.unreadable().length,
      memory: numbers,
    }),
    allocated: holders.size,
    clashes: [...holders]
      .filter(([, machines]) => machines.length > 1)
      .map(([address, machines]) => ({ address, machines: machines.toSorted() }))
      .toSorted((a, b) => (a.address < b.address ? -1 : 1)),
    sinceWriteMs: sinceWriteMs(network.metadata.uid),
  };
};

const holdersOf = (stores: Stores, network: string): ReadonlyMap<string, string[]> => {
  const holders = new Map<string, string[]>();
  for (const machine of stores.virtualMachines.byIndex(BY_NETWORK, network))
    for (const card of machine.status?.allocation?.interfaces ?? []) {
      if (card.network !== network) continue;
      holders.set(card.address, [...(holders.get(card.address) ?? []), formatKey(keyOf(machine))]);
    }
  return holders;
};

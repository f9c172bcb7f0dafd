import type { Flavor } from "../../api/flavor.ts";
import type { Hypervisor } from "../../api/hypervisor.ts";
import type { Image } from "../../api/image.ts";
import type { KeyPair } from "../../api/key-pair.ts";
import type { Network } from "../../api/network.ts";
import { parseAddress } from "../../api/ipv4.ts";
import type { SecurityGroup } from "../../api/security-group.ts";
import type { VirtualMachine } from "../../api/virtual-machine.ts";
import type { ObjectKey } from "../../kube/index.ts";
import type { Stores } from "../context.ts";
import type { NodeReport } from "../image/judge.ts";
import { reportsOf } from "../image/observe.ts";
import { chooseMacAddress } from "../ipam/mac.ts";
import { addressPool, lowestFreeAddress } from "../ipam/pool.ts";
import { type Candidate, candidateOf } from "../scheduler/types.ts";
import type { Placement, Reservations } from "./reservations.ts";
import type { Ledger, Usage } from "./ledger.ts";

/** A machine without a node, and all that its placement depends on. */
export interface UnplacedFacts {
  readonly kind: "unplaced";
  readonly machine: VirtualMachine;
  readonly image: Image | undefined;
  readonly imageReports: readonly NodeReport[];
  readonly flavor: Flavor | undefined;
  readonly keyPairs: readonly { readonly name: string; readonly keyPair: KeyPair | undefined }[];
  readonly networks: readonly NetworkUse[];
  /** All Networks, to see whether one overlaps another. */
  readonly allNetworks: readonly Network[];
  /** Those that the machine names. */
  readonly securityGroups: readonly NamedGroup[];
  readonly nodes: readonly Candidate[];
  /** A placement that was decided before and may have been written. */
  readonly reserved: Placement | undefined;
  /** Machines that exist and cannot be understood: what they were given is not known. */
  readonly unreadableMachines: number;
  /** Time since this process first saw the machine, in ms. */
  readonly seenForMs: number;
}

export interface NamedGroup {
  readonly name: string;
  readonly group: SecurityGroup | undefined;
}

export interface NetworkUse {
  readonly name: string;
  readonly network: Network | undefined;
  /** The lowest address that nobody has; undefined when there is none, or no Network. */
  readonly freeAddress: string | undefined;
  /** The hardware address that the machine would have in it. */
  readonly macAddress: string;
  /** Further addresses that the machine may send from. */
  readonly allowedAddresses: readonly string[];
  /** Those of allowedAddresses that another machine was given as its own. */
  readonly takenAddresses: readonly string[];
}

/** A machine on a node. */
export interface PlacedFacts {
  readonly kind: "placed";
  readonly machine: VirtualMachine;
  readonly nodeName: string;
  /** Undefined when there is none of that name. */
  readonly hypervisor: Hypervisor | undefined;
  /** Those that the machine names. */
  readonly securityGroups: readonly NamedGroup[];
}

export type MachineFacts = UnplacedFacts | PlacedFacts;

/** What the controller remembers beside the stores. */
export interface Memory {
  readonly reservations: Reservations;
  readonly ledger: Ledger;
  /** How long this process has known the machine, in ms. */
  readonly seenForMs: (vmUid: string) => number;
}

/** Everything that decide() looks at, at one moment. Reads memory only. */
export const observeMachine = (stores: Stores, memory: Memory, key: ObjectKey): MachineFacts | undefined => {
  const machine = stores.virtualMachines.get(key);
  if (machine === undefined) return undefined;
  const nodeName = machine.status?.nodeName;
  if (nodeName === undefined) return observeUnplaced(stores, memory, machine);
  const hypervisor = stores.hypervisors.get({ name: nodeName });
  return { kind: "placed", machine, nodeName, hypervisor, securityGroups: groupsOf(stores, machine) };
};

const groupsOf = (stores: Stores, { metadata, spec }: VirtualMachine): readonly NamedGroup[] =>
  spec.securityGroups.map((name) => ({
    name,
    group: stores.securityGroups.get({ namespace: metadata.namespace, name }),
  }));

const observeUnplaced = (stores: Stores, memory: Memory, machine: VirtualMachine): UnplacedFacts => {
  const { namespace, uid } = machine.metadata;
  const { spec } = machine;
  const usage = memory.ledger.usage();
  const image = spec.image === undefined ? undefined : stores.images.get({ namespace, name: spec.image });
  const hypervisors = stores.hypervisors.list();
  return {
    kind: "unplaced",
    machine,
    image,
    imageReports: image === undefined ? [] : reportsOf(image, hypervisors),
    flavor: spec.flavor === undefined ? undefined : stores.flavors.get({ name: spec.flavor }),
    keyPairs: spec.keyPairs.map((name) => ({ name, keyPair: stores.keyPairs.get({ namespace, name }) })),
    networks: spec.networks.map((wanted) => observeNetworkUse(stores, usage, uid, wanted)),
    allNetworks: stores.networks.list(),
    securityGroups: groupsOf(stores, machine),
    nodes: hypervisors.map((hypervisor) =>
      candidateOf(hypervisor, usage.resourcesOn(hypervisor.metadata.name)),
    ),
    reserved: memory.reservations.find(uid),
    unreadableMachines: stores.virtualMachines.unreadable().length,
    seenForMs: memory.seenForMs(uid),
  };
};

const observeNetworkUse = (
  stores: Stores,
  usage: Usage,
  vmUid: string,
  { name, allowedAddresses }: VirtualMachine["spec"]["networks"][number],
): NetworkUse => {
  const network = stores.networks.get({ name });
  const wanted = new Set(allowedAddresses.map(parseAddress));
  const isTaken = (address: bigint): boolean =>
    wanted.has(address) || usage.hasAddress(name, address) || usage.isAllowedAddress(name, address);
  return {
    name,
    network,
    freeAddress: network === undefined ? undefined : lowestFreeAddress(addressPool(network.spec), isTaken),
    macAddress: chooseMacAddress(vmUid, name, (macAddress) => usage.hasMacAddress(macAddress)),
    allowedAddresses,
    takenAddresses: allowedAddresses.filter((address) => usage.hasAddress(name, parseAddress(address))),
  };
};

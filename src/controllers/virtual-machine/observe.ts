import type { Flavor } from "../../api/flavor.ts";
import type { Hypervisor } from "../../api/hypervisor.ts";
import type { Image } from "../../api/image.ts";
import type { KeyPair } from "../../api/key-pair.ts";
import type { Network } from "../../api/network.ts";
import type { VirtualMachine } from "../../api/virtual-machine.ts";
import type { ObjectKey } from "../../kube/index.ts";
import type { Stores } from "../context.ts";
import type { NodeReport } from "../image/judge.ts";
import { reportsOf } from "../image/observe.ts";
import { type Candidate, candidateOf } from "../scheduler/types.ts";
import type { Placement, Reservations } from "./reservations.ts";
import { observeUsage } from "./usage.ts";

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
  readonly takenMacAddresses: ReadonlySet<string>;
  readonly nodes: readonly Candidate[];
  /** A placement that was decided before and may have been written. */
  readonly reserved: Placement | undefined;
  /** Machines that exist and cannot be understood: what they were given is not known. */
  readonly unreadableMachines: number;
  /** Time since this process first saw the machine, in ms. */
  readonly seenForMs: number;
}

export interface NetworkUse {
  readonly name: string;
  readonly network: Network | undefined;
  /** Addresses that other machines have. */
  readonly takenAddresses: ReadonlySet<string>;
}

/** A machine on a node. */
export interface PlacedFacts {
  readonly kind: "placed";
  readonly machine: VirtualMachine;
  readonly nodeName: string;
  /** Undefined when there is none of that name. */
  readonly hypervisor: Hypervisor | undefined;
}

export type MachineFacts = UnplacedFacts | PlacedFacts;

/** What the controller remembers beside the stores. */
export interface Memory {
  readonly reservations: Reservations;
  /** How long this process has known the machine, in ms. */
  readonly seenForMs: (vmUid: string) => number;
}

/** Everything that decide() looks at, at one moment. Reads memory only. */
export const observeMachine = (stores: Stores, memory: Memory, key: ObjectKey): MachineFacts | undefined => {
  const machine = stores.virtualMachines.get(key);
  if (machine === undefined) return undefined;
  const nodeName = machine.status?.nodeName;
  return nodeName === undefined
    ? observeUnplaced(stores, memory, machine)
    : { kind: "placed", machine, nodeName, hypervisor: stores.hypervisors.get({ name: nodeName }) };
};

const observeUnplaced = (stores: Stores, memory: Memory, machine: VirtualMachine): UnplacedFacts => {
  const { namespace, uid } = machine.metadata;
  const { spec } = machine;
  const usage = observeUsage(stores.virtualMachines, memory.reservations, uid);
  const image = stores.images.get({ namespace, name: spec.image });
  const hypervisors = stores.hypervisors.list();
  return {
    kind: "unplaced",
    machine,
    image,
    imageReports: image === undefined ? [] : reportsOf(image, hypervisors),
    flavor: stores.flavors.get({ name: spec.flavor }),
    keyPairs: spec.keyPairs.map((name) => ({ name, keyPair: stores.keyPairs.get({ namespace, name }) })),
    networks: spec.networks.map(({ name }) => ({
      name,
      network: stores.networks.get({ name }),
      takenAddresses: usage.addressesOf(name),
    })),
    allNetworks: stores.networks.list(),
    takenMacAddresses: usage.macAddresses,
    nodes: hypervisors.map((hypervisor) =>
      candidateOf(hypervisor, usage.resourcesOn(hypervisor.metadata.name)),
    ),
    reserved: memory.reservations.find(uid),
    unreadableMachines: stores.virtualMachines.unreadable().length,
    seenForMs: memory.seenForMs(uid),
  };
};

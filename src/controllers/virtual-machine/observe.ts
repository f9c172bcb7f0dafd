import type { Flavor } from "../../api/flavor.ts";
import type { Hypervisor } from "../../api/hypervisor.ts";
import type { Image } from "../../api/image.ts";
import type { KeyPair } from "../../api/key-pair.ts";
import type { Network } from "../../api/network.ts";
import type { SecurityGroup } from "../../api/security-group.ts";
import type { VirtualMachineMigration } from "../../api/virtual-machine-migration.ts";
import type { VirtualMachine } from "../../api/virtual-machine.ts";
import type { Volume } from "../../api/volume.ts";
import { formatKey, keyOf, type ObjectKey, UnreadableObjectError } from "../../kube/index.ts";
import type { Stores } from "../context.ts";
import { isShared, type SourceFacts } from "../disk-source/judge.ts";
import { observeSource } from "../disk-source/observe.ts";
import { isFenced } from "../hypervisor/fencing.ts";
import type { NodeReport } from "../image/judge.ts";
import { reportsOf } from "../image/observe.ts";
import { findImage } from "../image/visible.ts";
import { candidateFor, nodeViewsOf } from "../node-views.ts";
import type { Candidate } from "../scheduler/types.ts";
import { BY_MACHINE } from "../stores.ts";
import { givenVolumesOf } from "../virtual-machine-migration/observe.ts";
import { unsettledOf } from "../virtual-machine-migration/phase.ts";
import type { CdromUse, VolumeUse } from "./attachments.ts";
import type { Ledger } from "./ledger.ts";
import { type NetworkUse, observeNetworkUse } from "./network-use.ts";
import type { NodeView } from "./relocation.ts";
import type { Placement, Relocation, Reservations, Resize } from "./reservations.ts";

export type { NetworkUse } from "./network-use.ts";

/** What both a machine that waits and one on a node are looked at for. */
interface CommonFacts {
  readonly machine: VirtualMachine;
  /** The one that the root disk starts as; undefined also when the machine may not use it. */
  readonly image: Image | undefined;
  readonly flavor: Flavor | undefined;
  readonly cdroms: readonly CdromUse[];
  readonly volumes: readonly VolumeUse[];
  /** Those that the machine names. */
  readonly securityGroups: readonly NamedGroup[];
}

/** A machine without a node, and all that its placement depends on. */
export interface UnplacedFacts extends CommonFacts {
  readonly kind: "unplaced";
  readonly imageReports: readonly NodeReport[];
  /** The disk that the root disk is a copy of; undefined when it starts as an image. */
  readonly source: SourceFacts | undefined;
  readonly keyPairs: readonly { readonly name: string; readonly keyPair: KeyPair | undefined }[];
  readonly networks: readonly NetworkUse[];
  /** All Networks, to see whether one overlaps another. */
  readonly allNetworks: readonly Network[];
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

/** A machine on a node. */
export interface PlacedFacts extends CommonFacts {
  readonly kind: "placed";
  readonly nodeName: string;
  /** Undefined when there is none of that name. */
  readonly hypervisor: Hypervisor | undefined;
  /** Whether all that the machine names can be understood; otherwise none of it is here. */
  readonly isUnderstood: boolean;
  /** The same node with what it has given out. */
  readonly node: Candidate | undefined;
  /** A change of size, or another node, that was decided before and may have been written. */
  readonly reserved: Resize | Relocation | undefined;
  /** The migration that has a say in where the machine is. */
  readonly migration: VirtualMachineMigration | undefined;
  /** The Volumes that the machine was given. */
  readonly givenVolumes: readonly Volume[];
  /** All nodes, with what they have given out; looked at when its own is fenced. */
  readonly nodes: readonly NodeView[];
  /** Machines that exist and cannot be understood: what they were given is not known. */
  readonly unreadableMachines: number;
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
  return nodeName === undefined
    ? observeUnplaced(stores, memory, machine)
    : observePlaced(stores, memory, machine, nodeName);
};

const observePlaced = (
  stores: Stores,
  memory: Memory,
  machine: VirtualMachine,
  nodeName: string,
): PlacedFacts => {
  const hypervisor = stores.hypervisors.get({ name: nodeName });
  const usage = memory.ledger.usage();
  const reserved = memory.reservations.find(machine.metadata.uid);
  return {
    kind: "placed",
    machine,
    nodeName,
    hypervisor,
    node: hypervisor && candidateFor(hypervisor, usage),
    reserved: reserved?.kind === "placement" ? undefined : reserved,
    migration: migrationOf(stores, machine),
    givenVolumes: givenVolumesOf(stores, machine),
    nodes: hypervisor !== undefined && isFenced(hypervisor) ? nodeViewsOf(stores, usage) : [],
    unreadableMachines: stores.virtualMachines.unreadable().length,
    ...observeNamed(stores, machine),
  };
};

/**
 * What the machine names; an object among it that cannot be understood must not
 * keep the machine from being let go, or from being told of as lost.
 */
const observeNamed = (
  stores: Stores,
  machine: VirtualMachine,
): Omit<CommonFacts, "machine"> & Pick<PlacedFacts, "isUnderstood"> => {
  try {
    return { ...observeCommon(stores, machine), isUnderstood: true };
  } catch (error) {
    if (!(error instanceof UnreadableObjectError)) throw error;
    const nothing = { image: undefined, flavor: undefined, cdroms: [], volumes: [], securityGroups: [] };
    return { ...nothing, isUnderstood: false };
  }
};

const observeUnplaced = (stores: Stores, memory: Memory, machine: VirtualMachine): UnplacedFacts => {
  const { namespace, uid } = machine.metadata;
  const { spec } = machine;
  const usage = memory.ledger.usage();
  const reserved = memory.reservations.find(uid);
  const common = observeCommon(stores, machine);
  const hypervisors = stores.hypervisors.list();
  return {
    kind: "unplaced",
    machine,
    ...common,
    imageReports: common.image === undefined ? [] : reportsOf(common.image, hypervisors),
    source: spec.source === undefined ? undefined : observeSource(stores, namespace, spec.source),
    keyPairs: spec.keyPairs.map((name) => ({ name, keyPair: stores.keyPairs.get({ namespace, name }) })),
    networks: spec.networks.map((wanted) => observeNetworkUse(stores, usage, uid, wanted)),
    allNetworks: stores.networks.list(),
    nodes: hypervisors.map((hypervisor) => candidateFor(hypervisor, usage)),
    reserved: reserved?.kind === "placement" ? reserved : undefined,
    unreadableMachines: stores.virtualMachines.unreadable().length,
    seenForMs: memory.seenForMs(uid),
  };
};

const migrationOf = (
  { virtualMachineMigrations }: Stores,
  machine: VirtualMachine,
): VirtualMachineMigration | undefined =>
  unsettledOf(virtualMachineMigrations.byIndex(BY_MACHINE, formatKey(keyOf(machine))), machine.metadata.uid);

const observeCommon = (stores: Stores, machine: VirtualMachine): Omit<CommonFacts, "machine"> => {
  const { spec, metadata } = machine;
  const { namespace } = metadata;
  return {
    image: imageOf(stores, machine),
    flavor: spec.flavor === undefined ? undefined : stores.flavors.get({ name: spec.flavor }),
    cdroms: spec.cdroms.map(({ image: name }) => cdromUse(stores, machine, name)),
    volumes: spec.volumes.map(({ name }) => {
      const volume = stores.volumes.get({ namespace, name });
      const nodeName = volume?.status?.nodeName;
      const node = nodeName === undefined ? undefined : stores.hypervisors.get({ name: nodeName });
      return { name, volume, isShared: isShared(node, volume?.spec.pool) };
    }),
    securityGroups: spec.securityGroups.map((name) => ({
      name,
      group: stores.securityGroups.get({ namespace, name }),
    })),
  };
};

const imageOf = (stores: Stores, { metadata, spec }: VirtualMachine): Image | undefined => {
  const { image: name, imageNamespace } = spec;
  if (name === undefined) return undefined;
  const userNamespace = metadata.namespace ?? "";
  return findImage((key) => stores.images.get(key), { name, imageNamespace, userNamespace });
};

/** What nodes say of an image counts until it is put in; to collect it costs a look at all of them. */
const cdromUse = (stores: Stores, { metadata, status }: VirtualMachine, name: string): CdromUse => {
  const image = stores.images.get({ namespace: metadata.namespace, name });
  const isIn = status?.allocation?.cdroms?.some(({ uid }) => uid === image?.metadata.uid) ?? false;
  const reports = image === undefined || isIn ? [] : reportsOf(image, stores.hypervisors.list());
  return { name, image, reports };
};

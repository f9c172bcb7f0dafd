import { formatAddress } from "../../api/ipv4.ts";
import { LOCAL_POOL } from "../../api/storage-pool.ts";
import type { AllocatedInterface, VirtualMachineAllocation } from "../../api/virtual-machine.ts";
import { allocateImage } from "../image/allocate.ts";
import { isMadeOfDisk } from "../image/judge.ts";
import { addressPool } from "../ipam/pool.ts";
import { judgeKeyPair } from "../key-pair/judge.ts";
import { explainPlacement } from "../scheduler/explain.ts";
import { schedule } from "../scheduler/schedule.ts";
import {
  addResources,
  type PlacementRequest,
  type Resources,
  type UnreachableImage,
} from "../scheduler/types.ts";
import { judgeCdroms, judgeVolumes } from "./attachments.ts";
import { sourceOf } from "./image-checks.ts";
import type { NetworkUse, UnplacedFacts } from "./observe.ts";
import type { Placement } from "./reservations.ts";
import { judgeSize, type MachineSize, resourcesOf, volumeSizeMiB } from "./size.ts";
import { dataPlaces } from "./volume-checks.ts";

/** Where a machine goes and what it is given, or why nowhere. */
export type PlacementChoice =
  | { readonly kind: "placed"; readonly placement: Placement }
  | { readonly kind: "unschedulable"; readonly message: string };

/** Chooses node, addresses and MACs for a machine that has passed every check. */
export const choosePlacement = (facts: UnplacedFacts): PlacementChoice => {
  const size = judgeSize(facts.machine.spec, facts.flavor, undefined);
  if (size.kind !== "valid") throw new Error(UNCHECKED);
  const allocation = allocationOf(facts, size.size);
  const resources = demandOf(facts, size.size);
  const choice = schedule(requestOf(facts, resources), facts.nodes);
  const explanation = explainPlacement(choice);
  if (choice.kind === "unschedulable") return { kind: "unschedulable", message: explanation };
  const placement = { kind: "placement", nodeName: choice.node, allocation, resources, explanation } as const;
  return { kind: "placed", placement };
};

const UNCHECKED = "placed before its checks have passed";

const allocationOf = (facts: UnplacedFacts, flavor: MachineSize): VirtualMachineAllocation => {
  const { machine, volumes, cdroms } = facts;
  const attached = judgeVolumes(machine, volumes, undefined).allocated;
  const inserted = judgeCdroms(machine, cdroms).allocated;
  const { pool } = machine.spec.rootDisk;
  return {
    flavor,
    ...rootDiskOf(facts),
    ...(pool !== LOCAL_POOL && { pool }),
    interfaces: facts.networks.map(allocateInterface),
    sshPublicKeys: publicKeysOf(facts),
    ...(attached.length > 0 && { volumes: [...attached] }),
    ...(inserted.length > 0 && { cdroms: [...inserted] }),
  };
};

/** What the root disk starts as. */
const rootDiskOf = (facts: UnplacedFacts): Pick<VirtualMachineAllocation, "image" | "source"> => {
  const source = sourceOf(facts);
  if (source?.kind === "found") return { source: source.found.disk };
  const image = facts.image && allocateImage(facts.image);
  if (image === undefined) throw new Error(UNCHECKED);
  return { image };
};

/** The machine itself, and the Volumes that come to its node with it. */
const demandOf = ({ machine, volumes }: UnplacedFacts, size: MachineSize): Resources =>
  volumes
    .flatMap(({ volume }) => (volume?.status?.nodeName === undefined ? (volume ?? []) : []))
    .map((volume) => ({ vcpus: 0, memoryMiB: 0, disks: { [volume.spec.pool]: volumeSizeMiB(volume) } }))
    .reduce<Resources>(addResources, resourcesOf(size, machine.spec.rootDisk.pool));

const requestOf = (facts: UnplacedFacts, resources: Resources): PlacementRequest => {
  const { machine, image, cdroms, volumes } = facts;
  const { firmware, tpm, availabilityZone, nodeSelector } = machine.spec;
  const source = sourceOf(facts);
  const sharedPool = source?.kind === "found" ? source.found.sharedPool : undefined;
  return {
    ...resources,
    images: [image, ...cdroms.map((cdrom) => cdrom.image)].flatMap((each) => each?.metadata.uid ?? []),
    unreachableImages: unreachableImage(facts),
    pools: [
      ...volumes.flatMap(({ volume }) => volume?.spec.pool ?? []),
      ...(sharedPool === undefined ? [] : [sharedPool]),
    ],
    data: dataPlaces(facts)[0],
    firmware,
    tpm,
    availabilityZone,
    nodeSelector: nodeSelector ?? {},
  };
};

/** Other nodes fetch an image that is made of a disk from the node that has made it. */
const unreachableImage = ({ image, nodes }: UnplacedFacts): readonly UnreachableImage[] => {
  const nodeName = image?.status?.origin?.nodeName;
  if (image === undefined || nodeName === undefined || !isMadeOfDisk(image)) return [];
  const isReady = nodes.some(({ name, readiness }) => name === nodeName && readiness.kind === "ready");
  return isReady ? [] : [{ uid: image.metadata.uid, nodeName }];
};

const allocateInterface = ({
  name,
  network,
  freeAddress,
  macAddress,
  allowedAddresses,
}: NetworkUse): AllocatedInterface => {
  const vni = network?.status?.vni;
  if (network === undefined || freeAddress === undefined || vni === undefined) throw new Error(UNCHECKED);
  const pool = addressPool(network.spec);
  return {
    network: name,
    macAddress,
    address: freeAddress,
    prefixLength: pool.block.prefixLength,
    gateway: formatAddress(pool.gateway),
    dnsServers: [...network.spec.dnsServers],
    mtu: network.spec.mtu,
    vni,
    allowedAddresses: [...allowedAddresses],
  };
};

/** Each key once: two KeyPairs may hold the same. */
const publicKeysOf = ({ keyPairs }: UnplacedFacts): string[] => {
  const keys = keyPairs.flatMap(({ keyPair }) => {
    const verdict = keyPair === undefined ? undefined : judgeKeyPair(keyPair);
    return verdict?.kind === "usable" ? [verdict.publicKey] : [];
  });
  return [...new Set(keys)];
};

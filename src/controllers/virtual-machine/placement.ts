import type { AllocatedInterface, VirtualMachineAllocation } from "../../api/virtual-machine.ts";
import type { Flavor } from "../../api/flavor.ts";
import type { Image } from "../../api/image.ts";
import { flavorSizes, type FlavorSizes } from "../flavor/sizes.ts";
import { formatAddress } from "../../api/ipv4.ts";
import { addressPool } from "../ipam/pool.ts";
import { judgeKeyPair } from "../key-pair/judge.ts";
import { explainPlacement } from "../scheduler/explain.ts";
import { schedule } from "../scheduler/schedule.ts";
import type { NetworkUse, UnplacedFacts } from "./observe.ts";
import type { Placement } from "./reservations.ts";

/** Where a machine goes and what it is given, or why nowhere. */
export type PlacementChoice =
  | { readonly kind: "placed"; readonly placement: Placement }
  | { readonly kind: "unschedulable"; readonly message: string };

/** Chooses node, addresses and MACs for a machine that has passed every check. */
export const choosePlacement = (facts: UnplacedFacts): PlacementChoice => {
  const { machine, image, nodes } = facts;
  const flavor = resolveFlavor(facts.flavor);
  if (image === undefined || flavor === undefined) throw new Error("placed before its checks have passed");
  const { firmware, availabilityZone, nodeSelector } = machine.spec;
  const request = {
    ...flavor,
    imageUid: image.metadata.uid,
    firmware,
    availabilityZone,
    nodeSelector: nodeSelector ?? {},
  };
  const choice = schedule(request, nodes);
  const explanation = explainPlacement(choice);
  if (choice.kind === "unschedulable") return { kind: "unschedulable", message: explanation };
  const allocation = {
    flavor,
    image: resolveImage(image),
    interfaces: facts.networks.map(allocateInterface),
    sshPublicKeys: publicKeysOf(facts),
  };
  return { kind: "placed", placement: { nodeName: choice.node, allocation, explanation } };
};

const resolveFlavor = (flavor: Flavor | undefined): VirtualMachineAllocation["flavor"] | undefined => {
  const sizes: FlavorSizes | undefined = flavor === undefined ? undefined : flavorSizes(flavor);
  if (flavor === undefined || sizes?.kind !== "valid") return undefined;
  const { vcpus, memoryMiB, diskMiB } = sizes;
  return { name: flavor.metadata.name, vcpus, memoryMiB, diskMiB };
};

const resolveImage = ({ metadata, spec }: Image): VirtualMachineAllocation["image"] => ({
  name: metadata.name,
  uid: metadata.uid,
  format: spec.format,
  compression: spec.compression,
  ...(spec.source.url !== undefined && { url: spec.source.url }),
  ...(spec.source.file !== undefined && { file: spec.source.file }),
  ...(spec.checksum !== undefined && { checksum: spec.checksum }),
});

const allocateInterface = ({
  name,
  network,
  freeAddress,
  macAddress,
  allowedAddresses,
}: NetworkUse): AllocatedInterface => {
  const vni = network?.status?.vni;
  if (network === undefined || freeAddress === undefined || vni === undefined)
    throw new Error("placed before its checks have passed");
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

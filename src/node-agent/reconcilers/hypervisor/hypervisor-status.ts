import { isDeepStrictEqual } from "node:util";
import { type ConditionDraft, withTransitionTimes } from "../../../api/condition.ts";
import {
  type Acceleration,
  type CachedImageStatus,
  type EnforcedGroup,
  type Hypervisor,
  type HypervisorStatus,
  hypervisors,
  type RetainedVolume,
} from "../../../api/hypervisor.ts";
import { apiVersionOf } from "../../../api/resource.ts";
import type { StoragePoolStatus } from "../../../api/storage-pool.ts";
import type { Firmware } from "../../../api/virtual-machine.ts";
import type { HostFacts } from "../../host/facts.ts";

/** What the agent knows of its node. */
export interface NodeFacts {
  readonly host: HostFacts;
  readonly reservedMemoryMiB: number;
  readonly zone: string | undefined;
  readonly architecture: string;
  readonly firmwares: readonly Firmware[];
  /** Undefined while the probe guest has not answered or failed yet. */
  readonly acceleration: Acceleration | undefined;
  readonly libvirtConnected: boolean;
  readonly versions: HypervisorStatus["versions"];
  readonly images: readonly CachedImageStatus[];
  /** Images that are being made of disks of this node, and are not in the cache yet. */
  readonly exports: readonly CachedImageStatus[];
  readonly storagePools: readonly StoragePoolStatus[];
  readonly retainedVolumes: readonly RetainedVolume[];
  /** Undefined while libvirt has not told. */
  readonly tpm: boolean | undefined;
  /** Where other nodes send guests' packets to. */
  readonly tunnelAddress: string | undefined;
  /** Where the agent serves consoles and copies of disks; undefined while it does not. */
  readonly agentEndpoint?: string | undefined;
  readonly securityGroups: readonly EnforcedGroup[];
  /** Undefined while no watchdog resets the node. */
  readonly selfFencing?: HypervisorStatus["selfFencing"];
}

/**
 * Of an agent that was just started, what the node was found to have before: a
 * machine does not gain or lose KVM because its agent is restarted.
 */
const accelerationOf = (hypervisor: Hypervisor, facts: NodeFacts): Acceleration | undefined =>
  facts.acceleration ?? hypervisor.status?.acceleration;

const readyDraft = (
  { spec, metadata: { generation = 0 } }: Hypervisor,
  facts: NodeFacts,
  acceleration: Acceleration | undefined,
): ConditionDraft => {
  const draft = (status: "True" | "False", reason: string, message: string): ConditionDraft => ({
    type: "Ready",
    status,
    observedGeneration: generation,
    reason,
    message,
  });
  if (!facts.libvirtConnected) {
    return draft(
      "False",
      "LibvirtUnavailable",
      "The agent cannot reach libvirtd. Running guests are not touched; look at libvirtd on the node.",
    );
  }
  if (spec.outOfService) {
    return draft(
      "False",
      "OutOfService",
      "spec.outOfService says that the node is switched off, and it is not: no guest is started here before that is taken back.",
    );
  }
  if (acceleration === undefined) {
    return draft("False", "ProbingAcceleration", "A probe guest shows whether hardware acceleration works.");
  }
  return draft("True", "AgentReady", "The agent runs and reaches libvirtd.");
};

const byUid = (a: { readonly uid: string }, b: { readonly uid: string }): number => (a.uid < b.uid ? -1 : 1);

/** What is in the cache counts more than what was said of its making. */
const imagesOf = ({ images, exports }: NodeFacts): CachedImageStatus[] =>
  [...new Map([...exports, ...images].map((image) => [image.uid, image])).values()]
    .toSorted(byUid)
    .slice(0, 256);

/** Free space changes all the time: it is told anew when it has changed by a hundredth of the pool. */
const poolsOf = ({ storagePools }: NodeFacts, { status }: Hypervisor): StoragePoolStatus[] =>
  storagePools.map((pool) => {
    const said = status?.storagePools?.find(({ name }) => name === pool.name);
    const isNear =
      said?.capacityMiB === pool.capacityMiB &&
      Math.abs(said.availableMiB - pool.availableMiB) * 100 < pool.capacityMiB;
    return isNear ? { ...pool, availableMiB: said.availableMiB } : pool;
  });

/** Everything that the agent says of its node, as one server-side apply of the Hypervisor's status. */
export const hypervisorStatus = (hypervisor: Hypervisor, facts: NodeFacts, now: Date) => {
  const generation = hypervisor.metadata.generation ?? 0;
  const { host } = facts;
  const acceleration = accelerationOf(hypervisor, facts);
  const ready = readyDraft(hypervisor, facts, acceleration);
  const status = {
    observedGeneration: generation,
    conditions: withTransitionTimes([ready], hypervisor.status?.conditions, now),
    architecture: facts.architecture,
    firmwares: [...facts.firmwares],
    addresses: host.addresses.slice(0, 16),
    capacity: {
      cpus: host.cpus,
      memoryMiB: Math.max(0, host.memoryMiB - facts.reservedMemoryMiB),
      diskMiB: host.diskMiB,
    },
    images: imagesOf(facts),
    storagePools: poolsOf(facts, hypervisor).slice(0, 16),
    retainedVolumes: [...facts.retainedVolumes].toSorted(byUid).slice(0, 512),
    ...(facts.tpm === undefined ? {} : { tpm: facts.tpm }),
    securityGroups: [...facts.securityGroups],
    ...(facts.tunnelAddress === undefined ? {} : { tunnelAddress: facts.tunnelAddress }),
    ...(facts.agentEndpoint === undefined ? {} : { agentEndpoint: facts.agentEndpoint }),
    ...(facts.selfFencing === undefined ? {} : { selfFencing: facts.selfFencing }),
    ...(acceleration === undefined ? {} : { acceleration }),
    ...(facts.zone === undefined ? {} : { zone: facts.zone }),
    ...(facts.versions === undefined ? {} : { versions: facts.versions }),
  } satisfies HypervisorStatus;
  return {
    apiVersion: apiVersionOf(hypervisors),
    kind: hypervisors.kind,
    metadata: { name: hypervisor.metadata.name, uid: hypervisor.metadata.uid },
    status,
  };
};

/** Whether the stored status says all that already, and does not promise what the node does not do. */
export const hypervisorAlreadySays = (
  stored: HypervisorStatus | undefined,
  wanted: HypervisorStatus,
): boolean =>
  stored !== undefined &&
  (stored.selfFencing === undefined || wanted.selfFencing !== undefined) &&
  Object.entries(wanted).every(([field, value]) => isDeepStrictEqual(Reflect.get(stored, field), value));

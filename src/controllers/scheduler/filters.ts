import { LOCAL_POOL } from "../../api/storage-pool.ts";
import { isPermanentRefusal } from "../image/judge.ts";
import type { Candidate, PlacementRequest, Resources } from "./types.ts";

/**
 * Says why this node cannot take the machine, as the rest of a sentence that
 * begins with the node's name, or undefined when it can.
 *
 * Messages hold what was asked for and what the node has in all, not what is
 * free this moment: the text is part of a status, and every change of it is a
 * write for every machine that waits.
 */
type Filter = (request: PlacementRequest, node: Candidate) => string | undefined;

/** A filter that looks at sizes alone: what a machine on the node that grows is asked too. */
type RoomFilter = (request: Resources, node: Candidate) => string | undefined;

const nodeIsReady: Filter = (_, { readiness }) =>
  readiness.kind === "ready" ? undefined : readiness.message;

const nodeIsSchedulable: Filter = (_, { closed }) => closed;

const zoneMatches: Filter = ({ availabilityZone }, { zone }) => {
  if (availabilityZone === undefined || availabilityZone === zone) return undefined;
  return `is in ${zone === undefined ? "no zone" : `zone ${zone}`}, not in ${availabilityZone}`;
};

const labelsMatch: Filter = ({ nodeSelector }, { labels }) => {
  const missing = Object.entries(nodeSelector)
    .filter(([key, value]) => labels[key] !== value)
    .map(([key, value]) => `${key}=${value}`)
    .sort();
  return missing.length === 0 ? undefined : `lacks ${plural("label", missing.length)} ${missing.join(", ")}`;
};

const firmwareIsInstalled: Filter = ({ firmware }, { firmwares }) =>
  firmwares.includes(firmware) ? undefined : `has no ${firmware} firmware`;

const tpmIsInstalled: Filter = ({ tpm }, node) =>
  !tpm || node.tpm ? undefined : "has no TPM emulator (swtpm)";

/** A disk that is on one node only: the machine goes to its data. */
const dataIsHere: Filter = ({ data }, { name }) =>
  data === undefined || data.nodeName === name
    ? undefined
    : `does not have ${data.what}, which is on ${data.nodeName}`;

const storagePoolsAreThere: Filter = ({ disks, pools }, { allocatable }) => {
  const missing = [...new Set([...Object.keys(disks), ...pools])]
    .filter((pool) => pool !== LOCAL_POOL && !Object.hasOwn(allocatable.disks, pool))
    .sort();
  return missing.length === 0
    ? undefined
    : `has no ${plural("storage pool", missing.length)} ${missing.join(", ")}`;
};

const imageIsAccepted: Filter = (request, { images }) => {
  const refused = images.find((image) => request.images.includes(image.uid) && isPermanentRefusal(image));
  return refused === undefined ? undefined : `refused the image (${refused.reason ?? "Failed"})`;
};

const imageIsWithinReach: Filter = ({ unreachableImages }, { images }) => {
  const missing = unreachableImages.find(
    ({ uid }) => !images.some((image) => image.uid === uid && image.state === "Ready"),
  );
  return missing && `cannot fetch the image from ${missing.nodeName}, which gives no sign of life`;
};

const cpusAreFree: RoomFilter = ({ vcpus }, { allocatable, allocated }) =>
  allocated.vcpus + vcpus <= allocatable.vcpus
    ? undefined
    : `has too few virtual CPUs free for ${vcpus} (it gives out ${allocatable.vcpus} in all)`;

const memoryIsFree: RoomFilter = ({ memoryMiB }, { allocatable, allocated }) =>
  allocated.memoryMiB + memoryMiB <= allocatable.memoryMiB
    ? undefined
    : `has too little memory free for ${memoryMiB} MiB (it gives out ${allocatable.memoryMiB} MiB in all)`;

const diskIsFree: RoomFilter = ({ disks }, { allocatable, allocated }) => {
  const [pool] = Object.keys(disks)
    .filter((name) => (allocated.disks[name] ?? 0) + (disks[name] ?? 0) > (allocatable.disks[name] ?? 0))
    .toSorted();
  if (pool === undefined) return undefined;
  const where = pool === LOCAL_POOL ? "" : ` in storage pool ${pool}`;
  return `has too little disk free${where} for ${disks[pool] ?? 0} MiB (it gives out ${allocatable.disks[pool] ?? 0} MiB in all)`;
};

const plural = (noun: string, count: number): string => (count === 1 ? noun : `${noun}s`);

/** In the order in which their answers help most: what rules a node out for good comes before what is full today. */
export const filters = {
  dataIsHere,
  nodeIsReady,
  nodeIsSchedulable,
  zoneMatches,
  labelsMatch,
  firmwareIsInstalled,
  tpmIsInstalled,
  storagePoolsAreThere,
  imageIsAccepted,
  imageIsWithinReach,
  cpusAreFree,
  memoryIsFree,
  diskIsFree,
} satisfies Readonly<Record<string, Filter>>;

/** The first reason why the node cannot take the machine, or undefined when it fits. */
export const rejectionOf = (request: PlacementRequest, node: Candidate): string | undefined => {
  for (const filter of Object.values<Filter>(filters)) {
    const message = filter(request, node);
    if (message !== undefined) return message;
  }
  return undefined;
};

import { isPermanentRefusal } from "../image/judge.ts";
import type { Candidate, PlacementRequest } from "./types.ts";

/**
 * Says why this node cannot take the machine, as the rest of a sentence that
 * begins with the node's name, or undefined when it can.
 *
 * Messages hold what was asked for and what the node has in all, not what is
 * free this moment: the text is part of a status, and every change of it is a
 * write for every machine that waits.
 */
type Filter = (request: PlacementRequest, node: Candidate) => string | undefined;

const nodeIsReady: Filter = (_, { readiness }) =>
  readiness.kind === "ready" ? undefined : readiness.message;

const nodeIsSchedulable: Filter = (_, node) =>
  node.unschedulable ? "is cordoned (spec.unschedulable)" : undefined;

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

const imageIsAccepted: Filter = ({ imageUid }, { images }) => {
  const refused = images.find((image) => image.uid === imageUid && isPermanentRefusal(image));
  return refused === undefined ? undefined : `refused the image (${refused.reason ?? "Failed"})`;
};

const cpusAreFree: Filter = ({ vcpus }, { allocatable, allocated }) =>
  allocated.vcpus + vcpus <= allocatable.vcpus
    ? undefined
    : `has too few virtual CPUs free for ${vcpus} (it gives out ${allocatable.vcpus} in all)`;

const memoryIsFree: Filter = ({ memoryMiB }, { allocatable, allocated }) =>
  allocated.memoryMiB + memoryMiB <= allocatable.memoryMiB
    ? undefined
    : `has too little memory free for ${memoryMiB} MiB (it gives out ${allocatable.memoryMiB} MiB in all)`;

const diskIsFree: Filter = ({ diskMiB }, { allocatable, allocated }) =>
  allocated.diskMiB + diskMiB <= allocatable.diskMiB
    ? undefined
    : `has too little disk free for ${diskMiB} MiB (it gives out ${allocatable.diskMiB} MiB in all)`;

const plural = (noun: string, count: number): string => (count === 1 ? noun : `${noun}s`);

/** In the order in which their answers help most: what rules a node out for good comes before what is full today. */
export const filters = {
  nodeIsReady,
  nodeIsSchedulable,
  zoneMatches,
  labelsMatch,
  firmwareIsInstalled,
  imageIsAccepted,
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

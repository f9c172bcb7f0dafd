import type { Candidate, PlacementRequest } from "./types.ts";

/** How good a node would be for the machine, from 0 (worst) to 1 (best). Asked only of nodes that fit. */
type Score = (request: PlacementRequest, node: Candidate) => number;

/** How much would be left free, processors and memory alike: machines spread over the nodes. */
const leavesRoom: Score = (request, node) =>
  (freeShare("vcpus", request, node) + freeShare("memoryMiB", request, node)) / 2;

const freeShare = (resource: "vcpus" | "memoryMiB", request: PlacementRequest, node: Candidate): number => {
  const total = node.allocatable[resource];
  if (total === 0) return 0;
  return Math.max(0, (total - node.allocated[resource] - request[resource]) / total);
};

/** Images need not be fetched first; one under way is half as good. */
const holdsImage: Score = (request, { images }) => {
  const shares = request.images.map((uid) => {
    const state = images.find((image) => image.uid === uid)?.state;
    if (state === "Ready") return 1;
    return state === "Fetching" ? 0.5 : 0;
  });
  return shares.reduce<number>((sum, share) => sum + share, 0) / Math.max(shares.length, 1);
};

/** An emulated guest is about ten times slower. */
const runsOnHardware: Score = (_, { acceleration }) => (acceleration === "kvm" ? 1 : 0);

interface WeightedScore {
  readonly score: Score;
  readonly weight: number;
}

/**
 * Room decides; an image at hand is worth a twentieth of a node, so that it
 * breaks ties and does not gather all machines of an image; and hardware
 * virtualisation is worth more than all else together.
 */
export const scores = {
  leavesRoom: { score: leavesRoom, weight: 100 },
  holdsImage: { score: holdsImage, weight: 5 },
  runsOnHardware: { score: runsOnHardware, weight: 200 },
} satisfies Readonly<Record<string, WeightedScore>>;

/** The weighted sum of all scores. */
export const totalScore = (request: PlacementRequest, node: Candidate): number =>
  Object.values<WeightedScore>(scores).reduce(
    (sum, { score, weight }) => sum + weight * score(request, node),
    0,
  );

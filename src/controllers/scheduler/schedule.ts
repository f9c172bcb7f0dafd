import { rejectionOf } from "./filters.ts";
import { totalScore } from "./scores.ts";
import type { Candidate, Placement, PlacementRequest, Rejection } from "./types.ts";

/**
 * Chooses the node for a machine: of the nodes that pass every filter the one
 * with the highest score, and of equal ones the first by name, so that the same
 * facts give the same node in whatever order they come.
 */
export const schedule = (request: PlacementRequest, nodes: readonly Candidate[]): Placement => {
  const rejections: Rejection[] = [];
  const fitting: Candidate[] = [];
  for (const node of nodes) {
    const message = rejectionOf(request, node);
    if (message === undefined) fitting.push(node);
    else rejections.push({ node: node.name, message });
  }
  const best = bestOf(request, fitting);
  if (best === undefined) return { kind: "unschedulable", rejections: rejections.sort(byNode) };
  return { kind: "placed", node: best.name, considered: nodes.length, fitting: fitting.length };
};

const bestOf = (request: PlacementRequest, nodes: readonly Candidate[]): Candidate | undefined =>
  nodes
    .map((node) => ({ node, score: totalScore(request, node) }))
    .reduce<{ node: Candidate; score: number } | undefined>((best, next) => {
      if (best === undefined || next.score > best.score) return next;
      return next.score === best.score && next.node.name < best.node.name ? next : best;
    }, undefined)?.node;

const byNode = (a: Rejection, b: Rejection): number => (a.node < b.node ? -1 : 1);

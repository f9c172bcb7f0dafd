import type { Placement, Rejection } from "./types.ts";

/** Nodes that a message names; the rest is counted. */
const MAX_NAMED_NODES = 16;

const NO_NODES = "There is no Hypervisor yet: start the node agent on a machine that shall run guests.";

/** A Placement in a sentence for people. Bounded, whatever the number of nodes. */
export const explainPlacement = (placement: Placement): string => {
  if (placement.kind === "placed") {
    const { node, considered, fitting } = placement;
    return `Placed on ${node}; ${fitting} of ${considered} ${considered === 1 ? "node" : "nodes"} could take the machine.`;
  }
  const { rejections } = placement;
  if (rejections.length === 0) return NO_NODES;
  const fate = rejections.length === 1 ? "The only node cannot" : `None of ${rejections.length} nodes can`;
  return `${fate} take the machine: ${listReasons(rejections)}.`;
};

const listReasons = (rejections: readonly Rejection[]): string => {
  const named = rejections.slice(0, MAX_NAMED_NODES).map(({ node, message }) => `${node} ${message}`);
  const rest = rejections.length - named.length;
  return [...named, ...(rest > 0 ? [`and ${rest} more`] : [])].join("; ");
};

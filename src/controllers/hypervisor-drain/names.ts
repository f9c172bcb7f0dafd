import { createHash } from "node:crypto";
import type { KubernetesObject } from "../../api/meta.ts";

/** Label of the migrations by which a node is emptied; its value tells which node. */
export const DRAIN_LABEL = "vireo.dev/drain";

const MAX_LABEL = 63;
const MAX_READABLE = 40;

const digestOf = (text: string): string => createHash("sha256").update(text).digest("hex").slice(0, 10);

/** A node's name may be longer than a label's value; then it is told apart by its digest. */
export const drainLabelOf = (nodeName: string): string =>
  nodeName.length <= MAX_LABEL ? nodeName : `${nodeName.slice(0, MAX_READABLE)}-${digestOf(nodeName)}`;

/**
 * The name of the nth attempt to move this very machine away from the node: the
 * same whoever makes it, so that a second one made at the same time is refused.
 */
export const drainName = ({ metadata }: KubernetesObject, nodeName: string, attempt: number): string => {
  const readable = metadata.name.slice(0, MAX_READABLE).replace(/[^a-z0-9]+$/, "");
  return `drain-${readable}-${digestOf(`${metadata.uid}/${nodeName}`)}-${attempt}`;
};

/** Which attempt it is; 1 for a name that somebody else has given. */
export const attemptOf = ({ metadata }: KubernetesObject): number => {
  const attempt = Number(/-([1-9][0-9]{0,5})$/.exec(metadata.name)?.[1]);
  return Number.isNaN(attempt) ? 1 : attempt;
};

import { hash } from "node:crypto";

import type { ChainOwner } from "../host/iptables/index.ts";

/** Names of the chains and sets of this room, by which a freshly started agent knows them for its own. */

export const OWNER: ChainOwner = { prefix: "VIREO-", tag: "vireo" };

/** Of all our sets, which have at most 31 characters. */
export const SET_PREFIX = "vireo-";

/** Stands for what is too long for a name. */
const digest = (...parts: readonly string[]): string => hash("sha256", parts.join("\n")).slice(0, 16);

/** Where the built-in chain of the same name jumps to. */
export const hookChain = (builtIn: string): string => OWNER.prefix + builtIn;

/** Dispatch what comes from a tap to the tap's chains, or what goes to one. */
export const SENDER_CHAIN = `${OWNER.prefix}SENDER`;
export const EGRESS_CHAIN = `${OWNER.prefix}EGRESS`;
export const INGRESS_CHAIN = `${OWNER.prefix}INGRESS`;
export const HAIRPIN_CHAIN = `${OWNER.prefix}HAIRPIN`;
/** Dispatches what comes from a Network to the Network's chain. */
export const ISOLATION_CHAIN = `${OWNER.prefix}ISOLATION`;

/** A chain's name has at most 28 characters; a tap's has at most 15. */
export const senderChain = (tap: string): string => `${OWNER.prefix}S-${tap}`;
export const egressChain = (tap: string): string => `${OWNER.prefix}E-${tap}`;
export const ingressChain = (tap: string): string => `${OWNER.prefix}I-${tap}`;
export const hairpinChain = (tap: string): string => `${OWNER.prefix}H-${tap}`;

export const networkChain = (vni: number): string => `${OWNER.prefix}NET-${vni}`;

/** What a group allows guests of a Network; shared by all their taps. */
export const groupIngressChain = (uid: string, vni: number): string =>
  `${OWNER.prefix}SI-${digest(uid, String(vni))}`;
export const groupEgressChain = (uid: string, vni: number): string =>
  `${OWNER.prefix}SE-${digest(uid, String(vni))}`;
/** What a group allows this node's address. */
export const groupHairpinChain = (uid: string): string => `${OWNER.prefix}SH-${digest(uid)}`;

/** The addresses of all nodes. */
export const NODES_SET = `${SET_PREFIX}nodes`;

/** Members of a group that guests of a Network may see. */
export const membersSet = (uid: string, vni: number): string => `${SET_PREFIX}m-${digest(uid, String(vni))}`;

/** Blocks of a rule. The content makes the name: a set of blocks never changes. */
export const blocksSet = (entries: readonly string[]): string => `${SET_PREFIX}n-${digest(...entries)}`;

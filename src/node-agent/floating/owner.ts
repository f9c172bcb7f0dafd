import type { ChainOwner } from "../host/iptables/index.ts";
import type { DeviceAddress } from "./types.ts";

/**
 * How a freshly started agent knows what is its own.
 *
 * Chains are known by their prefix and rules by their comments, as those of the
 * filters are. An address on a device is ours by its metric: iproute2 keeps a
 * metric for each address, and for one without a network (/32) it means
 * nothing else. (A protocol number would be the natural mark, and iproute2
 * before 6.3 cannot set it; a label has to fit into 15 characters with the
 * device's name.) A switch is ours by its name.
 */
export const CHAIN_OWNER: ChainOwner = { prefix: "VIREOFIP-", tag: "vireofip" };

/** Where packets to floating addresses come by, in each table; and where guests' packets leave. */
export const ARRIVE_CHAIN = `${CHAIN_OWNER.prefix}ARRIVE`;
export const LEAVE_CHAIN = `${CHAIN_OWNER.prefix}LEAVE`;
/** What the node itself sends to floating addresses. */
export const OUTPUT_CHAIN = `${CHAIN_OWNER.prefix}OUTPUT`;

/** Says where one floating address leads. At most 28 characters for a chain's name: an address has 15. */
export const targetChain = (address: string): string => `${CHAIN_OWNER.prefix}${address}`;

const ADDRESS = /^\d{1,3}(?:\.\d{1,3}){3}$/;

/** The floating address whose target chain has this name. */
export const addressOfChain = (chain: string): string | undefined => {
  const rest = chain.slice(CHAIN_OWNER.prefix.length);
  return chain.startsWith(CHAIN_OWNER.prefix) && ADDRESS.test(rest) ? rest : undefined;
};

/** Metric of the addresses that we put on devices. */
export const HELD_METRIC = 5_600_086;

export const isHeldAddress = ({ prefixLength, metric }: DeviceAddress): boolean =>
  prefixLength === 32 && metric === HELD_METRIC;

const SWITCH_PREFIX = "vireofip-";

/**
 * The switch of a floating address: an ipset that has every address in it, for
 * a time. Nothing of the address passes while its switch is off, and the
 * kernel switches it off when nobody is there to do so.
 */
export const switchName = (address: string): string => `${SWITCH_PREFIX}${address}`;

/** The floating address whose switch has this name. */
export const addressOfSwitch = (name: string): string | undefined => {
  const rest = name.slice(SWITCH_PREFIX.length);
  return name.startsWith(SWITCH_PREFIX) && ADDRESS.test(rest) ? rest : undefined;
};

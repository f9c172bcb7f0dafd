import { isIP } from "node:net";
import ipaddr from "ipaddr.js";

/** Says why a download may not connect to an address; undefined when it may. */
export type AddressPolicy = (address: string) => string | undefined;

export interface AddressPolicyOptions {
  /** CIDRs of the administrator: what they cover may be connected to, whatever it is. */
  readonly allowedNetworks: readonly string[];
  /** Addresses of the node itself, asked anew each time because they change. */
  readonly nodeAddresses: () => readonly string[];
}

type Address = ipaddr.IPv4 | ipaddr.IPv6;

/**
 * Where machines on a network live. Everything else (loopback, link-local,
 * multicast, reserved, and what a later version of the table adds) is refused.
 * Private networks are where a company's own mirror is.
 */
const ordinaryRanges: ReadonlySet<string> = new Set(["unicast", "private", "carrierGradeNat", "uniqueLocal"]);

/** Metadata services of clouds that are not in 169.254.0.0/16: they hand out the node's credentials. */
const metadataServices: ReadonlyMap<string, string> = new Map([
  ["fd00:ec2::254", "Amazon"],
  ["fd20:ce::254", "Google"],
  ["100.100.100.200", "Alibaba"],
  ["168.63.129.16", "Azure"],
  ["192.0.0.192", "Oracle"],
]);

/** The IPv4 address that a packet to this IPv6 address ends at: IPv4-mapped, or through a NAT64. */
const embeddedIPv4 = (address: ipaddr.IPv6): ipaddr.IPv4 | undefined => {
  const range = address.range();
  if (range !== "ipv4Mapped" && range !== "rfc6052") return undefined;
  return new ipaddr.IPv4(address.toByteArray().slice(12));
};

const parseCidr = (text: string): [Address, number] => {
  try {
    return ipaddr.parseCIDR(text);
  } catch (cause) {
    throw new RangeError(`"${text}" is not a network such as 10.0.0.0/8 or fd00::/8`, { cause });
  }
};

const contains = ([network, prefixLength]: readonly [Address, number], address: Address): boolean =>
  network.kind() === address.kind() && address.match(network, prefixLength);

const refusal = (address: Address, nodeAddresses: readonly string[]): string | undefined => {
  if (nodeAddresses.some((own) => isIP(own) !== 0 && ipaddr.process(own).toString() === address.toString()))
    return "it is an address of this node";
  const cloud = metadataServices.get(address.toString());
  if (cloud !== undefined) return `it is the metadata service of ${cloud}'s cloud`;
  const range = address.range();
  return ordinaryRanges.has(range) ? undefined : `it is not an ordinary address but ${range}`;
};

/**
 * Decides about addresses as the resolver gives them or a URL contains them,
 * never about names: what a name means can change between two questions.
 */
export const createAddressPolicy = (options: AddressPolicyOptions): AddressPolicy => {
  const allowed = options.allowedNetworks.map(parseCidr);
  const judge = (address: Address): string | undefined =>
    allowed.some((network) => contains(network, address))
      ? undefined
      : refusal(address, options.nodeAddresses());

  return (text) => {
    if (isIP(text) === 0) return "it is not an IP address";
    const address = ipaddr.parse(text);
    const embedded = address instanceof ipaddr.IPv6 ? embeddedIPv4(address) : undefined;
    return judge(embedded ?? address);
  };
};

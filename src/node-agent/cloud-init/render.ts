import { createHash } from "node:crypto";
import ipaddr from "ipaddr.js";
import { stringify } from "yaml";
import type { AllocatedInterface } from "../../api/virtual-machine.ts";
import type { Seed } from "./types.ts";

/**
 * The files of a NoCloud seed, by name.
 * https://cloudinit.readthedocs.io/en/latest/reference/datasources/nocloud.html
 */
export interface SeedDocuments {
  readonly "meta-data": string;
  readonly "user-data": string;
  readonly "network-config": string;
}

/**
 * Every string is quoted. cloud-init reads YAML 1.1, where a plain 52:54:00:12:34:56
 * is a number in base 60 and a plain "on" is a boolean; the yaml library writes 1.2.
 */
const document = (value: unknown): string =>
  stringify(value, {
    defaultStringType: "QUOTE_DOUBLE",
    defaultKeyType: "PLAIN",
    lineWidth: 0,
    // The same key or address twice stays a value: cloud-init's consumers need not know anchors.
    aliasDuplicateObjects: false,
  });

const metaData = (seed: Seed): string =>
  document({
    // A guest does its first boot once for each instance-id; this one lives as long as the machine.
    "instance-id": seed.vmUid,
    "local-hostname": seed.hostname,
    "public-keys": seed.sshPublicKeys,
  });

/** An empty mapping, since cloud-init warns of a cloud-config that is no mapping at all. */
const EMPTY_CLOUD_CONFIG = "#cloud-config\n{}\n";

const defaultRoute = ({ address, prefixLength, gateway }: AllocatedInterface) => {
  const reachable = ipaddr.IPv4.parse(gateway).match(ipaddr.IPv4.parse(address), prefixLength);
  return {
    // Not "default", which netplan before 0.104 does not know.
    to: "0.0.0.0/0",
    via: gateway,
    // A router outside the guest's own network is on the link all the same: the node answers for it.
    ...(reachable ? {} : { "on-link": true }),
  };
};

const ethernet = (link: AllocatedInterface, index: number) => ({
  match: { macaddress: link.macAddress },
  dhcp4: false,
  mtu: link.mtu,
  addresses: [`${link.address}/${link.prefixLength}`],
  // Two default routes would compete; the first interface is the way out.
  ...(index === 0 ? { routes: [defaultRoute(link)] } : {}),
  ...(link.dnsServers.length > 0 ? { nameservers: { addresses: link.dnsServers } } : {}),
});

/** https://cloudinit.readthedocs.io/en/latest/reference/network-config-format-v2.html */
const networkConfig = (interfaces: readonly AllocatedInterface[]): string =>
  document({
    version: 2,
    // The names are only this file's own; the match says which card is meant.
    ethernets: Object.fromEntries(interfaces.map((link, index) => [`net${index}`, ethernet(link, index)])),
  });

/** What the guest is to read, as text. Values of users are YAML scalars here, or a file of their own. */
export const renderSeed = (seed: Seed): SeedDocuments => ({
  "meta-data": metaData(seed),
  "user-data": seed.userData ?? EMPTY_CLOUD_CONFIG,
  "network-config": seed.networkData ?? networkConfig(seed.interfaces),
});

/** SHA-256 in hex of all documents: equal exactly when the seeds say the same. */
export const seedDigest = (documents: SeedDocuments): string =>
  createHash("sha256")
    .update(JSON.stringify(Object.entries(documents)))
    .digest("hex");

import { randomUUID } from "node:crypto";
import { join } from "node:path";

import { startNetworkNamespace, type NetworkNamespace } from "./network-namespace.ts";
import { waitFor } from "./wait.ts";

export interface PacketGuestOptions {
  /** Unique in the directory. */
  readonly name: string;
  readonly directory: string;
  /** The namespace that has the tap. */
  readonly node: NetworkNamespace;
  /** Name of a tap that exists. */
  readonly tap: string;
  readonly macAddress: string;
  readonly address: string;
  readonly prefixLength: number;
  readonly gateway: string;
  readonly mtu: number;
}

/** The guest's only network card, inside its namespace. */
export const GUEST_DEVICE = "eth0";

const hasCarrier = (node: NetworkNamespace, device: string): Promise<boolean> =>
  node.run(["ip", "link", "show", "dev", device]).then((text) => text.includes("LOWER_UP"));

/** Carries the frames of a tap device over a datagram socket to the socket `peer`. */
const plug = (device: string, own: string, peer: string): string[] => [
  "socat",
  "-b",
  "70000",
  `TUN,tun-name=${device},tun-type=tap,iff-no-pi`,
  `UNIX-SENDTO:${peer},bind=${own},unlink-close=1`,
];

/**
 * A guest without a machine: a network namespace behind a real tap. Two socats
 * do what QEMU does, and carry whole frames between the tap and the guest's
 * card over a pair of datagram sockets.
 */
export const startPacketGuest = async (options: PacketGuestOptions): Promise<NetworkNamespace> => {
  const { name, directory, node, tap } = options;
  const guest = await startNetworkNamespace({ name, directory });
  // Of this plug alone: a guest that comes back may meet the socats of its last stay, which end in their own time and
  // take their sockets with them.
  const stay = randomUUID();
  const sockets = { node: join(directory, `${stay}.node`), guest: join(directory, `${stay}.guest`) };
  await node.startDaemon(`tap-${name}`, plug(tap, sockets.node, sockets.guest));
  await guest.startDaemon("card", plug(GUEST_DEVICE, sockets.guest, sockets.node));
  await waitFor(`the card of guest ${name}`, () => guest.succeeds(["ip", "link", "show", GUEST_DEVICE]), {
    intervalMs: 5,
  });
  await guest.run(["ip", "link", "set", GUEST_DEVICE, "address", options.macAddress]);
  await guest.run(["ip", "link", "set", GUEST_DEVICE, "mtu", String(options.mtu), "up"]);
  const address = `${options.address}/${options.prefixLength}`;
  await guest.run(["ip", "address", "add", address, "dev", GUEST_DEVICE]);
  await guest.run(["ip", "route", "add", "default", "via", options.gateway]);
  await waitFor(`carrier of ${tap}`, () => hasCarrier(node, tap), { intervalMs: 5 });
  return guest;
};

import { GATEWAY_DEVICE } from "./owner.ts";

/** Whose settings in the kernel are to be written. */
export type Tuning =
  | { readonly kind: "node" }
  | { readonly kind: "gateway" }
  | { readonly kind: "tap"; readonly device: string }
  | { readonly kind: "vxlan"; readonly device: string };

type Settings = Readonly<Record<string, number>>;

/**
 * - forwarding: the node is the guests' router.
 * - fwmark_reflect: what the kernel answers to a guest's packet (too large, no
 *   such host, connection reset, pong) bears the packet's mark, and so finds
 *   its way back also where two Networks have the same addresses.
 */
const nodeSettings: Settings = { "net.ipv4.ip_forward": 1, "net.ipv4.fwmark_reflect": 1 };

/**
 * What every device with guests behind it has.
 *
 * - rp_filter loose: a strict look at the way back does not know the rules by
 *   which packets came. That guests use their own addresses is the filters' to
 *   see to.
 * - src_valid_mark: but the look goes by the packet's mark, where it has one.
 * - redirects: guests share no wire, and must not be told to talk directly.
 * - IPv6 does not exist here: nothing filters it by address, so nothing may speak it.
 *
 * https://docs.kernel.org/networking/ip-sysctl.html
 */
const routedDevice = (device: string): Settings => ({
  [`net.ipv6.conf.${device}.disable_ipv6`]: 1,
  [`net.ipv4.conf.${device}.forwarding`]: 1,
  [`net.ipv4.conf.${device}.rp_filter`]: 2,
  [`net.ipv4.conf.${device}.src_valid_mark`]: 1,
  [`net.ipv4.conf.${device}.accept_redirects`]: 0,
  [`net.ipv4.conf.${device}.send_redirects`]: 0,
});

/**
 * proxy_arp without delay: the node answers for every address that it has a
 * route to, so that a guest finds its neighbours through its router.
 */
const tapSettings = (tap: string): Settings => ({
  ...routedDevice(tap),
  [`net.ipv4.conf.${tap}.proxy_arp`]: 1,
  [`net.ipv4.neigh.${tap}.proxy_delay`]: 0,
});

/**
 * No rp_filter: what comes from a Network to another comes by the receiver's
 * tunnel, and the way back leads into the sender's. Loose is not enough, since
 * for a device without an address the kernel takes it for strict.
 */
const tunnelSettings = (device: string): Settings => ({
  ...routedDevice(device),
  [`net.ipv4.conf.${device}.rp_filter`]: 0,
});

/** Names of settings (sysctl(8)) and what they are to be. */
export const settingsOf = (tuning: Tuning): Settings => {
  switch (tuning.kind) {
    case "node":
      return nodeSettings;
    case "gateway":
      return { [`net.ipv6.conf.${GATEWAY_DEVICE}.disable_ipv6`]: 1 };
    case "tap":
      return tapSettings(tuning.device);
    case "vxlan":
      return tunnelSettings(tuning.device);
  }
};

/** Whether the settings are what they are to be. A kernel without IPv6 has none for it, which is as good. */
export const isTuned = (tuning: Tuning, observed: ReadonlyMap<string, string>): boolean =>
  Object.entries(settingsOf(tuning)).every(([name, value]) => {
    const present = observed.get(name);
    return present === undefined ? name.startsWith("net.ipv6.") : present === String(value);
  });

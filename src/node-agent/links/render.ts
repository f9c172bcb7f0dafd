import { GATEWAY_DEVICE } from "./owner.ts";
import { type Step, TAP_MAC_ADDRESS, type Tuning } from "./plan.ts";

/**
 * Steps as lines for `ip -batch -` (ip(8)), and the kernel's settings as lines
 * for `sysctl --load=-` (sysctl.conf(5)).
 */

/** One word of a line. The values are checked long before; that none can begin another line is checked here. */
const word = (value: string | number): string => {
  const text = String(value);
  if (!/^[A-Za-z0-9./:_-]+$/.test(text)) {
    throw new RangeError(`not a word for a line of ip -batch: ${JSON.stringify(text)}`);
  }
  return text;
};

type Renderers = {
  readonly [K in Step["kind"]]: (step: Extract<Step, { readonly kind: K }>) => readonly string[];
};

/**
 * - The tap's owner is root: without an owner any process of the node that may
 *   open /dev/net/tun could attach to it while no guest does. libvirtd is root.
 * - vnet_hdr lets guests send and receive large segments; libvirt switches it
 *   on, and only finds it when it was made so.
 * - addrgenmode none: no link-local address, so that no IPv6 leaves the device.
 */
const renderers: Renderers = {
  "remove-device": ({ device }) => [`link delete dev ${word(device)}`],
  "add-gateway-device": () => [
    `link add ${GATEWAY_DEVICE} type bridge`,
    `link set dev ${GATEWAY_DEVICE} addrgenmode none`,
  ],
  "raise-device": ({ device }) => [`link set dev ${word(device)} up`],
  "add-gateway": ({ gateway }) => [`address replace ${word(gateway)}/32 dev ${GATEWAY_DEVICE}`],
  "remove-gateway": ({ address }) => [`address delete ${word(address)} dev ${GATEWAY_DEVICE}`],
  "add-tap": ({ device }) => [`tuntap add dev ${word(device)} mode tap vnet_hdr user root`],
  "configure-tap": ({ device, alias, mtu }) => [
    `link set dev ${word(device)} alias ${word(alias)}`,
    `link set dev ${word(device)} address ${TAP_MAC_ADDRESS} mtu ${word(mtu)} addrgenmode none`,
  ],
  "set-neighbour": ({ device, address, macAddress }) => [
    `neighbour replace ${word(address)} lladdr ${word(macAddress)} dev ${word(device)} nud permanent`,
  ],
  "remove-neighbour": ({ device, address }) => [`neighbour delete ${word(address)} dev ${word(device)}`],
  "set-route": ({ device, address }) => [
    `route replace ${word(address)}/32 dev ${word(device)} scope link proto static`,
  ],
  "remove-route": ({ device, destination }) => [`route delete ${word(destination)} dev ${word(device)}`],
};

// The table has an entry for each kind, which TypeScript cannot follow through the look-up.
const renderStep = (step: Step): readonly string[] =>
  (renderers[step.kind] as (step: Step) => readonly string[])(step);

/** Standard input for `ip -batch -`. */
export const renderBatch = (steps: readonly Step[]): string =>
  steps
    .flatMap(renderStep)
    .map((line) => `${line}\n`)
    .join("");

type Settings = Readonly<Record<string, number>>;

/**
 * - proxy_arp without delay: the node answers for every address that it has a
 *   route to, so that a guest finds its neighbours through its router.
 * - rp_filter: packets from addresses that are not routed to the tap are dropped.
 * - redirects: two guests behind one router must not be told to talk directly.
 * - IPv6 does not exist here: nothing filters it by address, so nothing may speak it.
 *
 * https://docs.kernel.org/networking/ip-sysctl.html
 */
const tapSettings = (tap: string): Settings => ({
  [`net.ipv6.conf.${tap}.disable_ipv6`]: 1,
  [`net.ipv4.conf.${tap}.forwarding`]: 1,
  [`net.ipv4.conf.${tap}.proxy_arp`]: 1,
  [`net.ipv4.conf.${tap}.rp_filter`]: 1,
  [`net.ipv4.conf.${tap}.accept_redirects`]: 0,
  [`net.ipv4.conf.${tap}.send_redirects`]: 0,
  [`net.ipv4.neigh.${tap}.proxy_delay`]: 0,
});

const settingsOf = (tuning: Tuning): Settings => {
  switch (tuning.kind) {
    case "node":
      return { "net.ipv4.ip_forward": 1 };
    case "gateway":
      return { [`net.ipv6.conf.${GATEWAY_DEVICE}.disable_ipv6`]: 1 };
    case "tap":
      return tapSettings(word(tuning.device));
  }
};

/** Standard input for `sysctl --load=-`. */
export const renderSettings = (tunings: readonly Tuning[]): string =>
  tunings
    .flatMap((tuning) => Object.entries(settingsOf(tuning)))
    .map(([key, value]) => `${key} = ${value}\n`)
    .join("");

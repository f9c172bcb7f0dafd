import { ROUTE_PROTOCOL } from "../../api/network-identity.ts";
import { GATEWAY_DEVICE } from "./owner.ts";
import { TAP_MAC_ADDRESS } from "./plan-taps.ts";
import { ruleWords } from "./rules.ts";
import { settingsOf, type Tuning } from "./settings.ts";
import type { ForwardingStep, Step } from "./steps.ts";
import type { Route } from "./types.ts";

/**
 * Steps as lines for `ip -batch -` (ip(8)) and `bridge -batch -` (bridge(8)),
 * and the kernel's settings as lines for `sysctl --load=-` (sysctl.conf(5)).
 */

/** One word of a line. The values are checked long before; that none can begin another line is checked here. */
const word = (value: string | number): string => {
  const text = String(value);
  if (!/^[A-Za-z0-9./:_-]+$/.test(text)) {
    throw new RangeError(`not a word for a line of ip -batch: ${JSON.stringify(text)}`);
  }
  return text;
};

type Words = string | number | readonly (string | number)[];

/** A line of which every value is one word, or a list of words. */
const line = (fixed: TemplateStringsArray, ...values: readonly Words[]): string =>
  String.raw(
    { raw: fixed },
    ...values.map((value) => (Array.isArray(value) ? value.map(word).join(" ") : word(value as string))),
  );

/** A word and its value, where there is one. */
const option = (name: string, value: string | number | undefined): readonly (string | number)[] =>
  value === undefined ? [] : [name, value];

const routeWords = ({ table, destination, device, gateway, source }: Route): readonly (string | number)[] => [
  destination,
  ...option("via", gateway),
  ...option("dev", device),
  ...option("src", source),
  ...option("table", table),
  ...option("proto", ROUTE_PROTOCOL),
];

type Renderers<S extends { readonly kind: string }> = {
  readonly [K in S["kind"]]: (step: Extract<S, { readonly kind: K }>) => readonly string[];
};

/**
 * - The tap's owner is root: without an owner any process of the node that may
 *   open /dev/net/tun could attach to it while no guest does. libvirtd is root.
 * - vnet_hdr lets guests send and receive large segments; libvirt switches it
 *   on, and only finds it when it was made so.
 * - addrgenmode none: no link-local address, so that no IPv6 leaves the device.
 * - A VXLAN device has its group, by which it is known as ours, from its birth.
 * - onlink: the other node is behind the tunnel, though no address says so.
 */
const renderers: Renderers<Step> = {
  "remove-device": ({ device }) => [line`link delete dev ${device}`],
  "add-gateway-device": () => [
    line`link add ${GATEWAY_DEVICE} type bridge`,
    line`link set dev ${GATEWAY_DEVICE} addrgenmode none`,
  ],
  "raise-device": ({ device }) => [line`link set dev ${device} up`],
  "add-gateway": ({ device, gateway, scope }) => [
    line`address replace ${gateway}/32 dev ${device} scope ${scope}`,
  ],
  "remove-gateway": ({ device, address }) => [line`address delete ${address} dev ${device}`],
  "add-tap": ({ device }) => [line`tuntap add dev ${device} mode tap vnet_hdr user root`],
  "configure-tap": ({ device, configuration: { alias, mtu, group } }) => [
    line`link set dev ${device} alias ${alias}`,
    line`link set dev ${device} address ${TAP_MAC_ADDRESS} mtu ${mtu} addrgenmode none`,
    line`link set dev ${device} group ${group}`,
  ],
  "add-vxlan": ({ vxlan: { name, vni, macAddress, local, port, mtu, group } }) => [
    line`link add ${name} address ${macAddress} mtu ${mtu} group ${group} type vxlan id ${vni} local ${local} dstport ${port} nolearning`,
  ],
  "configure-vxlan": ({ vxlan: { name, alias, mtu, group } }) => [
    line`link set dev ${name} alias ${alias}`,
    line`link set dev ${name} mtu ${mtu} addrgenmode none`,
    line`link set dev ${name} group ${group}`,
  ],
  "set-neighbour": ({ neighbour: { device, address, macAddress } }) => [
    line`neighbour replace ${address} lladdr ${macAddress} dev ${device} nud permanent`,
  ],
  "remove-neighbour": ({ device, address }) => [line`neighbour delete ${address} dev ${device}`],
  "set-route": ({ route }) => [
    line`route replace ${routeWords(route)} ${route.gateway === undefined ? ["scope", "link"] : "onlink"}`,
  ],
  "remove-route": ({ route }) => [line`route delete ${routeWords(route)} ${option("metric", route.metric)}`],
  "add-rule": ({ rule }) => [line`rule add ${ruleWords(rule)}`],
  "remove-rule": ({ rule }) => [line`rule delete ${ruleWords(rule)}`],
};

const forwardingRenderers: Renderers<ForwardingStep> = {
  "set-forwarding": ({ forwarding: { device, macAddress, nodeAddress } }) => [
    line`fdb replace ${macAddress} dev ${device} dst ${nodeAddress} self permanent`,
  ],
  "remove-forwarding": ({ forwarding: { device, macAddress, nodeAddress } }) => [
    line`fdb delete ${macAddress} dev ${device} dst ${nodeAddress} self`,
  ],
};

const textOf = (lines: readonly string[]): string => lines.map((text) => `${text}\n`).join("");

/** Standard input for `ip -batch -`. */
export const renderBatch = (steps: readonly Step[]): string =>
  // The table has an entry for each kind, which TypeScript cannot follow through the look-up.
  textOf(steps.flatMap((step) => (renderers[step.kind] as (step: Step) => readonly string[])(step)));

/** Standard input for `bridge -batch -`. */
export const renderForwarding = (steps: readonly ForwardingStep[]): string =>
  textOf(
    steps.flatMap((step) =>
      (forwardingRenderers[step.kind] as (step: ForwardingStep) => readonly string[])(step),
    ),
  );

const settingLines = (tuning: Tuning): readonly string[] => {
  if ("device" in tuning) word(tuning.device);
  return Object.entries(settingsOf(tuning)).map(([key, value]) => `${key} = ${value}`);
};

/** Standard input for `sysctl --load=-`. */
export const renderSettings = (tunings: readonly Tuning[]): string => textOf(tunings.flatMap(settingLines));

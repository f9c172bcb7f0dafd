import { tunnelMacAddress, vxlanDevice } from "../../api/network-identity.ts";
import { planRoutes } from "./plan-routes.ts";
import {
  deviceRule,
  markRule,
  nowhereRule,
  rangeRule,
  type Rule,
  ruleWords,
  tunnelRules,
  vniOfRule,
} from "./rules.ts";
import { type Scene, sceneOf } from "./scene.ts";
import { isTuned } from "./settings.ts";
import { type ForwardingStep, joined, nothing, type Plan, type Step, type Vxlan } from "./steps.ts";
import type { Forwarding, Neighbour, NetworkRoutes, NodeNetworks, ObservedLinks } from "./types.ts";

/**
 * The difference between the ways to guests of other nodes that are to be and
 * those that are. It is the whole node's: what is ours and not wanted goes.
 *
 * Taps and the routes to them in their own Network's table are made elsewhere
 * (plan-taps.ts) and are only read here: for the tables of peers, and because
 * the address of a guest that is here leads to its tap, whatever else is said.
 * A Network that is no longer wanted but has a tap yet is left as it is.
 */

export const planNetworks = (desired: NodeNetworks, observed: ObservedLinks): Plan => {
  const scene = sceneOf(desired, observed);
  return joined(
    planRules(scene),
    planDevices(scene),
    planForwarding(scene),
    planNeighbours(scene),
    planRoutes(scene),
  );
};

const planDevices = ({ vxlans, going, observed }: Scene): Plan =>
  joined(
    { ...nothing, make: [...going].map((device) => ({ kind: "remove-device", device })) },
    ...vxlans.map((vxlan) => planDevice(vxlan, observed)),
  );

const planDevice = (vxlan: Vxlan, { devices, settings }: ObservedLinks): Plan => {
  const device = vxlan.name;
  const existing = devices.find(({ name }) => name === device);
  const configured =
    existing?.mtu === vxlan.mtu && existing.group === vxlan.group && existing.alias === vxlan.alias;
  const make: Step[] = existing === undefined ? [{ kind: "add-vxlan", vxlan }] : [];
  if (!configured) make.push({ kind: "configure-vxlan", vxlan });
  const tuned = existing !== undefined && isTuned({ kind: "vxlan", device }, settings);
  return {
    make,
    tune: tuned ? [] : [{ kind: "vxlan", device }],
    forward: [],
    connect: existing?.up === true ? [] : [{ kind: "raise-device", device }],
  };
};

const textOf = (rule: Rule): string => ruleWords(rule).join(" ");

const rulesOf = (network: NetworkRoutes, { networks }: Scene): readonly Rule[] => {
  const { vni, cidr, peers, reachableFromNodes } = network;
  const ranges = [cidr, ...peers.flatMap((peer) => networks.get(peer)?.cidr ?? [])];
  return [
    markRule(vni),
    deviceRule(vni, vxlanDevice(vni)),
    ...ranges.map((range) => nowhereRule(vni, range)),
    ...(reachableFromNodes ? [rangeRule(vni, cidr)] : []),
  ];
};

const planRules = (scene: Scene): Plan => {
  const { networks, taps, leftAlone, desired, observed } = scene;
  const wanted = new Map(
    [
      ...(networks.size === 0 ? [] : tunnelRules(desired.vxlanPort)),
      ...[...networks.values()].flatMap((network) => rulesOf(network, scene)),
      ...[...taps].map(([tap, vni]) => deviceRule(vni, tap)),
    ].map((rule) => [textOf(rule), rule]),
  );
  const isLeftAlone = (rule: Rule): boolean => {
    const vni = vniOfRule(rule);
    const isOfTap = rule.device !== undefined && rule.device !== vxlanDevice(vni ?? 0);
    return vni === undefined ? leftAlone.size > 0 && networks.size === 0 : leftAlone.has(vni) && !isOfTap;
  };
  const present = new Set(observed.rules.map(textOf));
  return {
    ...nothing,
    make: observed.rules
      .filter((rule) => !wanted.has(textOf(rule)) && !isLeftAlone(rule))
      .map((rule) => ({ kind: "remove-rule", rule })),
    connect: [...wanted]
      .filter(([text]) => !present.has(text))
      .map(([, rule]) => ({ kind: "add-rule", rule })),
  };
};

const forwardingText = ({ device, macAddress, nodeAddress }: Forwarding): string =>
  `${device} ${macAddress} ${nodeAddress}`;

/** One way to each node on each device, under the hardware address that the node has there. */
const planForwarding = ({ vxlans, nodes, observed }: Scene): Plan => {
  const names = new Set(vxlans.map(({ name }) => name));
  const wanted = vxlans.flatMap(({ name }) =>
    nodes.map((nodeAddress): Forwarding => ({
      device: name,
      macAddress: tunnelMacAddress(nodeAddress),
      nodeAddress,
    })),
  );
  const wantedKeys = new Set(wanted.map(forwardingText));
  const own = observed.forwarding.filter(({ device }) => names.has(device));
  const present = new Set(own.filter(({ permanent }) => permanent).map(forwardingText));
  const forward: ForwardingStep[] = [
    ...own
      .filter((forwarding) => !wantedKeys.has(forwardingText(forwarding)))
      .map((forwarding): ForwardingStep => ({ kind: "remove-forwarding", forwarding })),
    ...wanted
      .filter((forwarding) => !present.has(forwardingText(forwarding)))
      .map((forwarding): ForwardingStep => ({ kind: "set-forwarding", forwarding })),
  ];
  return { ...nothing, forward };
};

const planNeighbours = ({ vxlans, nodes, observed }: Scene): Plan => {
  const names = new Set(vxlans.map(({ name }) => name));
  const wanted = vxlans.flatMap(({ name }) =>
    nodes.map((address): Neighbour => ({
      device: name,
      address,
      macAddress: tunnelMacAddress(address),
    })),
  );
  const own = observed.neighbours.filter(({ device }) => names.has(device));
  const known = new Map(own.map(({ device, address, macAddress }) => [`${device} ${address}`, macAddress]));
  const wantedKeys = new Set(wanted.map(({ device, address }) => `${device} ${address}`));
  return {
    ...nothing,
    connect: [
      ...own
        .filter(({ device, address }) => !wantedKeys.has(`${device} ${address}`))
        .map(({ device, address }): Step => ({ kind: "remove-neighbour", device, address })),
      ...wanted
        .filter(({ device, address, macAddress }) => known.get(`${device} ${address}`) !== macAddress)
        .map((neighbour): Step => ({ kind: "set-neighbour", neighbour })),
    ],
  };
};

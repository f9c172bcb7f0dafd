import { deviceGroup, routingTable, vxlanDevice } from "../../api/network-identity.ts";
import type { AllocatedInterface } from "../../api/virtual-machine.ts";
import { ForeignDeviceError, ownedTaps, tapAlias, tapName } from "./owner.ts";
import { deviceRule, ruleWords } from "./rules.ts";
import { isTuned } from "./settings.ts";
import { isPlain, type Plan, routeText, type Step, type TapConfiguration } from "./steps.ts";
import type { Link, ObservedDevice, ObservedLinks, Route } from "./types.ts";

/**
 * The same hardware address on every tap of every node: a guest that moves to
 * another node finds its router under the address that it knows.
 */
export const TAP_MAC_ADDRESS = "ee:ee:ee:ee:ee:ee";

/** Numbers of the Networks that route to the one with this number; undefined while nobody has said. */
export type PeersOf = (vni: number) => readonly number[] | undefined;

const isConfigured = (device: ObservedDevice, { alias, mtu, group }: TapConfiguration): boolean =>
  device.alias === alias &&
  device.mtu === mtu &&
  device.group === group &&
  device.macAddress === TAP_MAC_ADDRESS;

/** A machine's tap in one Network, and the ways to the guest behind it. */
export const planTap = (
  { vmUid, isArriving = false }: Pick<Link, "vmUid" | "isArriving">,
  want: AllocatedInterface,
  observed: ObservedLinks,
  peersOf: PeersOf,
): Plan => {
  const device = tapName(vmUid, want.network);
  const { gateway, vni, mtu } = want;
  const configuration = { alias: tapAlias({ vmUid, gateway, vni }), mtu, group: deviceGroup(vni) };
  const existing = observed.devices.find(({ name }) => name === device);
  if (existing !== undefined && existing.kind !== "tap") throw new ForeignDeviceError(device, "tap");
  const configured = existing !== undefined && isConfigured(existing, configuration);
  const make: Step[] = [];
  if (existing === undefined) make.push({ kind: "add-tap", device });
  if (!configured) make.push({ kind: "configure-tap", device, configuration });
  const connected = configured && existing.up;
  const tuned = connected && isTuned({ kind: "tap", device }, observed.settings);
  const connect: Step[] = planGateway(device, gateway, existing);
  if (!connected) connect.push({ kind: "raise-device", device });
  // Writing the hardware address empties the neighbour table, even if it is the same.
  const neighbours = configured ? observed.neighbours : [];
  connect.push(
    ...planNeighbours(device, want, neighbours),
    ...planRoutes(device, isArriving ? undefined : want, observed, peersOf),
    ...planRule(device, want.vni, observed),
  );
  return { make, tune: tuned ? [] : [{ kind: "tap", device }], forward: [], connect };
};

/**
 * On a device without any address the kernel takes a loose look at the way back
 * (rp_filter 2) for a strict one, and refuses a guest's ARP where only a rule
 * leads back to it. Scope host: never the source of what the node sends.
 */
const planGateway = (device: string, gateway: string, existing: ObservedDevice | undefined): Step[] => {
  const wanted = `${gateway}/32`;
  const present = existing?.addresses ?? [];
  return [
    ...(present.includes(wanted) ? [] : [{ kind: "add-gateway", device, gateway, scope: "host" } as const]),
    ...present
      .filter((address) => address !== wanted)
      .map((address): Step => ({ kind: "remove-gateway", device, address })),
  ];
};

const addressesOf = ({ address, allowedAddresses }: AllocatedInterface): readonly string[] => [
  ...new Set([address, ...allowedAddresses]),
];

/** Permanent, so that the node asks no guest by ARP, and no guest can teach it a wrong answer. */
const planNeighbours = (
  device: string,
  want: AllocatedInterface,
  neighbours: ObservedLinks["neighbours"],
): Step[] => {
  const { macAddress } = want;
  const addresses = addressesOf(want);
  const own = neighbours.filter((neighbour) => neighbour.device === device);
  const known = new Set(own.filter((one) => one.macAddress === macAddress).map(({ address }) => address));
  return [
    ...own
      .filter(({ address }) => !addresses.includes(address))
      .map(({ address }): Step => ({ kind: "remove-neighbour", device, address })),
    ...addresses
      .filter((address) => !known.has(address))
      .map((address): Step => ({
        kind: "set-neighbour",
        neighbour: { device, address, macAddress },
      })),
  ];
};

/** The way to a guest of this node. */
export const tapRoute = (vni: number, destination: string, device: string): Route => ({
  table: routingTable(vni),
  destination,
  device,
  gateway: undefined,
  source: undefined,
});

/** The routes that lead to the guest, none when it is not here yet, and no others over its tap in the tables that we know of. */
const planRoutes = (
  device: string,
  want: AllocatedInterface | undefined,
  observed: ObservedLinks,
  peersOf: PeersOf,
): Step[] => {
  const own = observed.routes.filter((route) => route.device === device);
  if (want === undefined) return own.map((route): Step => ({ kind: "remove-route", route }));
  const peers = peersOf(want.vni);
  const addresses = addressesOf(want).filter(
    (address) => address === want.address || !isHeldByAnother(address, device, want.vni, observed),
  );
  const wanted = [want.vni, ...(peers ?? [])].flatMap((vni) =>
    addresses
      .filter((address) => vni === want.vni || isFreeFor(want.vni, address, device, vni, observed))
      .map((address) => tapRoute(vni, address, device)),
  );
  const wantedTexts = new Set(wanted.map(routeText));
  const present = new Set(own.filter(isPlain).map(routeText));
  const surplus = own.filter(
    (route) =>
      !(isPlain(route) && wantedTexts.has(routeText(route))) &&
      (peers !== undefined || route.table === routingTable(want.vni)),
  );
  return [
    ...surplus.map((route): Step => ({ kind: "remove-route", route })),
    ...wanted
      .filter((route) => !present.has(routeText(route)))
      .map((route): Step => ({ kind: "set-route", route })),
  ];
};

/** Machines may share a further address. The tap that has it keeps it: two that take it from each other serve nobody. */
const isHeldByAnother = (
  address: string,
  device: string,
  vni: number,
  { devices, routes }: ObservedLinks,
): boolean => {
  const taps = new Set(ownedTaps({ devices }).map((tap) => tap.device.name));
  return routes.some(
    (route) =>
      route.table === routingTable(vni) &&
      route.destination === address &&
      route.device !== undefined &&
      route.device !== device &&
      taps.has(route.device),
  );
};

/** In a peer's table, the peer's own guests go first. */
const isFreeFor = (
  vni: number,
  address: string,
  device: string,
  peer: number,
  { routes }: ObservedLinks,
): boolean =>
  routes.every(
    (route) =>
      route.table !== routingTable(peer) ||
      route.destination !== address ||
      route.device === device ||
      route.device === vxlanDevice(vni),
  );

/** Exactly one rule leads what comes by the tap. */
const planRule = (device: string, vni: number, { rules }: ObservedLinks): Step[] => {
  const wanted = deviceRule(vni, device);
  const text = ruleWords(wanted).join(" ");
  const own = rules.filter((rule) => rule.device === device);
  const others = own.filter((rule) => ruleWords(rule).join(" ") !== text);
  return [
    ...others.map((rule): Step => ({ kind: "remove-rule", rule })),
    ...(own.length > others.length ? [] : [{ kind: "add-rule", rule: wanted } as const]),
  ];
};

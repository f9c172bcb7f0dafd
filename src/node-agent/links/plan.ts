import type { AllocatedInterface } from "../../api/virtual-machine.ts";
import { GATEWAY_DEVICE, isTapName, parseTapAlias, tapAlias, tapName, type TapOwner } from "./owner.ts";
import type { Link } from "./types.ts";

/**
 * The difference between the links that are to be and those that are, as steps.
 *
 * The gateways have no memory of their own: they are the sum of what the taps'
 * aliases say, so that any agent at any time comes to the same set.
 */

/**
 * The same hardware address on every tap of every node: a guest that moves to
 * another node finds its router under the address that it knows.
 */
export const TAP_MAC_ADDRESS = "ee:ee:ee:ee:ee:ee";

/** A network device, as far as this room looks at it. */
export interface ObservedDevice {
  readonly name: string;
  /** `bridge`, `tap`, … in iproute2's words; undefined for hardware. */
  readonly kind: string | undefined;
  readonly alias: string | undefined;
  readonly macAddress: string | undefined;
  readonly mtu: number;
  readonly up: boolean;
  /** IPv4 addresses with their prefix lengths. */
  readonly addresses: readonly string[];
  /** Whether it forwards, answers ARP for others and refuses senders that are not routed to it, as a tap has to. */
  readonly routesForGuest: boolean;
}

export interface ObservedRoute {
  readonly destination: string;
  readonly device: string | undefined;
}

export interface ObservedNeighbour {
  readonly address: string;
  readonly device: string;
  readonly macAddress: string | undefined;
}

export interface ObservedLinks {
  readonly devices: readonly ObservedDevice[];
  /** Whether the node forwards IPv4 packets at all. */
  readonly forwarding: boolean;
  /** Routes of the main table. */
  readonly routes: readonly ObservedRoute[];
  /** Permanent neighbours. */
  readonly neighbours: readonly ObservedNeighbour[];
}

export type Step =
  | { readonly kind: "remove-device"; readonly device: string }
  | { readonly kind: "add-gateway-device" }
  | { readonly kind: "raise-device"; readonly device: string }
  | { readonly kind: "add-gateway"; readonly gateway: string }
  | { readonly kind: "remove-gateway"; readonly address: string }
  | { readonly kind: "add-tap"; readonly device: string }
  | { readonly kind: "configure-tap"; readonly device: string; readonly alias: string; readonly mtu: number }
  | {
      readonly kind: "set-neighbour";
      readonly device: string;
      readonly address: string;
      readonly macAddress: string;
    }
  | { readonly kind: "remove-neighbour"; readonly device: string; readonly address: string }
  | { readonly kind: "set-route"; readonly device: string; readonly address: string }
  | { readonly kind: "remove-route"; readonly device: string; readonly destination: string };

/** Whose settings in the kernel are to be written. */
export type Tuning =
  | { readonly kind: "node" }
  | { readonly kind: "gateway" }
  | { readonly kind: "tap"; readonly device: string };

/** Settings come between the two kinds of steps: a device is quiet until it is up. */
export interface Plan {
  readonly make: readonly Step[];
  readonly tune: readonly Tuning[];
  readonly connect: readonly Step[];
}

/** A device with a name of ours that is not what we would have made. */
export class ForeignDeviceError extends Error {
  override readonly name = "ForeignDeviceError";

  constructor(device: string, expected: string) {
    super(`network device ${device} exists and is not a ${expected}: it is not Vireo's, remove or rename it`);
  }
}

interface OwnedTap {
  readonly device: ObservedDevice;
  readonly owner: TapOwner;
}

/** The taps of ours that say for which machine they are. */
export const ownedTaps = ({ devices }: ObservedLinks): readonly OwnedTap[] =>
  devices.flatMap((device) => {
    if (device.kind !== "tap" || !isTapName(device.name) || device.alias === undefined) return [];
    const owner = parseTapAlias(device.alias);
    return owner === undefined ? [] : [{ device, owner }];
  });

const isHalfMade = ({ kind, name, alias }: ObservedDevice): boolean =>
  kind === "tap" && isTapName(name) && alias === undefined;

const nothing: Plan = { make: [], tune: [], connect: [] };

const planRemovals = (devices: readonly ObservedDevice[]): Plan => ({
  ...nothing,
  make: devices.map(({ name }) => ({ kind: "remove-device", device: name })),
});

const planTap = (vmUid: string, want: AllocatedInterface, observed: ObservedLinks): Plan => {
  const device = tapName(vmUid, want.network);
  const alias = tapAlias({ vmUid, gateway: want.gateway });
  const existing = observed.devices.find(({ name }) => name === device);
  if (existing !== undefined && existing.kind !== "tap") throw new ForeignDeviceError(device, "tap");
  const configured =
    existing?.alias === alias && existing.mtu === want.mtu && existing.macAddress === TAP_MAC_ADDRESS;
  const make: Step[] = [];
  if (existing === undefined) make.push({ kind: "add-tap", device });
  if (!configured) make.push({ kind: "configure-tap", device, alias, mtu: want.mtu });
  const tuned = configured && existing.up && existing.routesForGuest;
  const tune: Tuning[] = tuned ? [] : [{ kind: "tap", device }];
  // A new hardware address empties the neighbour table, so that these follow it in any case.
  const connected = configured && existing.up;
  const connect: Step[] = connected ? [] : [{ kind: "raise-device", device }];
  return { make, tune, connect: [...connect, ...planReachability(device, want, connected, observed)] };
};

const planNode = ({ forwarding }: ObservedLinks): Plan => ({
  ...nothing,
  tune: forwarding ? [] : [{ kind: "node" }],
});

/** The neighbour and the route that lead to the guest, and no others over its tap. */
const planReachability = (
  device: string,
  want: AllocatedInterface,
  connected: boolean,
  { neighbours, routes }: ObservedLinks,
): Step[] => {
  const steps: Step[] = [];
  const ownNeighbours = neighbours.filter((neighbour) => neighbour.device === device);
  const known = ownNeighbours.some(
    ({ address, macAddress }) => address === want.address && macAddress === want.macAddress,
  );
  const ownRoutes = routes.filter((route) => route.device === device);
  const routed = ownRoutes.some(({ destination }) => destination === want.address);
  for (const { address } of ownNeighbours) {
    if (address !== want.address) steps.push({ kind: "remove-neighbour", device, address });
  }
  for (const { destination } of ownRoutes) {
    if (destination !== want.address) steps.push({ kind: "remove-route", device, destination });
  }
  if (!connected || !known) {
    steps.push({
      kind: "set-neighbour",
      device,
      address: want.address,
      macAddress: want.macAddress,
    });
  }
  if (!connected || !routed) steps.push({ kind: "set-route", device, address: want.address });
  return steps;
};

const sorted = (values: Iterable<string>): readonly string[] => [...new Set(values)].sort();

/** Makes the gateways' device hold the addresses that `gateways` name, and no others. */
const planGateways = (gateways: readonly string[], observed: ObservedLinks): Plan => {
  const device = observed.devices.find(({ name }) => name === GATEWAY_DEVICE);
  if (device !== undefined && device.kind !== "bridge")
    throw new ForeignDeviceError(GATEWAY_DEVICE, "bridge");
  const wanted = sorted(gateways);
  const present = new Set(device?.addresses);
  const make: Step[] = device === undefined ? [{ kind: "add-gateway-device" }] : [];
  const tune: Tuning[] = device?.up === true ? [] : [{ kind: "gateway" }];
  const connect: Step[] = [];
  if (device?.up !== true) connect.push({ kind: "raise-device", device: GATEWAY_DEVICE });
  for (const gateway of wanted) {
    if (!present.has(`${gateway}/32`)) connect.push({ kind: "add-gateway", gateway });
  }
  for (const address of sorted(present)) {
    if (!wanted.includes(address.replace(/\/32$/, ""))) connect.push({ kind: "remove-gateway", address });
  }
  return { make, tune, connect };
};

const gatewaysOf = (taps: readonly OwnedTap[]): readonly string[] => taps.map(({ owner }) => owner.gateway);

const joined = (...plans: readonly Plan[]): Plan => ({
  make: plans.flatMap(({ make }) => make),
  tune: plans.flatMap(({ tune }) => tune),
  connect: plans.flatMap(({ connect }) => connect),
});

/** What a node needs before its first guest, whatever a killed agent left. */
export const planSetUp = (observed: ObservedLinks): Plan =>
  joined(
    planRemovals(observed.devices.filter(isHalfMade)),
    planNode(observed),
    planGateways(gatewaysOf(ownedTaps(observed)), observed),
  );

/** Everything is as it should be. */
export const isEmpty = ({ make, tune, connect }: Plan): boolean =>
  make.length === 0 && tune.length === 0 && connect.length === 0;

/** Gateways come first: a guest whose tap is up finds its router. */
export const planEnsure = (want: Link, observed: ObservedLinks): Plan => {
  const names = new Set(want.interfaces.map(({ network }) => tapName(want.vmUid, network)));
  const owned = ownedTaps(observed);
  const surplus = owned.filter(({ owner, device }) => owner.vmUid === want.vmUid && !names.has(device.name));
  const others = owned.filter(({ owner }) => owner.vmUid !== want.vmUid);
  const gateways = [...gatewaysOf(others), ...want.interfaces.map(({ gateway }) => gateway)];
  return joined(
    planRemovals(surplus.map(({ device }) => device)),
    planNode(observed),
    planGateways(gateways, observed),
    ...want.interfaces.map((link) => planTap(want.vmUid, link, observed)),
  );
};

/** Routes and neighbours of a tap go with it. */
export const planRemove = (vmUid: string, observed: ObservedLinks): Plan => {
  const owned = ownedTaps(observed);
  const leaving = owned.filter(({ owner }) => owner.vmUid === vmUid);
  const staying = owned.filter(({ owner }) => owner.vmUid !== vmUid);
  return joined(
    planRemovals(leaving.map(({ device }) => device)),
    planGateways(gatewaysOf(staying), observed),
  );
};

export const planTearDown = (observed: ObservedLinks): Plan => {
  const ours = [
    ...ownedTaps(observed).map(({ device }) => device),
    ...observed.devices.filter(isHalfMade),
    ...observed.devices.filter(({ name, kind }) => name === GATEWAY_DEVICE && kind === "bridge"),
  ];
  return planRemovals(ours);
};

import {
  ForeignDeviceError,
  GATEWAY_DEVICE,
  isGuestDevice,
  isHalfMadeTap,
  isOwnVxlan,
  type OwnedTap,
  ownedTaps,
  tapName,
} from "./owner.ts";
import { type PeersOf, planTap } from "./plan-taps.ts";
import { isTuned, type Tuning } from "./settings.ts";
import { joined, nothing, type Plan, type Step } from "./steps.ts";
import type { Link, ObservedDevice, ObservedLinks } from "./types.ts";

/**
 * The difference between the links that are to be and those that are, as steps.
 *
 * The gateways have no memory of their own: they are the sum of what the taps'
 * aliases say, so that any agent at any time comes to the same set.
 */

/** The kernel keeps a rule when the device that it names goes: rules go first, so that none is left alone. */
const planRemovals = (devices: readonly ObservedDevice[], { rules }: ObservedLinks): Plan => {
  const names = new Set(devices.map(({ name }) => name));
  return {
    ...nothing,
    make: [
      ...rules
        .filter(({ device }) => device !== undefined && names.has(device))
        .map((rule): Step => ({ kind: "remove-rule", rule })),
      ...[...names].map((device): Step => ({ kind: "remove-device", device })),
    ],
  };
};

/** Rules for devices of ours that somebody else removed. */
const planLonelyRules = ({ devices, rules }: ObservedLinks): Plan => {
  const names = new Set(devices.map(({ name }) => name));
  return {
    ...nothing,
    make: rules
      .filter(({ device }) => device !== undefined && isGuestDevice(device) && !names.has(device))
      .map((rule) => ({ kind: "remove-rule", rule })),
  };
};

const planNode = ({ settings }: ObservedLinks): Plan => ({
  ...nothing,
  tune: isTuned({ kind: "node" }, settings) ? [] : [{ kind: "node" }],
});

const sorted = (values: Iterable<string>): readonly string[] => [...new Set(values)].sort();

/** Makes the gateways' device hold the addresses that `gateways` name, and no others. */
const planGateways = (gateways: readonly string[], observed: ObservedLinks): Plan => {
  const device = observed.devices.find(({ name }) => name === GATEWAY_DEVICE);
  if (device !== undefined && device.kind !== "bridge")
    throw new ForeignDeviceError(GATEWAY_DEVICE, "bridge");
  const wanted = sorted(gateways);
  const present = new Set(device?.addresses);
  const make: Step[] = device === undefined ? [{ kind: "add-gateway-device" }] : [];
  const tuned = device?.up === true && isTuned({ kind: "gateway" }, observed.settings);
  const tune: Tuning[] = tuned ? [] : [{ kind: "gateway" }];
  const connect: Step[] = [];
  if (device?.up !== true) connect.push({ kind: "raise-device", device: GATEWAY_DEVICE });
  for (const gateway of wanted) {
    if (present.has(`${gateway}/32`)) continue;
    connect.push({ kind: "add-gateway", device: GATEWAY_DEVICE, gateway, scope: "global" });
  }
  for (const address of sorted(present)) {
    if (wanted.includes(address.replace(/\/32$/, ""))) continue;
    connect.push({ kind: "remove-gateway", device: GATEWAY_DEVICE, address });
  }
  return { ...nothing, make, tune, connect };
};

const gatewaysOf = (taps: readonly OwnedTap[]): readonly string[] => taps.map(({ owner }) => owner.gateway);

/** What a node needs before its first guest, whatever a killed agent left. */
export const planSetUp = (observed: ObservedLinks): Plan =>
  joined(
    planRemovals(observed.devices.filter(isHalfMadeTap), observed),
    planLonelyRules(observed),
    planNode(observed),
    planGateways(gatewaysOf(ownedTaps(observed)), observed),
  );

/** Gateways come first: a guest whose tap is up finds its router. */
export const planEnsure = (want: Link, observed: ObservedLinks, peersOf: PeersOf): Plan => {
  const names = new Set(want.interfaces.map(({ network }) => tapName(want.vmUid, network)));
  const owned = ownedTaps(observed);
  const surplus = owned.filter(({ owner, device }) => owner.vmUid === want.vmUid && !names.has(device.name));
  const others = owned.filter(({ owner }) => owner.vmUid !== want.vmUid);
  const gateways = [...gatewaysOf(others), ...want.interfaces.map(({ gateway }) => gateway)];
  return joined(
    planRemovals(
      surplus.map(({ device }) => device),
      observed,
    ),
    planNode(observed),
    planGateways(gateways, observed),
    ...want.interfaces.map((link) => planTap(want, link, observed, peersOf)),
  );
};

/** Routes and neighbours of a tap go with it. */
export const planRemove = (vmUid: string, observed: ObservedLinks): Plan => {
  const owned = ownedTaps(observed);
  const leaving = owned.filter(({ owner }) => owner.vmUid === vmUid);
  const staying = owned.filter(({ owner }) => owner.vmUid !== vmUid);
  return joined(
    planRemovals(
      leaving.map(({ device }) => device),
      observed,
    ),
    planGateways(gatewaysOf(staying), observed),
  );
};

export const planTearDown = (observed: ObservedLinks): Plan => {
  const { devices, rules, routes } = observed;
  const ours = [
    ...ownedTaps(observed).map(({ device }) => device),
    ...devices.filter(isHalfMadeTap),
    ...devices.filter(isOwnVxlan),
    ...devices.filter(({ name, kind }) => name === GATEWAY_DEVICE && kind === "bridge"),
  ];
  const names = new Set(ours.map(({ name }) => name));
  const left = routes.filter(({ device }) => device === undefined || !names.has(device));
  const make: Step[] = [
    ...rules.map((rule): Step => ({ kind: "remove-rule", rule })),
    ...left.map((route): Step => ({ kind: "remove-route", route })),
    ...[...names].map((device): Step => ({ kind: "remove-device", device })),
  ];
  return { ...nothing, make };
};

import { deviceGroup, tunnelMacAddress, vxlanDevice } from "../../api/network-identity.ts";
import { isOwnVxlan, ownedTaps, vxlanAlias } from "./owner.ts";
import type { Vxlan } from "./steps.ts";
import type { NetworkRoutes, NodeNetworks, ObservedDevice, ObservedLinks } from "./types.ts";

/** What is to be, without repetitions, and what is there of it. */
export interface Scene {
  readonly desired: NodeNetworks;
  readonly networks: ReadonlyMap<number, NetworkRoutes>;
  /** Tunnel addresses of all other nodes, those that guests are said to be on among them. */
  readonly nodes: readonly string[];
  /** Network numbers by the names of taps. */
  readonly taps: ReadonlyMap<string, number>;
  /** Numbers of the Networks that are to be left as they are. */
  readonly leftAlone: ReadonlySet<number>;
  readonly vxlans: readonly Vxlan[];
  /** Names of VXLAN devices of ours that have to go, be it to be made again. */
  readonly going: ReadonlySet<string>;
  /** What will be there when those are gone. */
  readonly observed: ObservedLinks;
}

/** Names of devices that a wanted Network would need, and that are somebody else's. */
export const foreignVxlans = ({ networks }: NodeNetworks, { devices }: ObservedLinks): readonly string[] => {
  const names = new Set(networks.map(({ vni }) => vxlanDevice(vni)));
  return devices.filter((device) => names.has(device.name) && !isOwnVxlan(device)).map(({ name }) => name);
};

const byNumber = (one: { readonly vni: number }, other: { readonly vni: number }): number =>
  one.vni - other.vni;

export const sceneOf = (desired: NodeNetworks, observed: ObservedLinks): Scene => {
  const foreign = new Set(foreignVxlans(desired, observed));
  const wanted = desired.networks.filter(({ vni }) => !foreign.has(vxlanDevice(vni))).toSorted(byNumber);
  const networks = new Map(wanted.map((network) => [network.vni, network]));
  const remoteNodes = wanted.flatMap(({ remote }) => remote.map(({ nodeAddress }) => nodeAddress));
  const nodes = new Set([...desired.nodes, ...remoteNodes]);
  nodes.delete(desired.tunnelAddress);
  const taps = new Map(ownedTaps(observed).map(({ device, owner }) => [device.name, owner.vni]));
  const vxlans = [...networks.values()].map((network) => vxlanOf(network, desired));
  const leftAlone = new Set([...taps.values()].filter((vni) => !networks.has(vni)));
  const going = goingDevices(vxlans, leftAlone, observed);
  return {
    desired,
    networks,
    taps,
    leftAlone,
    vxlans,
    going,
    nodes: [...nodes].toSorted(),
    observed: withoutDevices(observed, going),
  };
};

const vxlanOf = ({ vni, mtu }: NetworkRoutes, { tunnelAddress, vxlanPort }: NodeNetworks): Vxlan => ({
  name: vxlanDevice(vni),
  vni,
  macAddress: tunnelMacAddress(tunnelAddress),
  local: tunnelAddress,
  port: vxlanPort,
  mtu,
  group: deviceGroup(vni),
  alias: vxlanAlias(vni),
});

/** What cannot, or need not, be changed on a living device. */
const isSameTunnel = ({ vxlan, macAddress }: ObservedDevice, want: Vxlan): boolean =>
  vxlan?.vni === want.vni &&
  vxlan.local === want.local &&
  vxlan.port === want.port &&
  !vxlan.learning &&
  macAddress === want.macAddress;

const goingDevices = (
  vxlans: readonly Vxlan[],
  leftAlone: ReadonlySet<number>,
  { devices }: ObservedLinks,
): ReadonlySet<string> => {
  const staying = new Set([...leftAlone].map(vxlanDevice));
  const wanted = new Map(vxlans.map((vxlan) => [vxlan.name, vxlan]));
  const goes = (device: ObservedDevice): boolean => {
    const want = wanted.get(device.name);
    return want === undefined ? !staying.has(device.name) : !isSameTunnel(device, want);
  };
  return new Set(devices.filter((device) => isOwnVxlan(device) && goes(device)).map(({ name }) => name));
};

/** The kernel forgets what it knew of a device that goes, except the rules. */
const withoutDevices = (observed: ObservedLinks, names: ReadonlySet<string>): ObservedLinks => ({
  ...observed,
  devices: observed.devices.filter(({ name }) => !names.has(name)),
  routes: observed.routes.filter(({ device }) => device === undefined || !names.has(device)),
  neighbours: observed.neighbours.filter(({ device }) => !names.has(device)),
  forwarding: observed.forwarding.filter(({ device }) => !names.has(device)),
});

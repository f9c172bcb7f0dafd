import type { RunCommand } from "../host/command.ts";
import { createInTurn } from "../host/in-turn.ts";
import { createLinkDriver } from "./driver.ts";
import { ForeignDeviceError, ownedTaps } from "./owner.ts";
import { planEnsure, planRemove, planSetUp, planTearDown } from "./plan.ts";
import { planNetworks } from "./plan-networks.ts";
import type { PeersOf } from "./plan-taps.ts";
import { foreignVxlans } from "./scene.ts";
import { sharingObservations } from "./sharing.ts";
import type { Plan } from "./steps.ts";
import {
  type Link,
  type NetworkRoutes,
  type NodeNetworks,
  type ObservedLinks,
  type Tap,
  tapName,
} from "./types.ts";

export { ForeignDeviceError, isGuestDevice } from "./owner.ts";
export type { Link, NetworkRoutes, NodeNetworks, RemoteAddress, Tap } from "./types.ts";
export { tapName } from "./types.ts";

export interface LinksCallOptions {
  readonly signal: AbortSignal;
}

/**
 * The network devices of this node's guests: a tap for each interface, a route
 * to it, the gateways, and the tunnels to guests of other nodes. Every verb may
 * be repeated and completes what a killed agent left half-done. They run one
 * after the other. They reject with ForeignDeviceError when a device that is
 * not ours has a name of ours, and with CommandError when the host refuses.
 */
export interface Links {
  /**
   * Prepares the node: forwarding, the gateways' device. Removes taps that were
   * left half-made. To be called before the other verbs, and again at any time.
   */
  setUp(options: LinksCallOptions): Promise<void>;
  /** Makes the machine's taps as they are to be, and removes taps that it no longer has. */
  ensure(want: Link, options: LinksCallOptions): Promise<readonly Tap[]>;
  /** Removes the machine's taps, and gateways that no tap uses any more. */
  remove(vmUid: string, options: LinksCallOptions): Promise<void>;
  /**
   * Makes tunnels, routing tables and rules as they are to be, all of the node's
   * at once: those of Networks that are not named go, unless a tap of the
   * Network is still here. A Network whose device is somebody else's is left
   * out, and reported when all others are done.
   */
  syncNetworks(desired: NodeNetworks, options: LinksCallOptions): Promise<void>;
  /** UIDs of the machines that have a tap here. */
  list(options: LinksCallOptions): Promise<readonly string[]>;
  /** Removes all devices, routes and rules of ours. Forwarding stays as it is: others may need it. */
  tearDown(options: LinksCallOptions): Promise<void>;
}

const tapsOf = ({ vmUid, interfaces }: Link): readonly Tap[] =>
  interfaces.map(({ network, macAddress, address, mtu }) => ({
    network,
    name: tapName(vmUid, network),
    macAddress,
    address,
    mtu,
  }));

/** Who routes to a Network's guests, as far as somebody has said. */
const peersIn =
  (networks: readonly NetworkRoutes[] | undefined): PeersOf =>
  (vni) =>
    networks?.filter(({ peers }) => peers.includes(vni)).map((network) => network.vni);

const refuseForeign = (desired: NodeNetworks, observed: ObservedLinks): void => {
  const [device] = foreignVxlans(desired, observed);
  if (device !== undefined) throw new ForeignDeviceError(device, "VXLAN device");
};

const monotonicMs = (): number => performance.now();

export const createLinks = ({ run }: { readonly run: RunCommand }): Links => {
  const driver = sharingObservations(createLinkDriver({ run, monotonicMs }), monotonicMs);
  const inTurn = createInTurn();
  // So that a new tap's routes reach the peers' tables together with the tap, and not at the next syncNetworks.
  let networks: readonly NetworkRoutes[] | undefined;
  /** Looks, plans and acts, before anybody else does. */
  const carryOut = (
    planFor: (observed: ObservedLinks) => Plan,
    signal: AbortSignal,
  ): Promise<ObservedLinks> =>
    inTurn(async () => {
      const observed = await driver.observe(signal);
      await driver.apply(planFor(observed), signal);
      return observed;
    });
  return {
    setUp: async ({ signal }) => {
      await carryOut(planSetUp, signal);
    },
    ensure: async (want, { signal }) => {
      await carryOut((observed) => planEnsure(want, observed, peersIn(networks)), signal);
      return tapsOf(want);
    },
    remove: async (vmUid, { signal }) => {
      await carryOut((observed) => planRemove(vmUid, observed), signal);
    },
    syncNetworks: async (desired, { signal }) => {
      networks = desired.networks;
      refuseForeign(desired, await carryOut((observed) => planNetworks(desired, observed), signal));
    },
    list: async ({ signal }) => {
      const owned = ownedTaps(await inTurn(() => driver.observe(signal)));
      return [...new Set(owned.map(({ owner }) => owner.vmUid))];
    },
    tearDown: async ({ signal }) => {
      networks = undefined;
      await carryOut(planTearDown, signal);
    },
  };
};

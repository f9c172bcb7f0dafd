import type { RunCommand } from "../host/command.ts";
import { createInTurn } from "../host/in-turn.ts";
import { createLinkDriver, sharingObservations } from "./driver.ts";
import {
  type ObservedLinks,
  ownedTaps,
  type Plan,
  planEnsure,
  planRemove,
  planSetUp,
  planTearDown,
} from "./plan.ts";
import { type Link, type Tap, tapName } from "./types.ts";

export { isGuestDevice } from "./owner.ts";
export { ForeignDeviceError } from "./plan.ts";
export type { Link, Tap } from "./types.ts";
export { tapName } from "./types.ts";

export interface LinksCallOptions {
  readonly signal: AbortSignal;
}

/**
 * The network devices of this node's guests: a tap for each interface, a route
 * to it, and the gateways. Every verb may be repeated and completes what a
 * killed agent left half-done. They run one after the other. They reject with
 * ForeignDeviceError when a device that is not ours has a name of ours, and
 * with CommandError when the host refuses.
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
  /** UIDs of the machines that have a tap here. */
  list(options: LinksCallOptions): Promise<readonly string[]>;
  /** Removes all taps and the gateways' device. Forwarding stays as it is: others may need it. */
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

export const createLinks = ({ run }: { readonly run: RunCommand }): Links => {
  const driver = sharingObservations(createLinkDriver(run), () => performance.now());
  const inTurn = createInTurn();
  /** Looks, plans and acts, before anybody else does. */
  const carryOut = (planFor: (observed: ObservedLinks) => Plan, signal: AbortSignal): Promise<void> =>
    inTurn(async () => driver.apply(planFor(await driver.observe(signal)), signal));
  return {
    setUp: ({ signal }) => carryOut(planSetUp, signal),
    ensure: async (want, { signal }) => {
      await carryOut((observed) => planEnsure(want, observed), signal);
      return tapsOf(want);
    },
    remove: (vmUid, { signal }) => carryOut((observed) => planRemove(vmUid, observed), signal),
    list: async ({ signal }) => {
      const owned = ownedTaps(await inTurn(() => driver.observe(signal)));
      return [...new Set(owned.map(({ owner }) => owner.vmUid))];
    },
    tearDown: ({ signal }) => carryOut(planTearDown, signal),
  };
};

import type { RunCommand } from "../host/command.ts";
import { createInTurn } from "../host/in-turn.ts";
import { createLinkDriver, sharingObservations } from "./driver.ts";
import { isEmpty, ownedTaps, planEnsure, planRemove, planSetUp, planTearDown } from "./plan.ts";
import { renderGatewaySettings, renderNodeSettings, renderTapSettings } from "./render.ts";
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
  return {
    setUp: ({ signal }) =>
      inTurn(async () => {
        const plan = planSetUp(await driver.observe(signal));
        await driver.apply(plan, renderNodeSettings() + renderGatewaySettings(), signal);
      }),
    ensure: (want, { signal }) =>
      inTurn(async () => {
        const taps = tapsOf(want);
        const plan = planEnsure(want, await driver.observe(signal));
        // A killed agent has not come to the last part of a plan: nothing left to do means that the settings are made.
        if (isEmpty(plan)) return taps;
        const settings = taps.map(({ name }) => renderTapSettings(name)).join("");
        await driver.apply(plan, renderGatewaySettings() + settings, signal);
        return taps;
      }),
    remove: (vmUid, { signal }) =>
      inTurn(async () => driver.apply(planRemove(vmUid, await driver.observe(signal)), "", signal)),
    list: ({ signal }) =>
      inTurn(async () => [
        ...new Set(ownedTaps(await driver.observe(signal)).map(({ owner }) => owner.vmUid)),
      ]),
    tearDown: ({ signal }) =>
      inTurn(async () => driver.apply(planTearDown(await driver.observe(signal)), "", signal)),
  };
};

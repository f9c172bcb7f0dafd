import { createHash } from "node:crypto";

import { deviceGroup, vniOfDevice } from "../../api/network-identity.ts";
import type { ObservedDevice, ObservedLinks } from "./types.ts";

/**
 * How a freshly started agent knows its own devices.
 *
 * A tap is ours by its name (`vtap` and 11 hex digits) together with its kind;
 * its alias says for which machine it is, which gateway the machine uses, and
 * the number of the Network. A tap with the name and without the alias was left
 * half-made by a killed agent. A VXLAN device is ours by its name and kind, and
 * by its group, with which it is born, or its alias. Everything else on the
 * host belongs to somebody else.
 */

/** The bridge without ports that holds the gateways' addresses. */
export const GATEWAY_DEVICE = "vireo-gw";

const TAP_PREFIX = "vtap";
const TAP_NAME = /^vtap[0-9a-f]{11}$/;
const ALIAS = /^vireo:([0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}):(\d{1,3}(?:\.\d{1,3}){3}):(\d{1,5})$/;

/** The name of a machine's tap in a network: as long as Linux allows (15), and the same after any restart. */
export const tapName = (vmUid: string, network: string): string =>
  TAP_PREFIX + createHash("sha256").update(`${vmUid}/${network}`).digest("hex").slice(0, 11);

export const isTapName = (name: string): boolean => TAP_NAME.test(name);

/** What a tap's alias says. */
export interface TapOwner {
  readonly vmUid: string;
  readonly gateway: string;
  /** Number of the Network. */
  readonly vni: number;
}

export const tapAlias = ({ vmUid, gateway, vni }: TapOwner): string => `vireo:${vmUid}:${gateway}:${vni}`;

/** Undefined for an alias that is not ours. */
export const parseTapAlias = (alias: string): TapOwner | undefined => {
  const [, vmUid, gateway, vni] = ALIAS.exec(alias) ?? [];
  return vmUid === undefined || gateway === undefined ? undefined : { vmUid, gateway, vni: Number(vni) };
};

/** The alias of a Network's VXLAN device. */
export const vxlanAlias = (vni: number): string => `vireo:${vni}`;

/** Whether a network device of this name is made for guests: its addresses are not the node's own. */
export const isGuestDevice = (name: string): boolean =>
  name === GATEWAY_DEVICE || isTapName(name) || vniOfDevice(name) !== undefined;

export interface OwnedTap {
  readonly device: ObservedDevice;
  readonly owner: TapOwner;
}

/** The taps of ours that say for which machine they are. */
export const ownedTaps = ({ devices }: Pick<ObservedLinks, "devices">): readonly OwnedTap[] =>
  devices.flatMap((device) => {
    if (device.kind !== "tap" || !isTapName(device.name) || device.alias === undefined) return [];
    const owner = parseTapAlias(device.alias);
    return owner === undefined ? [] : [{ device, owner }];
  });

/** A tap of ours that does not say yet for which machine it is. */
export const isHalfMadeTap = ({ kind, name, alias }: ObservedDevice): boolean =>
  kind === "tap" && isTapName(name) && alias === undefined;

/** Whether the device is a Network's VXLAN device that this room made. */
export const isOwnVxlan = ({ kind, name, alias, group }: ObservedDevice): boolean => {
  const vni = vniOfDevice(name);
  return kind === "vxlan" && vni !== undefined && (group === deviceGroup(vni) || alias === vxlanAlias(vni));
};

/** A device with a name of ours that is not what we would have made. */
export class ForeignDeviceError extends Error {
  override readonly name = "ForeignDeviceError";

  constructor(device: string, expected: string) {
    super(
      `network device ${device} exists and is not a ${expected} of Vireo's: it is somebody else's, remove or rename it`,
    );
  }
}

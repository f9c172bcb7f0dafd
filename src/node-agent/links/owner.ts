import { createHash } from "node:crypto";

/**
 * How a freshly started agent knows its own devices.
 *
 * A tap is ours by its name (`vtap` and 11 hex digits) together with its kind;
 * its alias says for which machine it is and which gateway the machine uses. A
 * tap with the name and without the alias was left half-made by a killed agent.
 * Everything else on the host belongs to somebody else.
 */

/** The bridge without ports that holds the gateways' addresses. */
export const GATEWAY_DEVICE = "vireo-gw";

const TAP_PREFIX = "vtap";
const TAP_NAME = /^vtap[0-9a-f]{11}$/;
const ALIAS = /^vireo:([0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}):(\d{1,3}(?:\.\d{1,3}){3})$/;

/** The name of a machine's tap in a network: as long as Linux allows (15), and the same after any restart. */
export const tapName = (vmUid: string, network: string): string =>
  TAP_PREFIX + createHash("sha256").update(`${vmUid}/${network}`).digest("hex").slice(0, 11);

export const isTapName = (name: string): boolean => TAP_NAME.test(name);

/** What a tap's alias says. */
export interface TapOwner {
  readonly vmUid: string;
  readonly gateway: string;
}

export const tapAlias = (owner: TapOwner): string => `vireo:${owner.vmUid}:${owner.gateway}`;

/** Undefined for an alias that is not ours. */
export const parseTapAlias = (alias: string): TapOwner | undefined => {
  const [, vmUid, gateway] = ALIAS.exec(alias) ?? [];
  return vmUid === undefined || gateway === undefined ? undefined : { vmUid, gateway };
};

/** Whether a network device of this name is made for guests: its addresses are not the node's own. */
export const isGuestDevice = (name: string): boolean => name === GATEWAY_DEVICE || isTapName(name);

import { type CallOptions, type DomainRef, LibvirtError, type LibvirtVerbs } from "../../libvirt/index.ts";
import type { DomainDriver } from "./driver.ts";
import type { XmlElement } from "./domain-xml/xml.ts";
import { hardwareOf } from "./hardware.ts";
import { domainName } from "./owner.ts";
import { isOn } from "./power-state.ts";
import { asRefusal } from "./refusal.ts";
import { type DiskKind, GuestOffError, type ObservedDisk, type ObservedHardware } from "./types.ts";

/** A guest that is on, and what it has. */
export interface RunningGuest {
  readonly vmUid: string;
  readonly ref: DomainRef;
  readonly xml: XmlElement;
  readonly hardware: ObservedHardware;
}

/** What the verbs on running guests work with. */
export interface LiveContext {
  readonly libvirt: LibvirtVerbs;
  /** Rejects with GuestOffError. */
  readonly running: (vmUid: string, options: CallOptions) => Promise<RunningGuest>;
}

const isOff = (vmUid: string): GuestOffError => new GuestOffError(`guest ${domainName(vmUid)} is not on`);

export const createLiveContext = (libvirt: LibvirtVerbs, driver: DomainDriver): LiveContext => ({
  libvirt,
  running: async (vmUid, options) => {
    const found = await driver.find(vmUid, options);
    const xml = found && isOn(found) ? await driver.liveXml(found.ref, options) : undefined;
    if (found === undefined || xml === undefined) throw isOff(vmUid);
    return { vmUid, ref: found.ref, xml, hardware: hardwareOf(xml, vmUid) };
  },
});

export const findDisk = (
  { hardware }: RunningGuest,
  device: { readonly kind: DiskKind; readonly uid: string },
): ObservedDisk | undefined =>
  hardware.disks.find(({ kind, uid }) => kind === device.kind && uid === device.uid);

export const requireDisk = (guest: RunningGuest, uid: string): ObservedDisk => {
  const disk = findDisk(guest, { kind: "disk", uid });
  if (disk === undefined) throw new Error(`guest ${domainName(guest.vmUid)} has no disk ${uid}`);
  return disk;
};

/**
 * Carries `act` out. An error of libvirt counts only when what was wanted has
 * not come about all the same, as the guest's state says after it.
 */
export const achieve = async (
  { running }: LiveContext,
  guest: RunningGuest,
  { act, achieved }: { act: () => Promise<unknown>; achieved: (guest: RunningGuest) => boolean },
  options: CallOptions,
): Promise<void> => {
  try {
    await act();
  } catch (error) {
    if (!(error instanceof LibvirtError)) throw error;
    if (!achieved(await running(guest.vmUid, options))) throw asRefusal(error, domainName(guest.vmUid));
  }
};

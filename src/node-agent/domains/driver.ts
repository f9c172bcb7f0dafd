import {
  type CallOptions,
  DomainSaveRestoreFlags,
  DomainShutdownFlags,
  type DomainRef,
  ErrorCode,
  LibvirtError,
  type LibvirtVerbs,
} from "../../libvirt/index.ts";
import { domainXml, type HostParts } from "./domain-xml/index.ts";
import { parseXml, serialize, type XmlElement } from "./domain-xml/xml.ts";
import { isLive } from "./hardware.ts";
import { domainName, vmUidOf } from "./owner.ts";
import { hearsPowerButton, isOn, powerOf, type Power } from "./power-state.ts";
import { asRefusal } from "./refusal.ts";
import { withPartsOf } from "./saved-domain.ts";
import { type Domain, DomainRefusedError, GuestOffError, type SavedMemory } from "./types.ts";

/** A domain of ours and what libvirt says of it. */
export interface Found extends Power {
  readonly vmUid: string;
  readonly ref: DomainRef;
  readonly hearsPowerButton: boolean;
}

/**
 * Brings single guests into a state, with libvirt.
 *
 * libvirt answers with an error when a guest is in that state already, or gets
 * there by itself at the same moment. So an error is taken for one only after
 * the state was read again.
 */
export interface DomainDriver {
  list(options: CallOptions): Promise<readonly Found[]>;
  find(vmUid: string, options: CallOptions): Promise<Found | undefined>;
  start(want: Domain, host: HostParts, options: CallOptions): Promise<void>;
  pressPowerButton(vmUid: string, options: CallOptions): Promise<void>;
  cutPower(vmUid: string, options: CallOptions): Promise<void>;
  undefine(vmUid: string, options: CallOptions): Promise<void>;
  /** The XML of a running guest; undefined when it has ended meanwhile. */
  liveXml(ref: DomainRef, options: CallOptions): Promise<XmlElement | undefined>;
  /** Goes on from a memory file, in place of start. */
  restore(want: Domain, memory: SavedMemory, host: HostParts, options: CallOptions): Promise<void>;
  suspend(vmUid: string, options: CallOptions): Promise<void>;
  resume(vmUid: string, options: CallOptions): Promise<void>;
  askAgent(
    vmUid: string,
    command: string,
    options: CallOptions & { readonly seconds: number },
  ): Promise<string>;
}

const isGone = (error: unknown): boolean =>
  error instanceof LibvirtError && error.code === ErrorCode.NO_DOMAIN;

const isAbsent = (found: Found | undefined): boolean => found === undefined;
const isDeaf = (found: Found | undefined): boolean => found?.hearsPowerButton !== true;
const isOff = (found: Found | undefined): boolean => found === undefined || !isOn(found);

export const createDomainDriver = (libvirt: LibvirtVerbs): DomainDriver => {
  /** Undefined for a domain of somebody else, and for one that has gone meanwhile. */
  const examine = async (ref: DomainRef, options: CallOptions): Promise<Found | undefined> => {
    const vmUid = vmUidOf(ref);
    if (vmUid === undefined) return undefined;
    try {
      const state = await libvirt.domainState(ref, options);
      return { vmUid, ref, hearsPowerButton: hearsPowerButton(state), ...powerOf(state) };
    } catch (error) {
      if (isGone(error)) return undefined;
      throw error;
    }
  };

  const find: DomainDriver["find"] = async (vmUid, options) => {
    const ref = await libvirt.lookupDomain(vmUid, options);
    return ref === undefined ? undefined : examine(ref, options);
  };

  /** Carries `act` out; its error counts only when the guest is not in the state `wanted` all the same. */
  const reach = async (
    vmUid: string,
    act: () => Promise<unknown>,
    wanted: (found: Found | undefined) => boolean,
    options: CallOptions,
  ): Promise<void> => {
    try {
      await act();
    } catch (error) {
      if (!(error instanceof LibvirtError) || !wanted(await find(vmUid, options))) throw error;
    }
  };

  /** A stranger may have the UUID or the name: nothing of theirs is touched. */
  const refuseStrangers = async (vmUid: string, options: CallOptions): Promise<void> => {
    const name = domainName(vmUid);
    const namesakes = await Promise.all([
      libvirt.lookupDomain(vmUid, options),
      libvirt.lookupDomainByName(name, options),
    ]);
    const stranger = namesakes.find((ref) => ref !== undefined && vmUidOf(ref) === undefined);
    if (stranger === undefined) return;
    throw new DomainRefusedError(
      `libvirt has a domain ${JSON.stringify(stranger.name)} with UUID ${stranger.uuid} that is not Vireo's, in the place of ${name} with UUID ${vmUid}: undefine it, or change its name and UUID`,
    );
  };

  /**
   * Defined anew before each start, so that a half-made or an old definition does
   * not matter. Resolves with undefined when the guest is on already.
   */
  const define = async (
    want: Domain,
    host: HostParts,
    options: CallOptions,
  ): Promise<DomainRef | undefined> => {
    await refuseStrangers(want.vmUid, options);
    if (!isOff(await find(want.vmUid, options))) return undefined;
    return libvirt.defineDomain(domainXml(want, host), options);
  };

  const begin = async (
    want: Domain,
    host: HostParts,
    act: (ref: DomainRef) => Promise<unknown>,
    options: CallOptions,
  ): Promise<void> => {
    try {
      const ref = await define(want, host, options);
      if (ref === undefined) return;
      await reach(
        want.vmUid,
        () => act(ref),
        (found) => !isOff(found),
        options,
      );
    } catch (error) {
      throw asRefusal(error, domainName(want.vmUid));
    }
  };

  /** The guest must be on: a verb of one that is off is a mistake of the caller. */
  const whenOn = async (
    vmUid: string,
    act: (found: Found) => Promise<unknown>,
    wanted: (found: Found | undefined) => boolean,
    options: CallOptions,
  ): Promise<void> => {
    const found = await find(vmUid, options);
    if (found === undefined || !isOn(found)) throw new GuestOffError(`guest ${domainName(vmUid)} is not on`);
    if (!wanted(found)) await reach(vmUid, () => act(found), wanted, options);
  };

  return {
    find,
    liveXml: async (ref, options) => {
      try {
        const xml = parseXml(await libvirt.domainXml(ref, options));
        return isLive(xml) ? xml : undefined;
      } catch (error) {
        if (isGone(error)) return undefined;
        throw error;
      }
    },
    start: (want, host, options) => begin(want, host, (ref) => libvirt.startDomain(ref, options), options),
    restore: (want, { path, paused }, host, options) =>
      begin(
        want,
        host,
        async () => {
          const saved = parseXml(await libvirt.saveImageXml(path, options));
          const xml = serialize(withPartsOf(saved, want, host));
          const flags = paused ? DomainSaveRestoreFlags.PAUSED : DomainSaveRestoreFlags.RUNNING;
          await libvirt.restoreDomain(path, { ...options, xml, flags });
        },
        options,
      ),
    suspend: (vmUid, options) =>
      whenOn(
        vmUid,
        ({ ref }) => libvirt.suspendDomain(ref, options),
        (found) => found?.powerState === "Paused",
        options,
      ),
    resume: (vmUid, options) =>
      whenOn(
        vmUid,
        ({ ref }) => libvirt.resumeDomain(ref, options),
        (found) => found?.powerState === "Running",
        options,
      ),
    list: async (options) => {
      const refs = await libvirt.listDomains(options);
      const found = await Promise.all(refs.map((ref) => examine(ref, options)));
      return found.filter((domain) => domain !== undefined);
    },
    pressPowerButton: async (vmUid, options) => {
      const found = await find(vmUid, options);
      if (found?.hearsPowerButton !== true) return;
      const flags = DomainShutdownFlags.ACPI_POWER_BTN;
      await reach(vmUid, () => libvirt.shutdownDomain(found.ref, { ...options, flags }), isDeaf, options);
    },
    cutPower: async (vmUid, options) => {
      const found = await find(vmUid, options);
      if (found === undefined || !isOn(found)) return;
      await reach(vmUid, () => libvirt.destroyDomain(found.ref, options), isOff, options);
    },
    askAgent: async (vmUid, command, { seconds, ...options }) => {
      const found = await find(vmUid, options);
      if (found === undefined) throw new Error(`there is no guest ${domainName(vmUid)}`);
      return libvirt.domainAgentCommand(found.ref, command, { ...options, seconds });
    },
    undefine: async (vmUid, options) => {
      const found = await find(vmUid, options);
      if (found === undefined) return;
      await reach(vmUid, () => libvirt.undefineDomain(found.ref, options), isAbsent, options);
    },
  };
};

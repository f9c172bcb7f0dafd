import {
  type CallOptions,
  DomainShutdownFlags,
  type DomainRef,
  ErrorCode,
  LibvirtError,
  type LibvirtVerbs,
} from "../../libvirt/index.ts";
import { domainXml, type HostParts } from "./domain-xml/index.ts";
import { domainName, vmUidOf } from "./owner.ts";
import { hearsPowerButton, isOn, powerOf, type Power } from "./power-state.ts";
import { asRefusal } from "./refusal.ts";
import { type Domain, DomainRefusedError } from "./types.ts";

/** A domain of ours and what libvirt says of it. */
interface Found extends Power {
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

  const start: DomainDriver["start"] = async (want, host, options) => {
    const { vmUid } = want;
    await refuseStrangers(vmUid, options);
    if (!isOff(await find(vmUid, options))) return;
    try {
      // Defined anew at each start, so that a half-made or an old definition does not matter.
      const ref = await libvirt.defineDomain(domainXml(want, host), options);
      await reach(
        vmUid,
        () => libvirt.startDomain(ref, options),
        (found) => !isOff(found),
        options,
      );
    } catch (error) {
      throw asRefusal(error, domainName(vmUid));
    }
  };

  return {
    find,
    start,
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

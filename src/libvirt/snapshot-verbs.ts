import { NO_DEADLINE, type CallOnLane } from "./call-on-lane.ts";
import { DomainSnapshotCreateFlags } from "./job-constants.ts";
import { procedures } from "./procedures.ts";
import type { CallOptions, DomainRef, FlaggedOptions } from "./types.ts";

export interface SaveOptions extends FlaggedOptions {
  /** The XML to use instead of the domain's, for changes that the guest does not see, such as paths. */
  readonly xml?: string;
}

/** Freezing the state of a domain, and coming back to it. */
export interface SnapshotVerbs {
  /**
   * Makes a snapshot and resolves with its name. `flags`: DomainSnapshotCreateFlags.
   * Without DISK_ONLY the guest's memory is written too, which takes as long as
   * it takes: there is no deadline then unless one is named. https://libvirt.org/formatsnapshot.html
   * https://libvirt.org/html/libvirt-libvirt-domain-snapshot.html#virDomainSnapshotCreateXML
   */
  createSnapshot(domain: DomainRef, xml: string, options?: FlaggedOptions): Promise<string>;
  /**
   * Writes the guest's memory to a file of the daemon's host and ends the
   * domain. `flags`: DomainSaveRestoreFlags. No deadline unless one is named.
   * https://libvirt.org/html/libvirt-libvirt-domain.html#virDomainSaveFlags
   */
  saveDomain(domain: DomainRef, file: string, options?: SaveOptions): Promise<void>;
  /**
   * Starts a domain from such a file. The file also says which domain it is: it
   * must not run. `flags`: DomainSaveRestoreFlags. No deadline unless one is named.
   * https://libvirt.org/html/libvirt-libvirt-domain.html#virDomainRestoreFlags
   */
  restoreDomain(file: string, options?: SaveOptions): Promise<void>;
  /**
   * The domain's XML in such a file. `flags`: DomainXmlFlags.SECURE only.
   * https://libvirt.org/html/libvirt-libvirt-domain.html#virDomainSaveImageGetXMLDesc
   */
  saveImageXml(file: string, options?: FlaggedOptions): Promise<string>;
  /**
   * Replaces the domain's XML in such a file. `flags`: RUNNING or PAUSED of DomainSaveRestoreFlags.
   * https://libvirt.org/html/libvirt-libvirt-domain.html#virDomainSaveImageDefineXML
   */
  defineSaveImageXml(file: string, xml: string, options?: FlaggedOptions): Promise<void>;
  /**
   * The guest agent flushes and freezes the guest's file systems (default: all);
   * resolves with how many. They stay frozen until they are thawed.
   * https://libvirt.org/html/libvirt-libvirt-domain.html#virDomainFSFreeze
   */
  freezeFileSystems(domain: DomainRef, options?: FileSystemsOptions): Promise<number>;
  /** The guest agent thaws them; resolves with how many. https://libvirt.org/html/libvirt-libvirt-domain.html#virDomainFSThaw */
  thawFileSystems(domain: DomainRef, options?: CallOptions): Promise<number>;
}

export interface FileSystemsOptions extends CallOptions {
  /** Default: all. */
  readonly mountPoints?: readonly string[];
}

export const snapshotVerbs = (call: CallOnLane): SnapshotVerbs => ({
  createSnapshot: async (dom, xmlDesc, { flags = 0, ...options } = {}) => {
    const quick = (flags & DomainSnapshotCreateFlags.DISK_ONLY) !== 0;
    const bounded = quick ? options : { ...NO_DEADLINE, ...options };
    const args = { dom, xmlDesc, flags };
    return (await call("long", procedures.domainSnapshotCreateXml, args, bounded)).snap.name;
  },
  saveDomain: (dom, to, { xml: dxml, flags = 0, ...options } = {}) =>
    call("long", procedures.domainSaveFlags, { dom, to, dxml, flags }, { ...NO_DEADLINE, ...options }),
  restoreDomain: (from, { xml: dxml, flags = 0, ...options } = {}) =>
    call("long", procedures.domainRestoreFlags, { from, dxml, flags }, { ...NO_DEADLINE, ...options }),
  saveImageXml: async (file, { flags = 0, ...options } = {}) =>
    (await call("long", procedures.domainSaveImageGetXmlDesc, { file, flags }, options)).xml,
  defineSaveImageXml: (file, dxml, { flags = 0, ...options } = {}) =>
    call("long", procedures.domainSaveImageDefineXml, { file, dxml, flags }, options),
  freezeFileSystems: async (dom, { mountPoints: mountpoints = [], ...options } = {}) =>
    (await call("long", procedures.domainFsfreeze, { dom, mountpoints, flags: 0 }, options)).filesystems,
  thawFileSystems: async (dom, options) =>
    (await call("long", procedures.domainFsthaw, { dom, mountpoints: [], flags: 0 }, options)).filesystems,
});

import type { CallOnLane } from "./call-on-lane.ts";
import { DomainBlockCommitFlags, DomainBlockJobInfoFlags, DomainBlockRebaseFlags } from "./job-constants.ts";
import { procedures } from "./procedures.ts";
import type { CallOptions, DomainRef, FlaggedOptions } from "./types.ts";

/** https://libvirt.org/html/libvirt-libvirt-domain.html#virDomainBlockInfo */
export interface BlockInfo {
  /** The guest sees that many bytes. */
  readonly capacityBytes: bigint;
  /** The highest offset that the guest has written, for qcow2 on a running domain. */
  readonly allocationBytes: bigint;
  /** The image file's own size. */
  readonly physicalBytes: bigint;
}

/** https://libvirt.org/html/libvirt-libvirt-domain.html#virDomainBlockJobInfo */
export interface BlockJobInfo {
  /** One of DomainBlockJobType. */
  readonly type: number;
  /** Bytes per second; 0 without a limit. */
  readonly bandwidth: bigint;
  /** How far it is, from 0 to `end`. It may go back. */
  readonly cur: bigint;
  /** Where it ends. Both are 0 before the job knows: that is not the end. */
  readonly end: bigint;
}

export interface BlockRebaseOptions extends FlaggedOptions {
  /** The path of the image that remains below; absent: nothing does, the image becomes complete in itself. */
  readonly base?: string;
  /** Bytes per second. Default: no limit. */
  readonly bandwidth?: bigint;
}

export interface BlockCommitOptions extends FlaggedOptions {
  /**
   * The path of the image that takes the content. libvirt's own default is the
   * deepest image of all, which others may stand on: here it has to be named.
   */
  readonly base: string;
  /** The path of the topmost image whose content goes down. Absent: the one that the guest writes, with ACTIVE. */
  readonly top?: string;
  /** Bytes per second. Default: no limit. */
  readonly bandwidth?: bigint;
}

/**
 * Moving content between the images of a running domain's disk. `disk` is its
 * target (vda) or its path. Jobs go on inside QEMU after the call: their end is
 * told by the event `blockJob2`, and `blockJobInfo` is undefined from then on.
 */
export interface BlockJobVerbs {
  /** https://libvirt.org/html/libvirt-libvirt-domain.html#virDomainGetBlockInfo */
  blockInfo(domain: DomainRef, disk: string, options?: CallOptions): Promise<BlockInfo>;
  /**
   * Begins to pull the content of the images between `base` and the topmost one
   * up into the topmost one. `flags`: DomainBlockRebaseFlags.
   * https://libvirt.org/html/libvirt-libvirt-domain.html#virDomainBlockRebase
   */
  blockRebase(domain: DomainRef, disk: string, options?: BlockRebaseOptions): Promise<void>;
  /**
   * Begins to write the content from `top` down to above `base` into `base`.
   * `flags`: DomainBlockCommitFlags.
   * https://libvirt.org/html/libvirt-libvirt-domain.html#virDomainBlockCommit
   */
  blockCommit(domain: DomainRef, disk: string, options: BlockCommitOptions): Promise<void>;
  /** The disk's job, or undefined when it has none. https://libvirt.org/html/libvirt-libvirt-domain.html#virDomainGetBlockJobInfo */
  blockJobInfo(domain: DomainRef, disk: string, options?: CallOptions): Promise<BlockJobInfo | undefined>;
  /**
   * Ends the disk's job, and waits until it has ended. `flags`: DomainBlockJobAbortFlags.
   * https://libvirt.org/html/libvirt-libvirt-domain.html#virDomainBlockJobAbort
   */
  abortBlockJob(domain: DomainRef, disk: string, options?: FlaggedOptions): Promise<void>;
}

export const blockJobVerbs = (call: CallOnLane): BlockJobVerbs => ({
  blockInfo: async (dom, path, options) => {
    const info = await call("long", procedures.domainGetBlockInfo, { dom, path, flags: 0 }, options);
    return {
      capacityBytes: info.capacity,
      allocationBytes: info.allocation,
      physicalBytes: info.physical,
    };
  },
  blockRebase: (dom, path, { base, bandwidth = 0n, flags = 0, ...options } = {}) => {
    const args = { dom, path, base, bandwidth, flags: flags | DomainBlockRebaseFlags.BANDWIDTH_BYTES };
    return call("long", procedures.domainBlockRebase, args, options);
  },
  blockCommit: (dom, disk, { base, top, bandwidth = 0n, flags = 0, ...options }) => {
    const withUnit = flags | DomainBlockCommitFlags.BANDWIDTH_BYTES;
    const args = { dom, disk, base, top, bandwidth, flags: withUnit };
    return call("long", procedures.domainBlockCommit, args, options);
  },
  blockJobInfo: async (dom, path, options) => {
    const args = { dom, path, flags: DomainBlockJobInfoFlags.BANDWIDTH_BYTES };
    const { found, ...info } = await call("long", procedures.domainGetBlockJobInfo, args, options);
    return found === 0 ? undefined : info;
  },
  abortBlockJob: (dom, path, { flags = 0, ...options } = {}) =>
    call("long", procedures.domainBlockJobAbort, { dom, path, flags }, options),
});

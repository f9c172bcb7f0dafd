import {
  type CallOptions,
  DomainPausedReason,
  DomainSnapshotCreateFlags,
  DomainState,
  ErrorCode,
  LibvirtError,
} from "../../libvirt/index.ts";
import { element, serialize, type XmlElement } from "./domain-xml/xml.ts";
import { sharedLayersIn, targetsIn } from "./hardware.ts";
import type { LiveLayers } from "./live.ts";
import { domainName } from "./owner.ts";
import { asRefusal } from "./refusal.ts";
import { type LiveContext, requireDisk, type RunningGuest } from "./running-guest.ts";
import type { MergeOutcome, MergeRequest, ObservedDisk, SnapshotOutcome, SnapshotRequest } from "./types.ts";

const { ATOMIC, DISK_ONLY, NO_METADATA, QUIESCE, REUSE_EXT } = DomainSnapshotCreateFlags;

/** By the name of the disk in libvirt, the file that the guest is to write. */
const overlaysByTarget = (
  guest: RunningGuest,
  { overlays }: SnapshotRequest,
): readonly { readonly disk: ObservedDisk; readonly overlay: string }[] =>
  [...overlays].map(([uid, overlay]) => ({ disk: requireDisk(guest, uid), overlay }));

/** Every disk has to be named: libvirt would make overlays of its own for the others. https://libvirt.org/formatsnapshot.html */
const snapshotXml = (guest: RunningGuest, request: SnapshotRequest): string => {
  const overlays = overlaysByTarget(guest, request);
  const included = overlays.map(({ disk, overlay }) =>
    element(
      "disk",
      { name: disk.target, snapshot: "external", type: "file" },
      element("driver", { type: "qcow2" }),
      element("source", { file: overlay }),
    ),
  );
  const targets = new Set(overlays.map(({ disk }) => disk.target));
  const others = targetsIn(guest.xml)
    .filter((target) => !targets.has(target))
    .map((target) => element("disk", { name: target, snapshot: "no" }));
  return serialize(
    element("domainsnapshot", {}, memoryElement(request), element("disks", {}, ...included, ...others)),
  );
};

const memoryElement = ({ memoryPath }: SnapshotRequest): XmlElement =>
  memoryPath === undefined
    ? element("memory", { snapshot: "no" })
    : element("memory", { snapshot: "external", file: memoryPath });

/**
 * libvirt keeps no record of the snapshot: ours are the truth. With memory, the
 * guest runs on meanwhile where it has hardware to tell which memory it writes;
 * what an emulator tells of that is not to be relied on (guests' kernels failed
 * after live migrations), so there it stands still.
 */
const flagsFor = (guest: RunningGuest, { memoryPath }: SnapshotRequest): number => {
  const always = NO_METADATA | REUSE_EXT | ATOMIC;
  if (memoryPath === undefined) return always | DISK_ONLY;
  return guest.xml.attributes["type"] === "kvm" ? always | DomainSnapshotCreateFlags.LIVE : always;
};

const agentErrors: ReadonlySet<number> = new Set([ErrorCode.AGENT_UNRESPONSIVE, ErrorCode.AGENT_UNSYNCED]);

/** libvirt has no code of its own for what the guest agent refuses. */
const isAgentError = (error: unknown): error is LibvirtError =>
  error instanceof LibvirtError &&
  (agentErrors.has(error.code) || /guest agent|agent command/i.test(error.message));

const isTaken = (guest: RunningGuest, request: SnapshotRequest): boolean =>
  overlaysByTarget(guest, request).every(({ disk, overlay }) => disk.layers[0] === overlay);

const percentOf = (done: bigint, all: bigint): number => (all === 0n ? 0 : Number((done * 100n) / all));

const isMerged = ({ layers }: ObservedDisk, request: MergeRequest): boolean =>
  request.kind === "pull"
    ? layers[1] === request.base
    : layers.includes(request.base) && !layers.includes(request.top);

/**
 * A libvirtd that was killed when QEMU had merged layers, and before it had written
 * that down, names them for as long as the guest runs. QEMU has closed the layer, or
 * has it open still and puts nothing on it; it refuses to merge it either way.
 * https://gitlab.com/qemu-project/qemu/-/blob/v7.2.0/blockdev.c, qmp_block_commit
 */
const isLayerGone = (error: unknown): boolean =>
  error instanceof LibvirtError &&
  error.code === ErrorCode.INTERNAL_ERROR &&
  /Cannot find device='' nor node-name=|' is not in this backing file chain/.test(error.message);

const canMerge = ({ layers }: ObservedDisk, request: MergeRequest): boolean => {
  const base = request.base === undefined ? layers.length : layers.indexOf(request.base);
  const top = request.kind === "pull" ? 0 : layers.indexOf(request.top);
  return base > top && (request.kind === "pull" || top > 0);
};

/** Content must go only where it belongs: a cached image is the bottom of many guests' disks. */
const requireMergeable = (guest: RunningGuest, disk: ObservedDisk, request: MergeRequest): void => {
  if (!canMerge(disk, request)) {
    throw new RangeError(
      `a disk of ${disk.layers.join(", ")} cannot be merged so: ${JSON.stringify(request)}`,
    );
  }
  if (request.kind === "commit" && sharedLayersIn(guest.xml).has(request.base)) {
    throw new RangeError(`${request.base} belongs to other guests too: nothing is written into it`);
  }
};

export const createLiveLayers = ({ libvirt, running }: LiveContext): LiveLayers => {
  /** A guest that could not be frozen, or whose agent did not come back in time, may be frozen all the same. */
  const thaw = async ({ ref }: RunningGuest, options: CallOptions): Promise<void> => {
    try {
      await libvirt.thawFileSystems(ref, options);
    } catch (error) {
      if (!(error instanceof LibvirtError)) throw error;
    }
  };

  const take = async (
    guest: RunningGuest,
    request: SnapshotRequest,
    flags: number,
    options: CallOptions,
  ): Promise<void> => {
    try {
      await libvirt.createSnapshot(guest.ref, snapshotXml(guest, request), { ...options, flags });
    } catch (error) {
      if (!(error instanceof LibvirtError)) throw error;
      if (!isTaken(await running(guest.vmUid, options), request)) throw error;
    }
  };

  const takeQuiesced = async (
    guest: RunningGuest,
    request: SnapshotRequest,
    flags: number,
    options: CallOptions,
  ): Promise<SnapshotOutcome> => {
    try {
      await take(guest, request, flags | QUIESCE, options);
      return { kind: "taken", consistency: "Quiesced" };
    } catch (error) {
      if (!isAgentError(error)) throw error;
      await thaw(guest, options);
      const { message } = error;
      if (request.quiesce === "Required") return { kind: "not-quiesced", message };
      await take(guest, request, flags, options);
      return { kind: "taken", consistency: "Online", quiesceFailure: message };
    }
  };

  const snapshot: LiveLayers["snapshot"] = async (vmUid, request, options) => {
    const guest = await running(vmUid, options);
    const quiesces = request.memoryPath === undefined && request.quiesce !== "Never";
    if (isTaken(guest, request)) {
      // Whoever asked before may not have heard that, nor thawed the guest.
      if (quiesces) await thaw(guest, options);
      return { kind: "already-taken" };
    }
    const flags = flagsFor(guest, request);
    if (quiesces) return takeQuiesced(guest, request, flags, options);
    await take(guest, request, flags, options);
    return { kind: "taken", consistency: "Online" };
  };

  /**
   * Has QEMU write out all that it holds of the guest's disks. It tells nobody
   * when it would do so by itself, and of all that libvirt can be asked for, only
   * stopping the processors makes it.
   */
  const writeOut = async ({ ref, vmUid }: RunningGuest, options: CallOptions): Promise<MergeOutcome> => {
    const { state, reason } = await libvirt.domainState(ref, options);
    if (state === DomainState.PAUSED)
      return { kind: "paused", byRequest: reason === DomainPausedReason.USER };
    try {
      await libvirt.suspendDomain(ref, options);
      await libvirt.resumeDomain(ref, options);
    } catch (error) {
      throw asRefusal(error, domainName(vmUid));
    }
    return { kind: "done" };
  };

  const begin = (
    { ref }: RunningGuest,
    { target }: ObservedDisk,
    request: MergeRequest,
    options: CallOptions,
  ): Promise<void> => {
    if (request.kind === "commit") {
      return libvirt.blockCommit(ref, target, { ...options, top: request.top, base: request.base });
    }
    const { base } = request;
    return libvirt.blockRebase(ref, target, { ...options, ...(base === undefined ? {} : { base }) });
  };

  const merge: LiveLayers["merge"] = async (vmUid, request, options): Promise<MergeOutcome> => {
    const guest = await running(vmUid, options);
    const disk = requireDisk(guest, request.diskUid);
    const job = await libvirt.blockJobInfo(guest.ref, disk.target, options);
    if (job !== undefined) return { kind: "running", progressPercent: percentOf(job.cur, job.end) };
    // Read again: what was read before may be from before the end of the job.
    const now = await running(vmUid, options);
    const settled = requireDisk(now, request.diskUid);
    if (isMerged(settled, request)) return writeOut(now, options);
    requireMergeable(now, settled, request);
    try {
      await begin(now, settled, request, options);
    } catch (error) {
      // Whether they were merged, the files tell, which are looked at before it counts.
      if (isLayerGone(error)) return writeOut(now, options);
      throw asRefusal(error, domainName(vmUid));
    }
    return { kind: "running", progressPercent: 0 };
  };

  const abort = async ({ ref }: RunningGuest, target: string, options: CallOptions): Promise<void> => {
    try {
      await libvirt.abortBlockJob(ref, target, options);
    } catch (error) {
      const job = await libvirt.blockJobInfo(ref, target, options);
      if (!(error instanceof LibvirtError) || job !== undefined) throw error;
    }
  };

  return {
    snapshot,
    merge,
    cancelMerge: async (vmUid, diskUid, options) => {
      const guest = await running(vmUid, options);
      const { target, layers } = requireDisk(guest, diskUid);
      if ((await libvirt.blockJobInfo(guest.ref, target, options)) !== undefined) {
        await abort(guest, target, options);
        const after = requireDisk(await running(vmUid, options), diskUid);
        if (after.layers.join("\n") === layers.join("\n")) return;
      }
      // It may have ended by itself a moment ago.
      const { kind } = await writeOut(guest, options);
      if (kind === "paused")
        throw new Error(`guest ${domainName(vmUid)} is paused: QEMU may hold back what it has merged`);
    },
  };
};

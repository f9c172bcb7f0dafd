import { findCondition } from "../../../api/condition.ts";
import type { VirtualMachine } from "../../../api/virtual-machine.ts";
import { WaitingError } from "../../../kube/index.ts";
import { LibvirtError } from "../../../libvirt/index.ts";
import {
  chainSizeMiB,
  desiredCdroms,
  desiredDomain,
  desiredVolumes,
  type PlacedMachine,
  rootDiskOf,
  type VolumeDisk,
  volumeDiskOf,
  volumeSizeMiB,
} from "../../desired.ts";
import {
  DomainRefusedError,
  GuestOffError,
  type ObservedHardware,
  type PendingChange,
  pendingChanges,
} from "../../domains/index.ts";
import { usableVolumes } from "./guest-volumes.ts";
import type { Tap } from "../../links/index.ts";
import { type LiveChange, liveChanges, type WantedHardware } from "./live-changes.ts";
import type { GuestComparison, StorageDifference } from "./machine-status.ts";
import type { StepContext } from "./steps.ts";
import { withImage } from "../storage/storage.ts";
import type { CachedImage, DiskChain } from "../../volumes/types.ts";

/** A guest that has not let go of a device after this time is said to keep it. */
const DETACH_PATIENCE_MS = 60_000;
const GUEST_OFF_RETRY_MS = 200;
const DETACH_LOOK_MS = 250;
const DETACH_LOOKS = 12;

interface Options {
  readonly signal: AbortSignal;
}

/** What the disks of a running guest are at this moment. */
interface GuestDisks {
  readonly root: DiskChain | undefined;
  readonly volumes: readonly (VolumeDisk & { readonly wantedMiB: number })[];
  readonly cdroms: ReadonlyMap<string, CachedImage>;
}

const findDisks = async (
  target: PlacedMachine,
  { volumes, volumeObjects, images }: StepContext,
  options: Options,
): Promise<GuestDisks> => {
  const found: GuestDisks["volumes"][number][] = [];
  for (const { name, uid } of usableVolumes(target, volumeObjects)) {
    const volume = volumeObjects.get(uid);
    const chain = volume && (await volumes.disks.find(volumeDiskOf(volume), options));
    if (volume !== undefined && chain !== undefined)
      found.push({ name, uid, chain, wantedMiB: volumeSizeMiB(volume) });
  }
  const cdroms = new Map<string, CachedImage>();
  for (const image of target.allocation.cdroms ?? []) {
    const cached = await withImage(image, async (one) => one, { images }, options);
    if (!("kind" in cached)) cdroms.set(image.uid, cached);
  }
  return { root: await volumes.disks.find(rootDiskOf(target), options), volumes: found, cdroms };
};

const wantedHardware = (target: PlacedMachine, disks: GuestDisks): WantedHardware => {
  const { machine, allocation } = target;
  const { flavor } = allocation;
  const root = disks.root;
  return {
    volumes: desiredVolumes(target, disks.volumes),
    cdroms: desiredCdroms(target, disks.cdroms),
    keep: new Set([...(allocation.volumes ?? []), ...(allocation.cdroms ?? [])].map(({ uid }) => uid)),
    sizes: [
      ...(root === undefined
        ? []
        : [{ uid: machine.metadata.uid, sizeMiB: chainSizeMiB(root), wantedMiB: flavor.diskMiB }]),
      ...disks.volumes.map(({ uid, chain, wantedMiB }) => ({ uid, wantedMiB, sizeMiB: chainSizeMiB(chain) })),
    ],
    vcpus: flavor.vcpus,
    memoryMiB: flavor.memoryMiB,
  };
};

/** What came of one change. */
interface Applied {
  readonly difference?: StorageDifference;
  readonly pending?: PendingChange;
}

const attached = (path: string, outcome: "attached" | "no-free-slot"): Applied =>
  outcome === "attached"
    ? {}
    : {
        difference: {
          reason: "AttachFailed",
          message: `The running guest has no free slot for ${path}; a restart gives it one.`,
        },
        pending: { path, current: "not attached", desired: "attached" },
      };

/** Since when a guest has been asked to let go of something: StorageReady became False then. */
const patienceEnds = ({ status }: VirtualMachine): number => {
  const said = findCondition(status?.conditions, "StorageReady");
  const isDetaching = said?.reason === "Detaching" || said?.reason === "DetachPending";
  return isDetaching ? Date.parse(said.lastTransitionTime) + DETACH_PATIENCE_MS : Infinity;
};

const nameOf = ({ machine, allocation }: PlacedMachine, uid: string): string =>
  machine.status?.guest?.volumes?.find((volume) => volume.uid === uid)?.name ??
  allocation.cdroms?.find((cdrom) => cdrom.uid === uid)?.name ??
  uid;

const stillThere = (
  target: PlacedMachine,
  { kind, uid }: Extract<LiveChange, { kind: "detach" }>["device"],
  now: Date,
): StorageDifference => {
  const what = kind === "disk" ? `volume ${nameOf(target, uid)}` : `CD-ROM ${nameOf(target, uid)}`;
  return now.getTime() < patienceEnds(target.machine)
    ? { reason: "Detaching", message: `The guest was asked to let go of ${what}.` }
    : {
        reason: "DetachPending",
        message: `The guest does not let go of ${what}. Unmount it in the guest; a restart takes it away too.`,
      };
};

/**
 * Most guests let go within a second: that is waited for once, so that a machine
 * is not said to be anything but Ready for that long.
 */
const detach = async (
  target: PlacedMachine,
  device: Extract<LiveChange, { kind: "detach" }>["device"],
  { live, domains, wait }: StepContext,
  options: Options,
): Promise<boolean> => {
  const vmUid = target.machine.metadata.uid;
  if ((await live.detach(vmUid, device, options)) === "gone") return true;
  const looks = patienceEnds(target.machine) === Infinity ? DETACH_LOOKS : 0;
  for (let look = 0; look < looks; look += 1) {
    await wait(DETACH_LOOK_MS, options.signal);
    const disks = (await domains.observe(vmUid, options))?.hardware?.disks ?? [];
    if (!disks.some(({ kind, uid }) => kind === device.kind && uid === device.uid)) return true;
  }
  return false;
};

const apply = async (
  change: LiveChange,
  target: PlacedMachine,
  context: StepContext,
  options: Options,
): Promise<Applied> => {
  const { live, now, lookAtVolume } = context;
  const vmUid = target.machine.metadata.uid;
  switch (change.kind) {
    case "attach-disk":
      return attached(`volumes[${change.disk.name}]`, await live.attachDisk(vmUid, change.disk, options));
    case "attach-cdrom":
      return attached(`cdroms[${change.cdrom.name}]`, await live.attachCdrom(vmUid, change.cdrom, options));
    case "detach": {
      const isGone = await detach(target, change.device, context, options);
      return isGone ? {} : { difference: stillThere(target, change.device, now()) };
    }
    case "resize-disk":
      await live.resizeDisk(vmUid, change, options);
      if (change.uid !== vmUid) lookAtVolume(change.uid);
      return {};
    case "set-vcpus":
      await live.setVcpus(vmUid, change.count, options);
      return {};
    case "set-memory":
      await live.setMemory(vmUid, change.memoryMiB, options);
      return {};
  }
};

/** What libvirt refuses is told on the machine, and does not keep the other changes from being made. */
const tryApply = async (
  change: LiveChange,
  target: PlacedMachine,
  context: StepContext,
  options: Options,
): Promise<Applied> => {
  try {
    return await apply(change, target, context, options);
  } catch (error) {
    if (error instanceof GuestOffError) {
      throw new WaitingError(GUEST_OFF_RETRY_MS, "GuestOff", "the guest has just been switched off");
    }
    if (!(error instanceof LibvirtError) && !(error instanceof DomainRefusedError)) throw error;
    const reason = change.kind === "resize-disk" ? "Growing" : "AttachFailed";
    return { difference: { reason, message: `The running guest could not be changed: ${error.message}` } };
  }
};

/** The other node has made the guest's hardware as it is now. */
const afterMigration: Applied = {
  difference: {
    reason: "Migrating",
    message: "The machine moves to another node; the guest is changed afterwards.",
  },
};

/** What of its spec the machine was not given yet, or what is not there yet. */
const missing = (target: PlacedMachine, disks: GuestDisks): readonly StorageDifference[] => {
  const { machine, allocation } = target;
  const given = new Set((allocation.volumes ?? []).map(({ name }) => name));
  const images = new Set((allocation.cdroms ?? []).map(({ name }) => name));
  const notGiven = [
    ...machine.spec.volumes.flatMap(({ name }) => (given.has(name) ? [] : [`volume ${name}`])),
    ...machine.spec.cdroms.flatMap(({ image }) => (images.has(image) ? [] : [`image ${image}`])),
  ];
  const there = new Set(disks.volumes.map(({ uid }) => uid));
  const notThere = [
    ...(allocation.volumes ?? []).flatMap(({ name, uid }) => (there.has(uid) ? [] : [`volume ${name}`])),
    ...(allocation.cdroms ?? []).flatMap(({ name, uid }) => (disks.cdroms.has(uid) ? [] : [`image ${name}`])),
  ];
  return [
    ...(notGiven.length === 0
      ? []
      : [
          {
            reason: "VolumesNotReady" as const,
            message: `The guest does not have ${notGiven.join(", ")} yet; condition VolumesReady tells why.`,
          },
        ]),
    ...(notThere.length === 0
      ? []
      : [
          {
            reason: "VolumesNotReady" as const,
            message: `The guest gets ${notThere.join(", ")} when the data are on the node.`,
          },
        ]),
  ];
};

/**
 * Makes a running guest as its machine says, as far as that can be done while it
 * runs, and tells the rest. Nothing is done to a guest that is as it is to be.
 */
export const changeGuest = async (
  target: PlacedMachine,
  parts: { readonly hardware: ObservedHardware; readonly taps: readonly Tap[] },
  context: StepContext,
  options: Options,
): Promise<{ readonly comparison: GuestComparison; readonly changes: number }> => {
  const { hardware, taps } = parts;
  const disks = await findDisks(target, context, options);
  const vmUid = target.machine.metadata.uid;
  const applied: Applied[] = [];
  const changes = liveChanges(vmUid, hardware, wantedHardware(target, disks));
  const isMoving = context.migrating(vmUid) !== undefined;
  for (const change of changes) {
    applied.push(isMoving ? afterMigration : await tryApply(change, target, context, options));
  }
  const comparison = {
    storage: [...applied.flatMap(({ difference }) => difference ?? []), ...missing(target, disks)],
    pendingChanges: [
      ...applied.flatMap(({ pending }) => pending ?? []),
      ...(await restartChanges(target, { hardware, taps, disks }, context)),
    ],
  };
  return { comparison, changes: isMoving ? 0 : changes.length };
};

const restartChanges = async (
  target: PlacedMachine,
  known: { readonly hardware: ObservedHardware; readonly taps: readonly Tap[]; readonly disks: GuestDisks },
  context: StepContext,
): Promise<readonly PendingChange[]> => {
  const { hardware, taps, disks } = known;
  if (disks.root === undefined) return [];
  const want = desiredDomain(target, {
    acceleration: await context.acceleration(),
    rootDisk: disks.root,
    volumes: disks.volumes,
    cdroms: disks.cdroms,
    // A guest keeps the seed that it was started with.
    seedPath: "",
    taps,
  });
  return pendingChanges(hardware, want);
};

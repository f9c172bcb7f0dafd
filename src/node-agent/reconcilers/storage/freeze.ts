import type { QuiescePolicy, SnapshotConsistency } from "../../../api/virtual-machine-snapshot.ts";
import { WaitingError } from "../../../kube/index.ts";
import { LibvirtError } from "../../../libvirt/index.ts";
import type { DiskUsers } from "./disk-users.ts";
import { DomainRefusedError, type LiveDomains } from "../../domains/index.ts";
import { DiskBusyError, type Volumes } from "../../volumes/index.ts";
import type { DiskRef, PreparedSnapshot } from "../../volumes/types.ts";

const MIGRATION_CHECK_MS = 5_000;

/** The guest's file systems could not be frozen, and without that no snapshot was wanted. Nothing has changed. */
export class NotQuiescedError extends Error {
  override readonly name = "NotQuiescedError";
}

/** libvirt did not take the snapshot. Nothing has changed. */
export class FreezeRefusedError extends Error {
  override readonly name = "FreezeRefusedError";
}

export interface WantedFreeze {
  /** UID that the frozen layers go by. */
  readonly snapshotUid: string;
  /** Disks of one machine; the same in each call. */
  readonly disks: readonly DiskRef[];
  /** Of a guest that is off there is none. */
  readonly withMemory: boolean;
  readonly quiesce: QuiescePolicy;
}

export interface Frozen {
  /** Undefined when an agent that was killed has not left word. */
  readonly consistency: SnapshotConsistency | undefined;
  readonly quiesceFailure?: string | undefined;
}

interface Options {
  readonly signal: AbortSignal;
}

/** Freezes disks at one moment, whether a guest runs on them or not. */
export interface Freezer {
  /**
   * May be repeated: what is frozen already stays as it is. Rejects with
   * NotQuiescedError or FreezeRefusedError when nothing has changed; after any
   * other error the next call finds out.
   */
  freeze(want: WantedFreeze, options: Options): Promise<Frozen>;
}

export interface FreezerOptions {
  readonly live: Pick<LiveDomains, "snapshot" | "cancelMerge">;
  readonly volumes: Pick<Volumes, "snapshots" | "merges">;
  readonly users: DiskUsers;
  /** While a machine moves, its disks stay as they are. */
  readonly migrating: (vmUid: string) => unknown;
}

export const createFreezer = ({ live, volumes, users, migrating }: FreezerOptions): Freezer => {
  /** A merge of a running guest's disk goes on afterwards; a snapshot is wanted now. */
  const prepare = async (
    { snapshotUid, disks, withMemory }: WantedFreeze,
    vmUid: string | undefined,
    options: Options,
  ): Promise<PreparedSnapshot> => {
    const want = { snapshotUid, disks, withMemory: withMemory && vmUid !== undefined };
    try {
      return await volumes.snapshots.prepare(want, options);
    } catch (error) {
      if (!(error instanceof DiskBusyError) || vmUid === undefined) throw error;
      for (const disk of disks) {
        await live.cancelMerge(vmUid, disk.uid, options);
        await volumes.merges.abandon(disk, { isRunning: true }, options);
      }
      return volumes.snapshots.prepare(want, options);
    }
  };

  const whileOff = async (want: WantedFreeze, options: Options): Promise<Frozen> => {
    await prepare(want, undefined, options);
    await volumes.snapshots.commit(want.snapshotUid, want.disks, options);
    return { consistency: "Offline" };
  };

  const whileOn = async (want: WantedFreeze, vmUid: string, options: Options): Promise<Frozen> => {
    const { snapshotUid, disks, quiesce } = want;
    const { disks: freezing, memoryPath } = await prepare(want, vmUid, options);
    const overlays = new Map(freezing.map(({ ref, overlayPath }) => [ref.uid, overlayPath]));
    const undo = () => volumes.snapshots.undo(snapshotUid, disks, options);
    const outcome = await live
      .snapshot(vmUid, { overlays, memoryPath, quiesce }, options)
      .catch(async (error: unknown) => {
        if (!(error instanceof LibvirtError) && !(error instanceof DomainRefusedError)) throw error;
        await undo();
        throw new FreezeRefusedError(error.message, { cause: error });
      });
    if (outcome.kind === "not-quiesced") {
      await undo();
      throw new NotQuiescedError(outcome.message);
    }
    await volumes.snapshots.commit(snapshotUid, disks, options);
    return outcome.kind === "taken"
      ? { consistency: outcome.consistency, quiesceFailure: outcome.quiesceFailure }
      : { consistency: undefined };
  };

  return {
    freeze: async (want, options) => {
      const { snapshotUid, disks } = want;
      const state = await volumes.snapshots.find(snapshotUid, disks, options);
      if (state === "committed") return { consistency: undefined };
      const owners = disks.flatMap((disk) => users.machineOf(disk) ?? []);
      if (owners.some((owner) => migrating(owner) !== undefined)) {
        throw new WaitingError(MIGRATION_CHECK_MS, "Migrating", "the machine moves to another node");
      }
      const [first] = disks;
      const vmUid = first && (await users.runningGuestOf(first, options));
      return vmUid === undefined ? whileOff(want, options) : whileOn(want, vmUid, options);
    },
  };
};

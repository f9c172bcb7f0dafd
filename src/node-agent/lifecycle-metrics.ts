import { Counter } from "prom-client";
import type { Metrics } from "../kube/index.ts";

/** Counts what is done with disks and snapshots. */
export interface LifecycleMetrics {
  readonly volumeRemoved: () => void;
  readonly snapshotTaken: (outcome: "taken" | "failed") => void;
  readonly restoreFinished: (outcome: "succeeded" | "failed") => void;
  readonly mergeFinished: (outcome: "done" | "failed") => void;
  readonly imageExported: (sizeBytes: number) => void;
}

export const createLifecycleMetrics = ({ registry }: Pick<Metrics, "registry">): LifecycleMetrics => {
  const registers = [registry];
  const counter = (name: string, help: string) => new Counter({ name, help, registers });
  const byOutcome = (name: string, help: string) =>
    new Counter({ name, help, labelNames: ["outcome"] as const, registers });
  const removed = counter("vireo_volumes_removed_total", "Volumes whose data were removed.");
  const snapshots = byOutcome("vireo_snapshots_total", "Snapshots of machines by outcome.");
  const restores = byOutcome("vireo_restores_total", "Restores of machines by outcome.");
  const merges = byOutcome("vireo_snapshot_merges_total", "Merges after a snapshot's deletion by outcome.");
  const exports = counter("vireo_images_exported_total", "Images that were made of disks of this node.");
  const exportedBytes = counter("vireo_image_exported_bytes_total", "Bytes of these images.");
  return {
    volumeRemoved: () => removed.inc(),
    snapshotTaken: (outcome) => snapshots.inc({ outcome }),
    restoreFinished: (outcome) => restores.inc({ outcome }),
    mergeFinished: (outcome) => merges.inc({ outcome }),
    imageExported: (sizeBytes) => {
      exports.inc();
      exportedBytes.inc(sizeBytes);
    },
  };
};

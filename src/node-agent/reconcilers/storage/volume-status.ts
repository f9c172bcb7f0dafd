import { withTransitionTimes } from "../../../api/condition.ts";
import { apiVersionOf } from "../../../api/resource.ts";
import { type Volume, type VolumePhase, volumes } from "../../../api/volume.ts";
import type { OwnStatus } from "../../object-view.ts";
import { type Readiness, readyConditions } from "../../ready-conditions.ts";

/** What a pass over a Volume came to. */
export type VolumeResult =
  /** Its disk is being made. */
  | {
      readonly kind: "provisioning";
      readonly reason: string;
      readonly message: string;
      readonly progressPercent?: number | undefined;
    }
  /** It did not work this time. `lasting`: only another wish or another source helps. */
  | {
      readonly kind: "failed";
      readonly reason: string;
      readonly message: string;
      readonly lasting: boolean;
      /** Size of the disk when there is one. */
      readonly sizeMiB?: number | undefined;
    }
  /** The disk is there, and not as large as asked for yet: the machine's pass makes a disk larger that is in use. */
  | { readonly kind: "growing"; readonly sizeMiB: number }
  | { readonly kind: "ready"; readonly sizeMiB: number }
  /** Deleted, and somebody still has it. */
  | { readonly kind: "in-use"; readonly message: string; readonly sizeMiB: number | undefined }
  /** Deleted, and its data are being removed. */
  | { readonly kind: "removing"; readonly progressPercent?: number | undefined }
  /** Deleted, and the node has done with its data. */
  | { readonly kind: "released"; readonly message: string };

/** What of a Volume's status the agent writes. */
export const ownVolumeStatus: OwnStatus = {
  fields: ["observedGeneration", "phase", "sizeMiB", "format", "progressPercent"],
  conditions: ["Ready", "Reconciling", "Stalled", "Released"],
};

interface Verdict extends Readiness {
  readonly phase: VolumePhase;
  readonly sizeMiB?: number | undefined;
  readonly progressPercent?: number | undefined;
}

/** A disk that is there: somebody has it, or nobody. */
const presentPhase = ({ status }: Volume): VolumePhase =>
  status?.attachedTo === undefined ? "Available" : "InUse";

const failedVerdict = (volume: Volume, failed: Extract<VolumeResult, { kind: "failed" }>): Verdict => {
  const { reason, message, lasting, sizeMiB } = failed;
  const missing = lasting ? "Failed" : "Provisioning";
  const phase = sizeMiB === undefined ? missing : presentPhase(volume);
  return { phase, ready: "False", reason, message, stalled: lasting, sizeMiB };
};

const verdictOf = (volume: Volume, result: VolumeResult): Verdict => {
  switch (result.kind) {
    case "provisioning": {
      const { reason, message, progressPercent } = result;
      return { phase: "Provisioning", ready: "False", reason, message, progressPercent };
    }
    case "failed":
      return failedVerdict(volume, result);
    case "growing":
      return {
        phase: presentPhase(volume),
        ready: "False",
        reason: "Growing",
        message: `The disk has ${result.sizeMiB} MiB and is made larger.`,
        sizeMiB: result.sizeMiB,
      };
    case "ready":
      return {
        phase: presentPhase(volume),
        ready: "True",
        reason: "Ready",
        message: "The data are on the node, and the disk is as large as asked for.",
        sizeMiB: result.sizeMiB,
      };
    case "in-use":
      return {
        phase: "InUse",
        ready: "False",
        reason: "InUse",
        message: result.message,
        sizeMiB: result.sizeMiB,
      };
    case "removing":
      return {
        phase: "Available",
        ready: "False",
        reason: "Removing",
        message: "The data are being removed from the node.",
        progressPercent: result.progressPercent,
      };
    case "released":
      return { phase: "Available", ready: "False", reason: "Released", message: result.message };
  }
};

/** Everything that the node agent says of a Volume, as one server-side apply of its status. */
export const volumeStatus = (
  volume: Volume,
  /** The metadata.generation whose spec was looked at. */
  observedGeneration: number,
  result: VolumeResult,
  now: Date,
) => {
  const said = verdictOf(volume, result);
  const isReleased = result.kind === "released";
  const drafts = readyConditions(said, { observedGeneration, isReleased });
  const { name, namespace, uid } = volume.metadata;
  return {
    apiVersion: apiVersionOf(volumes),
    kind: volumes.kind,
    metadata: { name, namespace, uid },
    status: {
      observedGeneration,
      phase: said.phase,
      ...(said.sizeMiB === undefined ? {} : { sizeMiB: said.sizeMiB, format: "qcow2" as const }),
      ...(said.progressPercent === undefined ? {} : { progressPercent: said.progressPercent }),
      conditions: withTransitionTimes(drafts, volume.status?.conditions, now),
    },
  };
};

export type VolumeStatusApply = ReturnType<typeof volumeStatus>;

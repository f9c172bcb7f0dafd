import type { Volume, VolumePhase } from "../../api/volume.ts";
import { type Draft, draftOf } from "../conditions.ts";
import type { Violation } from "../virtual-machine/violation.ts";
import { failed, type OwnParts, type SpokenStatus, troubled, type Voice, waiting } from "../voice.ts";
import type { Reservation } from "./judge.ts";

type StoredStatus = NonNullable<Volume["status"]>;

/** What the controller says of a Volume, as one server-side apply. */
export interface VolumeStatus extends SpokenStatus<VolumePhase> {
  readonly nodeName?: string;
  readonly allocation?: NonNullable<StoredStatus["allocation"]>;
  readonly attachedTo?: Reservation;
}

/** The controller's alone; before there is a node Stalled is too. */
export const ownParts = (nodeName: string | undefined): OwnParts => ({
  fields: ["nodeName", "allocation", "attachedTo"],
  conditions: nodeName === undefined ? ["InUse", "Stalled"] : ["InUse"],
});

/** It cannot be made of its source, now or ever. */
export const unusableVoice = ({ kind, reason, message }: Violation): Voice<VolumePhase> =>
  kind === "lasting" ? failed("Failed", reason, message) : troubled("Pending", reason, message);

/** Nothing decides yet where the data are to be. */
export const unclaimedVoice = (reservation: Reservation | undefined): Voice<VolumePhase> =>
  waiting(
    "Pending",
    "WaitForFirstConsumer",
    reservation === undefined
      ? "It is made on the node of the first machine that names it."
      : `It is made on the node of machine ${reservation.name}, which has none yet.`,
  );

/** Until the agent's first word. */
export const provisioningVoice = (nodeName: string): Voice<VolumePhase> =>
  waiting("Provisioning", "Provisioning", `Node ${nodeName} makes it.`);

/** Why a deleted Volume stays, or that its node may do with it as deletionPolicy says. */
export const useDraft = (obstacle: Violation | undefined): Draft =>
  obstacle === undefined
    ? draftOf("InUse", "False", "Unused", "Nobody will get it any more.")
    : draftOf("InUse", "True", obstacle.reason, obstacle.message);

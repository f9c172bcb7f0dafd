import type { RestorePhase } from "../../api/virtual-machine-restore.ts";
import type { OwnParts, SpokenStatus } from "../voice.ts";

/** What the controller says of a restore, as one server-side apply. */
export interface RestoreStatus extends SpokenStatus<RestorePhase> {
  readonly nodeName?: string;
  readonly machineUid?: string;
  readonly snapshotUid?: string;
}

/** The controller's alone; before there is a node Stalled is too. */
export const ownParts = (nodeName: string | undefined): OwnParts => ({
  fields: ["nodeName", "machineUid", "snapshotUid"],
  conditions: nodeName === undefined ? ["Stalled"] : [],
});

import type { SnapshotPhase, VirtualMachineSnapshot } from "../../api/virtual-machine-snapshot.ts";
import { type Draft, draftOf, ready } from "../conditions.ts";
import type { Violation } from "../virtual-machine/violation.ts";
import { failed, type OwnParts, type SpokenStatus, troubled, type Voice, waiting } from "../voice.ts";
import { WAITING_FOR_TURN } from "./turn.ts";

/** What the controller says of a snapshot, as one server-side apply. */
export interface SnapshotStatus extends SpokenStatus<SnapshotPhase> {
  readonly nodeName?: string;
  readonly machineUid?: string;
}

/** The controller's alone; before there is a node Stalled is too. */
export const ownParts = (nodeName: string | undefined): OwnParts => ({
  fields: ["nodeName", "machineUid"],
  conditions: nodeName === undefined ? ["InUse", "Stalled"] : ["InUse"],
});

/** It is not given to a node, now or ever. */
export const heldBackVoice = ({ kind, reason, message }: Violation): Voice<"Pending" | "Failed"> => {
  if (kind === "lasting") return failed("Failed", reason, message);
  return (reason === WAITING_FOR_TURN ? waiting : troubled)("Pending", reason, message);
};

/** Until the agent's first word. */
export const acceptedVoice = (nodeName: string): Voice<"Pending"> =>
  waiting("Pending", "Accepted", `Node ${nodeName} begins with it.`);

/** Of a snapshot that was taken, when its node is back. */
export const recoveredVoice = ({ status }: VirtualMachineSnapshot): Voice<"Ready"> => ({
  phase: "Ready",
  drafts: ready(status?.consistency ?? "Taken", "The snapshot is there; its node is back."),
  isTrouble: false,
});

/** Who still needs a deleted snapshot, or that its node may give it up. */
export const useDraft = (users: readonly string[]): Draft =>
  users.length === 0
    ? draftOf("InUse", "False", "Unused", "Nobody needs it any more.")
    : draftOf("InUse", "True", "BeingRead", `It goes when these are done with it: ${users.join(", ")}.`);

import { findCondition } from "../../api/condition.ts";
import type { MigrationPhase, VirtualMachineMigration } from "../../api/virtual-machine-migration.ts";
import { type Draft, draftOf, notReady, ready } from "../conditions.ts";
import type { Violation } from "../virtual-machine/violation.ts";
import { WAITING_FOR_TURN } from "../virtual-machine-snapshot/turn.ts";
import {
  failed,
  NODE_LOST,
  type OwnParts,
  type SpokenStatus,
  troubled,
  type Voice,
  waiting,
} from "../voice.ts";
import { type Ends, endsOf } from "./phase.ts";
import { TOO_MANY_MIGRATIONS } from "./slots.ts";

/** What the controller says of a migration, as one server-side apply. */
export interface MigrationStatus extends SpokenStatus<MigrationPhase> {
  readonly machineUid?: string;
  readonly sourceNode?: string;
  readonly targetNode?: string;
  readonly live?: boolean;
}

export const ACCEPTED = "Accepted";

/** The controller's alone; of one that has not been accepted Stalled is too. */
export const ownParts = (migration: VirtualMachineMigration): OwnParts => ({
  fields: ["machineUid", "sourceNode", "targetNode", "live"],
  conditions: endsOf(migration) === undefined ? [ACCEPTED, "Stalled"] : [ACCEPTED],
});

/** It is not accepted, now or ever. */
export const heldBackVoice = ({ kind, reason, message }: Violation): Voice<MigrationPhase> => {
  if (kind === "lasting") return failed("Failed", reason, message);
  const isOnlyWaiting = reason === WAITING_FOR_TURN || reason === TOO_MANY_MIGRATIONS;
  return (isOnlyWaiting ? waiting : troubled)("Pending", reason, message);
};

export const acceptedVoice = ({ targetNode }: Ends): Voice<MigrationPhase> =>
  waiting("Preparing", ACCEPTED, `Node ${targetNode} prepares for the machine.`);

/** There for as long as the migration is: when it was accepted. */
export const acceptedDraft = ({ sourceNode, targetNode }: Ends): Draft =>
  draftOf(ACCEPTED, "True", ACCEPTED, `The machine moves from node ${sourceNode} to node ${targetNode}.`);

export const failedVoice = (reason: string, message: string): Voice<MigrationPhase> =>
  failed("Failed", reason, message);

export const cancelledVoice = (reason: string, message: string): Voice<MigrationPhase> => ({
  phase: "Cancelled",
  drafts: notReady(reason, message),
  isTrouble: false,
});

/** Only the agents know how far it has come, and one of them says nothing. */
export const silentVoice = (message: string): Voice<MigrationPhase> => ({
  drafts: [draftOf("Ready", "Unknown", NODE_LOST, message)],
  isTrouble: true,
});

/** Words of the controller's about what is past when the phase has gone on. */
const EARLIER_WORDS: ReadonlySet<string | undefined> = new Set([
  undefined,
  ACCEPTED,
  NODE_LOST,
  WAITING_FOR_TURN,
  TOO_MANY_MIGRATIONS,
]);

/**
 * What has to be said when an agent has changed the phase and said nothing else
 * of it; undefined when Ready fits the phase.
 */
export const followingVoice = ({ status }: VirtualMachineMigration): Voice<MigrationPhase> | undefined => {
  const { phase, sourceNode, targetNode } = status ?? {};
  const stored = findCondition(status?.conditions, "Ready");
  const isPast = EARLIER_WORDS.has(stored?.reason);
  switch (phase) {
    case "Copying":
      return isPast
        ? waiting(phase, "Copying", `Node ${sourceNode} sends the machine to node ${targetNode}.`)
        : undefined;
    case "Switching":
      return isPast || stored?.reason === "Copying"
        ? waiting(phase, "Switching", `Node ${targetNode} takes the machine over.`)
        : undefined;
    case "Succeeded":
      return stored?.status === "True"
        ? undefined
        : { phase, drafts: ready("Succeeded", `The machine is on node ${targetNode}.`), isTrouble: false };
    case "Failed":
      return isFinal(stored?.reason)
        ? undefined
        : failed(phase, "Failed", `The machine stays on node ${sourceNode}.`);
    case "Cancelled":
      return isFinal(stored?.reason)
        ? undefined
        : cancelledVoice("Cancelled", `The machine stays on node ${sourceNode}.`);
    default:
      return undefined;
  }
};

const isFinal = (reason: string | undefined): boolean =>
  !EARLIER_WORDS.has(reason) && reason !== "Copying" && reason !== "Switching";

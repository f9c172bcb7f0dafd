import type { MigrationPhase } from "../../api/virtual-machine-migration.ts";
import type { MigrationFacts, MigrationStep } from "./types.ts";

/**
 * What the agent of one end does next. Pure: the phase of the object and what
 * libvirt says are all that is needed, so that an agent which was started a
 * moment ago decides as the one that was killed would have.
 *
 * One rule keeps the guest from running twice: who wants to let it run first
 * changes the phase, and the API server lets only one of the two do that. The
 * target may resume it after Copying has become Switching; the source after
 * Copying has become Failed or Cancelled, or Switching has become Failed.
 */

type Decide = (facts: MigrationFacts) => MigrationStep;

const none: Decide = () => "none";

/**
 * The guest stays here: whatever was under way ends, and it goes on. When another
 * migration has taken it on since, what is under way is that one's, and the guest
 * may run at that one's target.
 */
const staysAtSource: Decide = ({ session, domain, isOwner }) => {
  if (session !== "none") return "cancel";
  if (isOwner) return "none";
  if (domain === "leaving") return "cancel-job";
  return domain === "left" ? "resume" : "none";
};

const source: Readonly<Record<MigrationPhase, Decide>> = {
  Pending: none,
  Preparing: ({ live, targetReady, isGivenUp, domain }) => {
    // The target moves a guest that is off; giving up is the controller's.
    if (!live || !targetReady || isGivenUp) return "none";
    return domain === "running" ? "begin" : "refuse";
  },
  Copying: ({ session, isGivenUp }) => (session === "working" && !isGivenUp ? "none" : "give-up"),
  // Only the target knows whether the guest runs there.
  Switching: none,
  Succeeded: ({ session, isOwner, isReleased }) => {
    if (session !== "none") return "confirm";
    if (isReleased) return "none";
    return isOwner ? "release" : "clean-up";
  },
  Failed: staysAtSource,
  Cancelled: staysAtSource,
};

/** Whether the guest has run here, as the domain tells when nobody is at work on its arrival. */
const judgeArrival: Decide = ({ session, domain }) => {
  if (session === "working") return "none";
  switch (domain) {
    case "absent":
    case "never-ran":
      return "fail";
    // Paused: libvirt ends it, or lets it run, by itself when nobody is connected for it.
    case "paused":
      return "look-again";
    default:
      return "succeed";
  }
};

const leavesNothing: Decide = ({ isOwner, isReleased }) => {
  if (isReleased) return "none";
  return isOwner ? "release" : "discard";
};

const target: Readonly<Record<MigrationPhase, Decide>> = {
  Pending: none,
  Preparing: ({ live, targetReady, isGivenUp }) => {
    if (isGivenUp) return "none";
    if (!targetReady) return "prepare";
    return live ? "none" : "switch-cold";
  },
  Copying: none,
  // Of a guest that is off there are only files, and all of them are here.
  Switching: (facts) => (facts.live ? judgeArrival(facts) : "succeed"),
  Succeeded: none,
  Failed: leavesNothing,
  Cancelled: leavesNothing,
};

const decisions = { source, target } as const;

export const decide = (facts: MigrationFacts): MigrationStep =>
  facts.phase === undefined ? "none" : decisions[facts.role][facts.phase](facts);

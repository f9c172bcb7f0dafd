import type { MigrationPhase } from "../../api/virtual-machine-migration.ts";

/** Which end of a migration this node is. */
export type MigrationRole = "source" | "target";

/**
 * What libvirt says of a machine's domain, as far as a migration is concerned.
 *
 * - absent: there is none.
 * - off: it is defined and not on. It may have run here.
 * - never-ran: it is defined and not on, since libvirt gave its start or its arrival up.
 * - running: also while a migration copies it.
 * - leaving: libvirt is at work to move it away.
 * - left: it stands still since it was moved away, and nothing is under way:
 *   only the record of the migration says whether it runs elsewhere.
 * - paused: it stands still for any other reason. At the target: it has not arrived.
 */
export type DomainStanding = "absent" | "off" | "never-ran" | "running" | "leaving" | "left" | "paused";

/**
 * What this process itself is doing for a migration: nothing; working, with a
 * connection to libvirt that stands for it; or it was, and that has failed.
 */
export type SessionState = "none" | "working" | "failed";

/** All that a decision is made from. */
export interface MigrationFacts {
  readonly role: MigrationRole;
  readonly phase: MigrationPhase | undefined;
  /** Whether the guest runs while it is moved. */
  readonly live: boolean;
  readonly targetReady: boolean;
  /** Somebody has deleted the migration, or its time is up. */
  readonly isGivenUp: boolean;
  readonly session: SessionState;
  readonly domain: DomainStanding;
  /** Whether another migration has the say in what is here of the machine: a later one, or one that is at work. */
  readonly isOwner: boolean;
  /** Whether it is said already that the node which the machine is not on has nothing left of it. */
  readonly isReleased: boolean;
}

/**
 * - none: nothing to do until something changes.
 * - look-again: libvirt is about to make up its mind.
 * - prepare: (target) make room, and say so.
 * - begin: (source) Preparing becomes Copying, then the guest is moved.
 * - refuse: (source) Preparing becomes Failed: the guest cannot be moved as it is.
 * - give-up: (source) Copying becomes Failed or Cancelled.
 * - switch-cold: (target) Preparing becomes Switching: all data are here.
 * - succeed, fail: (target) Switching becomes Succeeded, or Failed.
 * - confirm, cancel: (source) the session ends, with the guest given up or going on.
 * - cancel-job: (source) libvirt is to stop moving the guest.
 * - resume: (source) the guest goes on.
 * - clean-up: (source) nothing of the machine stays here.
 * - discard: (target) nothing of what was prepared stays here.
 * - release: (whoever would have done that) what is here is another migration's: there is nothing to remove.
 */
export type MigrationStep =
  | "none"
  | "look-again"
  | "prepare"
  | "begin"
  | "refuse"
  | "give-up"
  | "switch-cold"
  | "succeed"
  | "fail"
  | "confirm"
  | "cancel"
  | "cancel-job"
  | "resume"
  | "clean-up"
  | "discard"
  | "release";

import type { Acceleration } from "../../../api/hypervisor.ts";
import type { CloudInit } from "../../cloud-init/index.ts";
import {
  desiredDomain,
  desiredLink,
  desiredSeed,
  type GuestParts,
  needsSecrets,
  type PlacedMachine,
} from "../../desired.ts";
import type { Domains, LiveDomains, ObservedDomain } from "../../domains/index.ts";
import type { VolumeLookup } from "./guest-volumes.ts";
import { guestDisks } from "./guest-disks.ts";
import { both } from "../../host/both.ts";
import { changeGuest } from "./keep-guest.ts";
import type { Step } from "./lifecycle.ts";
import type { Links, Tap } from "../../links/index.ts";
import type { MigrationHold } from "../../migrations/index.ts";
import type { StepOutcome } from "./machine-status.ts";
import type { Probes } from "../../probes/index.ts";
import { type FetchSeed, SeedUnavailableError } from "./seed-source.ts";
import type { ConfirmStart } from "./start-permit.ts";
import type { StorageContext } from "../storage/storage.ts";
import type { DiskRef } from "../../volumes/types.ts";

/** The rooms of this node, and what a step needs beside them. */
export interface StepContext extends StorageContext {
  readonly cloudInit: CloudInit;
  readonly links: Links;
  readonly domains: Domains;
  /** Changes to guests that are on. */
  readonly live: LiveDomains;
  readonly probes: Probes;
  readonly volumeObjects: VolumeLookup;
  readonly fetchSeed: FetchSeed;
  /** Rejects unless the guest may be started here at this moment. */
  readonly confirmStart: ConfirmStart;
  /** Asks for a pass over the Volume. */
  readonly lookAtVolume: (uid: string) => void;
  /** Asks for a pass over a disk, whose layers may be fewer now. */
  readonly lookAtDisk: (uid: string) => void;
  /** One pass over the routes and rules of all machines of this node; concurrent callers share it. */
  readonly syncNetwork: () => Promise<void>;
  /** Leaves the machine out of that pass from now on, and makes one. */
  readonly removeFromNetwork: (vmUid: string) => Promise<void>;
  /** As probed by running a guest. */
  readonly acceleration: () => Promise<Acceleration>;
  /** What a migration of the machine forbids. */
  readonly migrating: (vmUid: string) => MigrationHold | undefined;
  readonly now: () => Date;
  /** Resolves after so many ms. */
  readonly wait: (ms: number, signal: AbortSignal) => Promise<void>;
}

interface StepOptions {
  readonly signal: AbortSignal;
}

/** A machine, and its guest as libvirt has it at the beginning of the step. */
export interface StepTarget extends PlacedMachine {
  readonly domain: ObservedDomain | undefined;
}

type Executor = (target: StepTarget, context: StepContext, options: StepOptions) => Promise<StepOutcome>;

const done: StepOutcome = { kind: "done" };

/** What is in Secrets is read once: the guest's first boot is the only one that reads it. */
export const ensureSeed = async (
  target: PlacedMachine,
  { cloudInit, fetchSeed }: StepContext,
  options: StepOptions,
): Promise<string> => {
  if (!needsSecrets(target)) return (await cloudInit.ensureSeed(desiredSeed(target), options)).path;
  const existing = await cloudInit.find(target.machine.metadata.uid, options);
  if (existing !== undefined) return existing.path;
  const secrets = await fetchSeed(target.machine, options);
  return (await cloudInit.ensureSeed(desiredSeed(target, secrets), options)).path;
};

/** What a guest is made of: made, or found. */
export type PreparedGuest =
  | { readonly kind: "ready"; readonly parts: GuestParts }
  | Extract<StepOutcome, { kind: "no-disk" | "no-seed" }>;

/**
 * Disks first, for without an image nothing else is made; then the seed beside
 * link and rules: a guest never runs before its rules are in place.
 */
export const prepareGuest = async (
  target: PlacedMachine,
  context: StepContext,
  options: StepOptions,
): Promise<PreparedGuest> => {
  const disks = await guestDisks(target, context, options);
  if (disks.kind !== "ready") return { kind: "no-disk", disk: disks };
  try {
    const [seedPath, taps] = await both(
      ensureSeed(target, context, options),
      connect(target, context, options),
    );
    const acceleration = await context.acceleration();
    return { kind: "ready", parts: { ...disks.disks, acceleration, seedPath, taps } };
  } catch (error) {
    if (!(error instanceof SeedUnavailableError)) throw error;
    return { kind: "no-seed", message: `The guest's user data cannot be had: ${error.message}` };
  }
};

const start: Executor = async (target, context, options) => {
  const prepared = await prepareGuest(target, context, options);
  if (prepared.kind !== "ready") return prepared;
  await context.confirmStart(target.machine, options);
  await context.domains.start(desiredDomain(target, prepared.parts), options);
  return done;
};

const connect = async (
  target: PlacedMachine,
  { links, syncNetwork }: StepContext,
  options: StepOptions,
): Promise<readonly Tap[]> => {
  const taps = await links.ensure(desiredLink(target), options);
  await syncNetwork();
  return taps;
};

/** What somebody took away around a running guest is put back, and what may change of it is changed. */
const keep: Executor = async (target, context, options) => {
  const taps = await connect(target, context, options);
  const hardware = target.domain?.hardware;
  if (hardware === undefined) return done;
  return { kind: "kept", ...(await changeGuest(target, { hardware, taps }, context, options)) };
};

const uidOf = (target: PlacedMachine): string => target.machine.metadata.uid;

const executors: Readonly<Record<Step["kind"], Executor>> = {
  start,
  keep,
  "wait-for-restart": async () => ({ kind: "waiting-for-restart" }),
  pause: async (target, { live }, options) => {
    await live.suspend(uidOf(target), options);
    return done;
  },
  unpause: async (target, { live }, options) => {
    await live.resume(uidOf(target), options);
    return done;
  },
  "press-power-button": async (target, { domains }, options) => {
    await domains.shutdown(uidOf(target), options);
    return done;
  },
  "cut-power": async (target, { domains }, options) => {
    await domains.destroy(uidOf(target), options);
    return done;
  },
  rest: async (target, { links }, options) => {
    await links.remove(uidOf(target), options);
    return done;
  },
  hold: async () => done,
  release: async (target, context, options) => {
    const isGone = await removeGuest(uidOf(target), context, options);
    return isGone ? { kind: "released" } : done;
  },
};

export const executeStep = (
  step: Step,
  target: StepTarget,
  context: StepContext,
  options: StepOptions,
): Promise<StepOutcome> => executors[step.kind](target, context, options);

/** The reverse of start: the rules outlive the guest and its link. Returns whether nothing is left but what snapshots need. */
export const removeGuest = async (
  vmUid: string,
  context: StepContext,
  options: StepOptions,
): Promise<boolean> => {
  await context.domains.remove(vmUid, options);
  await context.links.remove(vmUid, options);
  await context.removeFromNetwork(vmUid);
  await context.cloudInit.remove(vmUid, options);
  const disk = await context.volumes.disks.locate("root", vmUid, options);
  return disk === undefined || removeDisk(disk, context, options);
};

/** Returns whether it is over; wiping takes its time. */
const removeDisk = async (
  disk: DiskRef,
  { volumes }: StepContext,
  options: StepOptions,
): Promise<boolean> => {
  const outcome = await volumes.disks.remove(disk, options);
  if (outcome.kind === "failed") throw new Error(outcome.message);
  return outcome.kind !== "working";
};

import type { Acceleration } from "../api/hypervisor.ts";
import type { CloudInit } from "./cloud-init/index.ts";
import { desiredDomain, desiredLink, desiredRootDisk, desiredSeed, type PlacedMachine } from "./desired.ts";
import type { Disks } from "./disks/index.ts";
import type { Domains } from "./domains/index.ts";
import type { Step } from "./lifecycle.ts";
import { both } from "./host/both.ts";
import type { Probes } from "./probes/index.ts";
import type { Links, Tap } from "./links/index.ts";
import type { StepOutcome } from "./machine-status.ts";

/** The rooms of this node, and what a step needs beside them. */
export interface StepContext {
  readonly disks: Disks;
  readonly cloudInit: CloudInit;
  readonly links: Links;
  readonly domains: Domains;
  readonly probes: Probes;
  /** One pass over the routes and rules of all machines of this node; concurrent callers share it. */
  readonly syncNetwork: () => Promise<void>;
  /** Leaves the machine out of that pass from now on, and makes one. */
  readonly removeFromNetwork: (vmUid: string) => Promise<void>;
  /** As probed by running a guest. */
  readonly acceleration: () => Promise<Acceleration>;
}

interface StepOptions {
  readonly signal: AbortSignal;
}

type Executor = (target: PlacedMachine, context: StepContext, options: StepOptions) => Promise<StepOutcome>;

const done: StepOutcome = { kind: "done" };

/**
 * Disk first, for without an image nothing else is made; then the seed beside
 * link and rules; then the domain: a guest never runs before its rules are in
 * place.
 */
const start: Executor = async (target, context, options) => {
  const rootDisk = await context.disks.ensureRootDisk(desiredRootDisk(target), options);
  if (rootDisk.kind !== "ready") return { kind: "no-disk", disk: rootDisk };
  const [seed, taps] = await both(
    context.cloudInit.ensureSeed(desiredSeed(target), options),
    connect(target, context, options),
  );
  const acceleration = await context.acceleration();
  await context.domains.start(
    desiredDomain(target, { acceleration, rootDisk, seedPath: seed.path, taps }),
    options,
  );
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

/** A running guest is not touched; what somebody took away around it is put back. */
const keep: Executor = async (target, context, options) => {
  await connect(target, context, options);
  return done;
};

const uidOf = (target: PlacedMachine): string => target.machine.metadata.uid;

const executors: Readonly<Record<Step["kind"], Executor>> = {
  start,
  keep,
  "wait-for-restart": async () => ({ kind: "waiting-for-restart" }),
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
  release: async (target, context, options) => {
    await removeGuest(uidOf(target), context, options);
    return { kind: "released" };
  },
};

export const executeStep = (
  step: Step,
  target: PlacedMachine,
  context: StepContext,
  options: StepOptions,
): Promise<StepOutcome> => executors[step.kind](target, context, options);

/** The reverse of start: the rules outlive the guest and its link. */
export const removeGuest = async (
  vmUid: string,
  context: StepContext,
  options: StepOptions,
): Promise<void> => {
  await context.domains.remove(vmUid, options);
  await context.links.remove(vmUid, options);
  await context.removeFromNetwork(vmUid);
  await context.cloudInit.remove(vmUid, options);
  await context.disks.remove(vmUid, options);
};

import { done, type Logger, type ReconcileResult, requeueAfter, type Store } from "../../../kube/index.ts";
import type { VirtualMachine } from "../../../api/virtual-machine.ts";
import { isOn } from "./guest-record.ts";
import type { AgentMetrics } from "../../metrics.ts";
import type { IsMoving } from "../migration/moving-machines.ts";
import type { MachineView } from "../../report.ts";
import { removeGuest, type StepContext } from "./steps.ts";

/** What is done about things on this node whose machine is not among this node's. */

export interface OrphanOptions {
  readonly nodeName: string;
  readonly store: Pick<Store<VirtualMachine>, "unreadable">;
  readonly machines: Pick<MachineView, "findInCluster">;
  readonly isMoving: IsMoving;
  readonly logger: Logger;
  readonly agentMetrics: Pick<AgentMetrics, "orphanRemoved" | "strangerRemoved" | "diskStranded">;
}

/** What is known of the machine, all of it read after the watch had nothing of it. */
export interface OrphanFacts {
  readonly nodeName: string;
  /** Why the machine, which is this node's, cannot be read. */
  readonly unreadable: string | undefined;
  /** The machine as the API server has it; undefined when there is none in the whole cluster. */
  readonly found: { readonly nodeName: string | undefined } | undefined;
  readonly isMoving: boolean;
}

/**
 * - remove: nothing of it is anybody's.
 * - expel: the machine is another node's by now, and what is here of its guest ends at once. Its data stay.
 * - leave: something about it is not known, or it is somebody else's work.
 */
export type OrphanDecision =
  | { readonly kind: "remove" }
  | { readonly kind: "expel"; readonly home: string }
  | { readonly kind: "leave"; readonly why: string; readonly lookAgain: boolean };

/**
 * Before data are destroyed, two mistakes are ruled out: an object that cannot
 * be read is not among the store's machines, and a machine whose status was
 * lost is no longer among this node's; neither is nobody's.
 *
 * Before a guest is ended: a migration may have brought it, or be about to let
 * it go on here. Otherwise the machine has been started elsewhere, while this
 * node was taken for switched off, and two guests would write to one disk.
 */
export const judgeOrphan = ({ nodeName, unreadable, found, isMoving }: OrphanFacts): OrphanDecision => {
  if (unreadable !== undefined) return leave(`its machine cannot be read: ${unreadable}`);
  if (found === undefined) return { kind: "remove" };
  if (found.nodeName === undefined) return leave("its machine exists, and its status names no node");
  if (found.nodeName === nodeName) return leave("its machine is this node's, and the watch is late", true);
  if (isMoving) return leave("a migration has a say in where its machine is", true);
  return { kind: "expel", home: found.nodeName };
};

const leave = (why: string, lookAgain = false): OrphanDecision => ({ kind: "leave", why, lookAgain });

const LOOK_AGAIN_MS = 5_000;

/**
 * No machine of this node has this UID, the stores are in sync, and no migration
 * that they know holds it. Rejects, and has done nothing, when the API server
 * cannot be asked.
 */
export const removeOrphan = async (
  uid: string,
  options: OrphanOptions,
  context: StepContext,
  signal: AbortSignal,
): Promise<ReconcileResult> => {
  if (!(await isAnywhere(uid, context, signal))) return done;
  const decision = judgeOrphan(await factsOf(uid, options, signal));
  switch (decision.kind) {
    case "leave":
      options.logger.warn({ uid }, `what is here of a guest is left alone: ${decision.why}`);
      return decision.lookAgain ? requeueAfter(LOOK_AGAIN_MS) : done;
    case "remove":
      await removeGuest(uid, context, { signal });
      options.agentMetrics.orphanRemoved();
      options.logger.info({ uid }, "removed what was left of a machine that no longer exists");
      return done;
    case "expel":
      await expel(uid, decision.home, options, context, signal);
      return done;
  }
};

/** In this order: see IsMoving. */
const factsOf = async (
  uid: string,
  { nodeName, store, machines, isMoving }: OrphanOptions,
  signal: AbortSignal,
): Promise<OrphanFacts> => {
  const unreadable = store.unreadable().find((object) => object.uid === uid)?.message;
  const moves = await isMoving(uid, { signal });
  const found = await machines.findInCluster(uid, { signal });
  return { nodeName, unreadable, found, isMoving: moves };
};

/**
 * The guest ends at once, without a word to it: whatever it still wrote would be
 * written over what its other self writes. Its data stay, wherever they are: in
 * a shared pool they are the other node's, and a copy of a moved machine that
 * was left here is not worth the mistake of deleting the only one.
 */
const expel = async (
  uid: string,
  home: string,
  { logger, agentMetrics }: OrphanOptions,
  context: StepContext,
  signal: AbortSignal,
): Promise<void> => {
  const { domains, links, cloudInit } = context;
  const guest = await domains.observe(uid, { signal });
  const hadParts = await hasParts(uid, context, signal);
  await domains.remove(uid, { signal });
  await links.remove(uid, { signal });
  await context.syncNetwork();
  await cloudInit.remove(uid, { signal });
  if (hadParts) {
    agentMetrics.strangerRemoved();
    const what = isOn(guest) ? "ended a guest" : "removed what was left of a guest";
    logger.warn({ uid, home }, `${what} whose machine is on another node by now`);
  }
  const pool = await unsharedPoolOf(uid, context, signal);
  if (pool === undefined) return;
  agentMetrics.diskStranded();
  logger.warn({ uid, home, pool }, "the root disk of a machine that is on another node is left alone");
};

/** The pool with a root disk of the machine that only this node sees. */
const unsharedPoolOf = async (
  uid: string,
  { volumes }: StepContext,
  signal: AbortSignal,
): Promise<string | undefined> => {
  const pools = await volumes.pools({ signal });
  const isShared = (pool: string): boolean => pools.some(({ name, shared }) => name === pool && shared);
  const disks = await volumes.disks.list({ signal });
  return disks.find(({ ref }) => ref.kind === "root" && ref.uid === uid && !isShared(ref.pool))?.ref.pool;
};

const hasParts = async (
  uid: string,
  { domains, cloudInit, links }: StepContext,
  signal: AbortSignal,
): Promise<boolean> => {
  if ((await domains.observe(uid, { signal })) !== undefined) return true;
  const lists = await Promise.all([cloudInit, links].map((room) => room.list({ signal })));
  return lists.some((uids) => uids.includes(uid));
};

const isAnywhere = async (uid: string, context: StepContext, signal: AbortSignal): Promise<boolean> => {
  if (await hasParts(uid, context, signal)) return true;
  const disks = await context.volumes.disks.list({ signal });
  return disks.some(
    ({ ref, state }) => ref.kind === "root" && ref.uid === uid && state !== "kept" && state !== "damaged",
  );
};

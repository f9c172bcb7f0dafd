import { type Condition, findCondition } from "../../api/condition.ts";
import type { VirtualMachineMigration } from "../../api/virtual-machine-migration.ts";
import type { VirtualMachine } from "../../api/virtual-machine.ts";
import { type Draft, draftOf, observed, sentence } from "../conditions.ts";
import { isLost } from "../hypervisor/status.ts";
import { isInFlight, isTerminal } from "../virtual-machine-migration/phase.ts";
import { waitsForSlot } from "../virtual-machine-migration/slots.ts";
import { WAITING_FOR_TURN } from "../virtual-machine-snapshot/turn.ts";
import { attemptOf, drainName } from "./names.ts";
import type { DrainFacts, MachineOnNode } from "./observe.ts";

export const DRAINED = "Drained";

export type DrainStep =
  | { readonly kind: "create"; readonly machine: VirtualMachine; readonly name: string }
  | { readonly kind: "delete"; readonly migration: VirtualMachineMigration }
  /** All that the drain says of the Hypervisor; nothing when it is not to be emptied. */
  | { readonly kind: "say"; readonly conditions: readonly Condition[] };

export interface DrainDecision {
  readonly steps: readonly DrainStep[];
  /** Look again after this time, in ms, if nothing changes before. */
  readonly requeueAfterMs?: number;
}

/** How long what has succeeded can be looked at. */
const KEPT_MS = 300_000;
const FIRST_RETRY_MS = 30_000;
const LAST_RETRY_MS = 600_000;

/**
 * What to do to empty a node. Pure. Machines are moved a few at a time: no more
 * migrations are made than the node may move, beside those that wait for
 * something else, such as room.
 */
export const decideDrain = (facts: DrainFacts, now: Date): DrainDecision => {
  const { drain } = facts.hypervisor.spec;
  const plans = drain && !isLost(facts.hypervisor) ? planMoves(facts, now) : [];
  const steps = [
    ...(drain ? [] : facts.own.filter(isCancellable).map(remove)),
    ...facts.own.filter((migration) => isObsolete(facts, migration, now)).map(remove),
    ...plans.flatMap(({ step }) => step ?? []),
    ...say(facts, now),
  ];
  const waits = [
    ...plans.flatMap(({ waitMs }) => waitMs ?? []),
    ...facts.own
      .filter(({ status }) => status?.phase === "Succeeded")
      .map((migration) => KEPT_MS - ageMs(migration, now))
      .filter((ms) => ms > 0),
  ];
  return { steps, ...(waits.length > 0 && { requeueAfterMs: Math.max(1, Math.min(...waits)) }) };
};

const remove = (migration: VirtualMachineMigration): DrainStep => ({ kind: "delete", migration });

/** What has been accepted goes on, though nobody asks for it any more. */
const isCancellable = (migration: VirtualMachineMigration): boolean =>
  !isTerminal(migration) && !isInFlight(migration) && migration.metadata.deletionTimestamp === undefined;

/** Succeeded a while ago, or another attempt has been made since. */
const isObsolete = ({ own }: DrainFacts, migration: VirtualMachineMigration, now: Date): boolean => {
  if (!isTerminal(migration) || migration.metadata.deletionTimestamp !== undefined) return false;
  if (migration.status?.phase === "Succeeded") return ageMs(migration, now) >= KEPT_MS;
  return own.some(
    (other) =>
      other.metadata.namespace === migration.metadata.namespace &&
      other.spec.virtualMachine === migration.spec.virtualMachine &&
      attemptOf(other) > attemptOf(migration),
  );
};

/** Time since it was over, in ms. */
const ageMs = ({ metadata, status }: VirtualMachineMigration, now: Date): number => {
  const overAt =
    status?.completedAt ??
    findCondition(status?.conditions, "Stalled")?.lastTransitionTime ??
    findCondition(status?.conditions, "Ready")?.lastTransitionTime ??
    metadata.creationTimestamp;
  return now.getTime() - Date.parse(overAt);
};

interface Move {
  readonly step?: DrainStep;
  readonly waitMs?: number;
}

const planMoves = ({ hypervisor, machines, own }: DrainFacts, now: Date): readonly Move[] => {
  let places = hypervisor.spec.maxParallelMigrations - own.filter(takesPlace).length;
  return machines.filter(needsMove).map(({ machine }) => {
    const attempts = own.filter(({ metadata }) =>
      (metadata.ownerReferences ?? []).some(({ uid }) => uid === machine.metadata.uid),
    );
    const last = attempts.toSorted((a, b) => attemptOf(b) - attemptOf(a))[0];
    const waitMs = last === undefined ? 0 : retryAfterMs(attemptOf(last)) - ageMs(last, now);
    if (waitMs > 0) return { waitMs };
    if (places <= 0) return {};
    places -= 1;
    const attempt = last === undefined ? 1 : attemptOf(last) + 1;
    return { step: { kind: "create", machine, name: drainName(machine, hypervisor.metadata.name, attempt) } };
  });
};

const retryAfterMs = (attempt: number): number =>
  Math.min(LAST_RETRY_MS, FIRST_RETRY_MS * 2 ** (attempt - 1));

/** Does it move, or will it as soon as it is its turn? One that waits for room keeps nobody waiting. */
const takesPlace = (migration: VirtualMachineMigration): boolean => {
  if (isTerminal(migration)) return false;
  if (isInFlight(migration) || waitsForSlot(migration)) return true;
  return findCondition(migration.status?.conditions, "Ready")?.reason === WAITING_FOR_TURN;
};

/** Not one that goes anyway, nor one that somebody moves already. */
const needsMove = ({ machine, migrations }: MachineOnNode): boolean =>
  machine.metadata.deletionTimestamp === undefined && migrations.every(isTerminal);

/** Says nothing when it is said already. */
const say = (facts: DrainFacts, now: Date): readonly DrainStep[] => {
  const { hypervisor } = facts;
  const stored = findCondition(hypervisor.status?.conditions, DRAINED);
  if (!hypervisor.spec.drain) return stored === undefined ? [] : [{ kind: "say", conditions: [] }];
  const draft = draftFor(facts);
  const isSaid =
    stored?.status === draft.status &&
    stored.reason === draft.reason &&
    stored.message === draft.message &&
    stored.observedGeneration === hypervisor.metadata.generation;
  return isSaid ? [] : [{ kind: "say", conditions: observed(hypervisor, [draft], now).conditions }];
};

/** Machines that a message names; the rest is counted. */
const MAX_NAMED = 8;

const draftFor = ({ hypervisor, machines, unreadableMachines }: DrainFacts): Draft => {
  if (unreadableMachines > 0)
    return draftOf(
      DRAINED,
      "Unknown",
      "UnreadableMachines",
      "The controller cannot understand some machines, and so does not know whether they are on the node; its log says more.",
    );
  const count = machines.length;
  if (count === 0) return draftOf(DRAINED, "True", "Empty", "No machine is on the node.");
  const left = count === 1 ? "One machine is left" : `${count} machines are left`;
  if (isLost(hypervisor))
    return draftOf(
      DRAINED,
      "False",
      "NodeLost",
      `${left}, and the node gives no sign of life; nothing can be moved away from it.`,
    );
  const obstacles = machines.flatMap((each) => obstacleOf(each) ?? []);
  const rest = obstacles.length - MAX_NAMED;
  const reasons = [...obstacles.slice(0, MAX_NAMED), ...(rest > 0 ? [`And ${rest} more.`] : [])];
  return draftOf(DRAINED, "False", "Draining", [`${left}.`, ...reasons].join(" "));
};

/** Why a machine cannot move now; undefined when it does, or waits for its turn alone. */
const obstacleOf = ({ machine, migrations }: MachineOnNode): string | undefined => {
  const latest = migrations.toSorted((a, b) => attemptOf(b) - attemptOf(a));
  const migration = latest.find((each) => !isTerminal(each)) ?? latest[0];
  if (migration === undefined || isInFlight(migration) || takesPlace(migration)) return undefined;
  const ready = findCondition(migration.status?.conditions, "Ready");
  if (ready === undefined || ready.status === "True") return undefined;
  return `${machine.metadata.namespace}/${machine.metadata.name}: ${sentence(ready.message)}`;
};

import { LEFTOVERS_FINALIZER } from "../../api/virtual-machine-migration.ts";
import { explainPlacement } from "../scheduler/explain.ts";
import { schedule } from "../scheduler/schedule.ts";
import type { Candidate } from "../scheduler/types.ts";
import { relocationCandidates, relocationRequest } from "../virtual-machine/relocation.ts";
import { passing, type Violation } from "../virtual-machine/violation.ts";

import { WAITING_FOR_TURN } from "../virtual-machine-snapshot/turn.ts";
import type { MigrationFacts } from "./observe.ts";
import { endsOf } from "./phase.ts";
import {
  afterElders,
  countAhead,
  obstacleOf,
  saturationOf,
  type SlotFacts,
  TOO_MANY_MIGRATIONS,
} from "./slots.ts";

/** Where the machine moves to, or why it waits. */
export type TargetChoice =
  | { readonly kind: "node"; readonly nodeName: string }
  | { readonly kind: "none"; readonly violation: Violation };

/** Pure: chooses the target of a migration that has passed every check. */
export const chooseTarget = (facts: MigrationFacts, { isOn }: { readonly isOn: boolean }): TargetChoice => {
  const { machine, migration, source } = facts;
  if (machine === undefined) throw new Error("a target is chosen before the checks have passed");
  const slots = slotsFor(facts);
  const { targetNode } = migration.spec;
  const sourceNode = machine.status?.nodeName ?? "";
  const obstacle = obstacleOf(slots, { sourceNode, targetNode });
  if (obstacle !== undefined) return none(waitingForSlot(facts, obstacle));
  const relocation = { ...facts, machine, hypervisor: source };
  const request = relocationRequest(relocation);
  const eligible = relocationCandidates(relocation, { isOn }).filter(
    ({ name }) => targetNode === undefined || name === targetNode,
  );
  const leftovers = leftoversOf(facts);
  const candidates = eligible.filter(({ name }) => !leftovers.has(name));
  if (candidates.length < eligible.length && schedule(request, candidates).kind !== "placed")
    return none(waitingForRelease(leftovers));
  const isFree = ({ name }: Candidate): boolean => saturationOf(slots, name) === undefined;
  const choice = schedule(request, candidates.filter(isFree));
  if (choice.kind === "placed") return { kind: "node", nodeName: choice.node };
  const later = schedule(request, candidates);
  if (later.kind === "placed")
    return none(waitingForSlot(facts, `Node ${later.node} ${saturationOf(slots, later.node)}.`));
  const message =
    candidates.length === 0
      ? "There is no other node that the machine could move to."
      : explainPlacement(later);
  return none(passing("Unschedulable", message));
};

/**
 * The nodes that have not let go of the machine since they were an end of an
 * earlier migration, by the name of that. What a machine has left there would be
 * in its way, or be taken for what it has brought.
 */
const leftoversOf = ({ migration, migrations }: MigrationFacts): ReadonlyMap<string, string> =>
  new Map(
    migrations.flatMap((other): readonly (readonly [string, string])[] => {
      const ends = endsOf(other);
      const isLetGo = !(other.metadata.finalizers ?? []).includes(LEFTOVERS_FINALIZER);
      if (ends === undefined || isLetGo || other.metadata.uid === migration.metadata.uid) return [];
      const nodeName = other.status?.phase === "Succeeded" ? ends.sourceNode : ends.targetNode;
      return [[nodeName, other.metadata.name]];
    }),
  );

const waitingForRelease = (leftovers: ReadonlyMap<string, string>): Violation => {
  const places = [...leftovers].map(
    ([node, former]) => `node ${node} has nothing left of the machine from VirtualMachineMigration ${former}`,
  );
  return passing(WAITING_FOR_TURN, `It begins when ${places.join(", and ")}.`);
};

const none = (violation: Violation): TargetChoice => ({ kind: "none", violation });

const slotsFor = (facts: MigrationFacts): SlotFacts => {
  const hypervisors = facts.nodes.map(({ hypervisor }) => hypervisor);
  return afterElders({ ...facts, hypervisors }, facts.migration, facts.queue);
};

const waitingForSlot = ({ migration, queue }: MigrationFacts, obstacle: string): Violation => {
  const ahead = countAhead(migration, queue);
  const others =
    ahead === 0
      ? "It is the next."
      : `${ahead} that ${ahead === 1 ? "waits" : "wait"} longer ${ahead === 1 ? "is" : "are"} ahead of it.`;
  return passing(TOO_MANY_MIGRATIONS, `It waits for its turn. ${obstacle} ${others}`);
};

import { type Condition, findCondition } from "../../api/condition.ts";
import type { VirtualMachine } from "../../api/virtual-machine.ts";
import { type Draft, draftOf, observed } from "../conditions.ts";
import { noResources } from "../scheduler/types.ts";
import { isSameStatus } from "../status-writer.ts";
import { type DiskPlace, judgeCdroms, judgeVolumes } from "./attachments.ts";
import { prerequisites, securityGroupsExist } from "./checks.ts";
import type { PlacedFacts } from "./observe.ts";
import type { ResizeChoice } from "./resize.ts";
import { type MachineStatus, prerequisiteDraft, SCHEDULED, VALID } from "./status.ts";

/**
 * What the controller alone says of a machine on a node, whoever speaks for it.
 * Most of it stays as it was when the machine was placed; size, volumes, CD-ROMs
 * and groups follow the spec for as long as the machine lives.
 */

export type OwnStatus = Pick<MachineStatus, "nodeName" | "allocation" | "conditions">;

/** There only while the machine does not have the size that it asks for. */
export const RESIZE_PENDING = "ResizePending";

const ownConditions: readonly string[] = [...prerequisites, SCHEDULED, RESIZE_PENDING];

/** What was said last, word for word: left out of an apply, it would be taken away. */
export const storedStatus = ({ status }: VirtualMachine): OwnStatus => ({
  ...(status?.nodeName !== undefined && { nodeName: status.nodeName }),
  ...(status?.allocation !== undefined && { allocation: status.allocation }),
  conditions: ownConditions.flatMap((type) => findCondition(status?.conditions, type) ?? []),
});

/** What is to be said now. Saying the same again gives the same value. */
export const standingStatus = (facts: PlacedFacts, resize: ResizeChoice, now: Date): OwnStatus => {
  const { machine } = facts;
  const stored = storedStatus(machine);
  const volumes = judgeVolumes(machine, facts.volumes, placeOf(facts));
  const cdroms = judgeCdroms(machine, facts.cdroms);
  const drafts = [
    prerequisiteDraft("ImageReady", cdroms.violation),
    prerequisiteDraft("SecurityGroupsReady", securityGroupsExist(facts)),
    prerequisiteDraft("VolumesReady", volumes.violation),
    ...resizeDrafts(resize),
  ];
  const { allocation } = stored;
  return {
    ...stored,
    ...(allocation !== undefined && {
      allocation: {
        ...allocation,
        ...(resize.kind === "granted" && { flavor: resize.resize.size }),
        volumes: someOf(volumes.allocated),
        cdroms: someOf(cdroms.allocated),
      },
    }),
    conditions: conditionsOf(machine, drafts, now),
  };
};

export const saysStanding = (machine: VirtualMachine, wanted: OwnStatus): boolean =>
  isSameStatus(storedStatus(machine), wanted);

/** An empty list is left out. */
const someOf = <T>(list: readonly T[]): T[] | undefined => (list.length === 0 ? undefined : [...list]);

const placeOf = ({ nodeName, node }: PlacedFacts): DiskPlace => {
  const { allocatable, allocated } = node ?? { allocatable: noResources, allocated: noResources };
  const pools = Object.entries(allocatable.disks);
  const freeMiB = Object.fromEntries(
    pools.map(([pool, sizeMiB]) => [pool, sizeMiB - (allocated.disks[pool] ?? 0)] as const),
  );
  return { nodeName, freeMiB };
};

const resizeDrafts = (resize: ResizeChoice): readonly Draft[] =>
  resize.kind === "pending" ? [draftOf(RESIZE_PENDING, "True", resize.reason, resize.message)] : [];

const conditionsOf = (machine: VirtualMachine, drafts: readonly Draft[], now: Date): readonly Condition[] =>
  ownConditions.flatMap((type) => {
    const stored = findCondition(machine.status?.conditions, type);
    const draft = drafts.find((candidate) => candidate.type === type);
    if (draft === undefined) return type === RESIZE_PENDING || stored === undefined ? [] : [stored];
    return isSaid(stored, draft) ? (stored ?? []) : observed(machine, [draft], now).conditions;
  });

/** A machine that was placed before a condition existed: no news is good news. */
const isSaid = (stored: Condition | undefined, { status, reason, message }: Draft): boolean => {
  if (stored === undefined) return reason === VALID;
  return (
    stored.status === status && stored.reason === reason && (reason === VALID || stored.message === message)
  );
};

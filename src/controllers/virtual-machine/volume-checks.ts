import type { DataPlace } from "../scheduler/types.ts";
import { judgeCdroms, judgeVolumes } from "./attachments.ts";
import { sourceOf } from "./image-checks.ts";
import type { UnplacedFacts } from "./observe.ts";
import { lasting, type Violation } from "./violation.ts";

/** Disks and CD-ROMs beside the root disk, before the machine is placed. */

type Facts = Pick<UnplacedFacts, "machine" | "image" | "imageReports" | "source" | "volumes" | "cdroms">;

export const cdromsAreUsable = ({ machine, cdroms }: Facts): Violation | undefined =>
  judgeCdroms(machine, cdroms).violation;

export const volumesAreTheMachines = ({ machine, volumes }: Facts): Violation | undefined =>
  judgeVolumes(machine, volumes, undefined).violation;

export const volumesAreOnOneNode = (facts: Facts): Violation | undefined => {
  const [first, ...others] = dataPlaces(facts);
  const other = others.find(({ nodeName }) => nodeName !== first?.nodeName);
  if (first === undefined || other === undefined) return undefined;
  return lasting(
    "VolumesOnDifferentNodes",
    `${capitalised(first.what)} is on node ${first.nodeName}, and ${other.what} on node ${other.nodeName}; a machine is on one. Name disks of one node.`,
  );
};

/** The data that the machine has to go to: disks that one node has and others cannot read. */
export const dataPlaces = (facts: Facts): readonly DataPlace[] => {
  const source = sourceOf(facts);
  const ofSource =
    source?.kind === "found" && source.found.sharedPool === undefined
      ? [{ nodeName: source.found.nodeName, what: "the disk that its root disk is a copy of" }]
      : [];
  const ofVolumes = facts.volumes.flatMap(({ name, volume, isShared }) => {
    const nodeName = volume?.status?.nodeName;
    return nodeName === undefined || isShared ? [] : [{ nodeName, what: `Volume ${name}` }];
  });
  return [...ofSource, ...ofVolumes];
};

const capitalised = (text: string): string => text.charAt(0).toUpperCase() + text.slice(1);

import type { VirtualMachine } from "../../api/virtual-machine.ts";
import { addResources, noResources, type Resources } from "../scheduler/types.ts";
import { takenBy } from "../virtual-machine/size.ts";
import type { Ends } from "./phase.ts";

/** A machine on its way from one node to another. */
export interface Flight extends Ends {
  readonly machineUid: string;
}

/** A Volume as far as room is concerned. */
export interface SizedVolume {
  readonly nodeName: string | undefined;
  readonly pool: string;
  readonly sizeMiB: number;
}

/** Room that is kept on a node. */
export interface Claim {
  readonly nodeName: string;
  readonly resources: Resources;
}

/**
 * What a machine on its way takes of both nodes, beyond what is counted for it
 * and its Volumes by where they are said to be: the target must have the room
 * before the machine comes, and the source must still have it when the machine
 * has to stay after all. So nothing is counted twice, whichever of their
 * statuses has been changed already.
 */
export const claimsOf = (
  { sourceNode, targetNode }: Flight,
  machine: VirtualMachine,
  volumes: readonly SizedVolume[],
): readonly Claim[] =>
  [sourceNode, targetNode].map((nodeName) => {
    const isHere = machine.status?.nodeName === nodeName;
    const absent = volumes.filter((volume) => volume.nodeName !== nodeName);
    const resources = absent
      .map(({ pool, sizeMiB }) => ({ vcpus: 0, memoryMiB: 0, disks: { [pool]: sizeMiB } }))
      .reduce<Resources>(addResources, isHere ? noResources : takenBy(machine));
    return { nodeName, resources };
  });

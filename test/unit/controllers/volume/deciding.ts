import { decideVolume, type VolumeDecision } from "../../../../src/controllers/volume/decide.ts";
import { observeVolume } from "../../../../src/controllers/volume/observe.ts";
import { keyOf } from "../../../../src/kube/index.ts";
import { type Held, statusOf, storesWith, type volumeWith } from "../disk-objects.ts";
import { hypervisorWith, NOW, uidOf } from "../objects.ts";

/** A node that has the pool local, and these, which others have too. */
export const node = (name: string, shared: readonly string[] = [], more = {}) =>
  hypervisorWith(
    {
      storagePools: [
        { name: "local", shared: false, wipe: "None", capacityMiB: 1000, availableMiB: 1000 },
        ...shared.map((pool) => ({
          name: pool,
          shared: true,
          wipe: "None" as const,
          capacityMiB: 1000,
          availableMiB: 1000,
        })),
      ],
      ...more,
    },
    { name, uid: uidOf(name) },
  );

export const NODES = [node("node-1"), node("node-2")];

/** What is done about the first of the volumes. */
export const decide = (
  held: Held & { readonly volumes: readonly ReturnType<typeof volumeWith>[] },
  seenForMs = 60_000,
) => {
  const [volume] = held.volumes;
  if (volume === undefined) throw new Error("no volume");
  const facts = observeVolume(storesWith({ hypervisors: NODES, ...held }), keyOf(volume), () => seenForMs);
  if (facts === undefined) throw new Error("no facts");
  return decideVolume(facts, NOW);
};

/** What of the status the tests speak of most. */
export const said = ({ steps }: VolumeDecision) => {
  const { nodeName, phase, attachedTo, allocation } = statusOf(steps);
  return { nodeName, phase, attachedTo: attachedTo?.name, allocation };
};

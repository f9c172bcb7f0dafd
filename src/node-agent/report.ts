import { z } from "zod";
import { type VirtualMachine, virtualMachines } from "../api/virtual-machine.ts";
import type { KubeClient, Store } from "../kube/index.ts";
import { type MachineStatusApply, ownConditions } from "./reconcilers/machine/machine-status.ts";
import { createObjectView, isSaid, type ObjectView, type OwnStatus } from "./object-view.ts";

export { FIELD_MANAGER } from "./object-view.ts";

/** What of a machine's status the agent writes. */
export const ownMachineStatus: OwnStatus = {
  fields: ["observedGeneration", "printableStatus", "guest", "pendingChanges"],
  conditions: ownConditions,
};

/** Whether the stored status already says all that the apply says, and nothing of ours beyond. */
export const alreadySaid = ({ status }: VirtualMachine, apply: MachineStatusApply): boolean =>
  isSaid(status, apply.status, ownMachineStatus);

/** The machines of this node. */
export interface MachineView extends ObjectView<VirtualMachine, MachineStatusApply> {
  /**
   * Asks the API server for the machine of this UID, whichever node it names.
   * Of one that cannot be understood, too, it is told where it is.
   */
  findInCluster(
    uid: string,
    options: { signal: AbortSignal },
  ): Promise<{ readonly nodeName: string | undefined } | undefined>;
}

/** As much of a machine as has to be understood, whatever version of Vireo has written the rest. */
const placement = z.object({ status: z.object({ nodeName: z.string().optional() }).optional() });

export const createMachineView = (store: Store<VirtualMachine>, client: KubeClient): MachineView => ({
  ...createObjectView<VirtualMachine, MachineStatusApply>({
    store,
    client,
    resource: virtualMachines,
    own: ownMachineStatus,
  }),
  findInCluster: async (uid, { signal }) => {
    const { items } = await client.listRaw(virtualMachines, { signal });
    const item = items.find(({ metadata }) => metadata.uid === uid);
    return item && { nodeName: placement.safeParse(item).data?.status?.nodeName };
  },
});

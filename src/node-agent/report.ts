import { type VirtualMachine, virtualMachines } from "../api/virtual-machine.ts";
import type { KubeClient, Store } from "../kube/index.ts";
import { type MachineStatusApply, ownConditions } from "./machine-status.ts";
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
export type MachineView = ObjectView<VirtualMachine, MachineStatusApply>;

export const createMachineView = (store: Store<VirtualMachine>, client: KubeClient): MachineView =>
  createObjectView({ store, client, resource: virtualMachines, own: ownMachineStatus });

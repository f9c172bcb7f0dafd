import type { AddressSlice, MachineAddress, NodeAddresses } from "../../api/address-slice.ts";
import { type Controller, createController, done } from "../../kube/index.ts";
import type { ControllerContext, Stores } from "../context.ts";
import { applySlices, type SliceForm } from "./apply.ts";
import { machineList, nodeList } from "./entries.ts";
import { isNodes, type ListFacts, type ListKey, observeMachines, observeNodes } from "./observe.ts";
import { planSlices, type SlicedList } from "./plan.ts";
import { listsAfterHypervisor, listsAfterMachine, listsAfterNetwork, listsAfterSlice } from "./watches.ts";

/**
 * Changes of a list are gathered for so long, in ms, from the first one on, and
 * written together: machines that are made or join a group at once cost few
 * writes, each of which goes to every node.
 */
const GATHER_MS = 50;

/** Keeps AddressSlices equal to the machines and nodes that there are. */
export const createAddressSliceController = (context: ControllerContext): Controller => {
  const { client, stores, metrics, clock, logger } = context;
  const write = async <Entry>(
    list: SlicedList<Entry>,
    { slices, wanted }: ListFacts<Entry>,
    form: SliceForm<Entry>,
    signal: AbortSignal,
  ): Promise<void> => {
    const effects = { client, store: stores.addressSlices, metrics };
    await applySlices(effects, form, planSlices(list, slices, wanted), signal);
  };
  const controller = createController({
    name: "address-slice",
    logger,
    metrics,
    clock,
    watches: [],
    reads: [stores.virtualMachines, stores.networks, stores.hypervisors, stores.addressSlices],
    reconcile: async (key, signal) => {
      if (isNodes(key)) await write(nodeList, observeNodes(stores), nodeForm, signal);
      else await write(machineList, observeMachines(stores, key.name), machineForm(key.name), signal);
      return done;
    },
  });
  gatherChanges(stores, (key) => controller.enqueueAfter(key, GATHER_MS));
  return controller;
};

const nodeForm: SliceForm<NodeAddresses> = {
  prefix: "nodes",
  specOf: (entries): AddressSlice["spec"] => ({ nodes: [...entries] }),
};

const machineForm = (network: string): SliceForm<MachineAddress> => ({
  prefix: network,
  specOf: (entries): AddressSlice["spec"] => ({ network, machines: [...entries] }),
});

/** Made before the stores are run, it hears of all that there is. */
const gatherChanges = (stores: Stores, enqueue: (key: ListKey) => void): void => {
  const all = (keys: readonly ListKey[]): void => {
    for (const key of keys) enqueue(key);
  };
  stores.virtualMachines.onChange((change) => all(listsAfterMachine(change)));
  stores.hypervisors.onChange((change) => all(listsAfterHypervisor(stores, change)));
  stores.networks.onChange((change) => all(listsAfterNetwork(change)));
  stores.addressSlices.onChange((change) => all(listsAfterSlice(change)));
};

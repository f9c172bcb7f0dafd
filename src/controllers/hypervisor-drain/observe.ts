import type { Hypervisor } from "../../api/hypervisor.ts";
import type { VirtualMachineMigration } from "../../api/virtual-machine-migration.ts";
import type { VirtualMachine } from "../../api/virtual-machine.ts";
import type { ObjectKey } from "../../kube/index.ts";
import { byAge } from "../by-age.ts";
import type { Stores } from "../context.ts";
import { BY_DRAIN, BY_MACHINE, BY_NODE } from "../stores.ts";
import { drainLabelOf } from "./names.ts";

export interface DrainFacts {
  readonly hypervisor: Hypervisor;
  /** Machines on the node; the oldest first. */
  readonly machines: readonly MachineOnNode[];
  /** All migrations that were made to empty the node. */
  readonly own: readonly VirtualMachineMigration[];
  /** Machines that exist and cannot be understood: they may be on the node. */
  readonly unreadableMachines: number;
}

export interface MachineOnNode {
  readonly machine: VirtualMachine;
  /** Whoever made them; of earlier machines of the name too. */
  readonly migrations: readonly VirtualMachineMigration[];
}

/** Everything that decide() looks at, at one moment. Reads memory only. */
export const observeDrain = (stores: Stores, key: ObjectKey): DrainFacts | undefined => {
  const hypervisor = stores.hypervisors.get(key);
  if (hypervisor === undefined) return undefined;
  const { name } = hypervisor.metadata;
  return {
    hypervisor,
    machines: stores.virtualMachines
      .byIndex(BY_NODE, name)
      .toSorted(byAge)
      .map((machine) => ({
        machine,
        migrations: stores.virtualMachineMigrations.byIndex(
          BY_MACHINE,
          `${machine.metadata.namespace}/${machine.metadata.name}`,
        ),
      })),
    own: stores.virtualMachineMigrations.byIndex(BY_DRAIN, drainLabelOf(name)),
    unreadableMachines: stores.virtualMachines.unreadable().length,
  };
};

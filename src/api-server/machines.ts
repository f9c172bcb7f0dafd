import { hypervisors } from "../api/hypervisor.ts";
import { type MigrationPhase, virtualMachineMigrations } from "../api/virtual-machine-migration.ts";
import { type VirtualMachine, virtualMachines } from "../api/virtual-machine.ts";
import type { KubeClient } from "../kube/index.ts";
import type { PeerAddress } from "../pki/index.ts";
import { ApiProblem } from "./problem.ts";
import type { Target } from "./target.ts";

/** Reads one by one what a request is about: the api-server holds no copy of the cluster. */
export interface Machines {
  /** Throws ApiProblem when there is none. */
  find(target: Pick<Target, "namespace" | "name">, signal: AbortSignal): Promise<VirtualMachine>;
  /** Where the agent of the machine's node listens. Throws ApiProblem when there is no such place. */
  agentOf(machine: VirtualMachine, signal: AbortSignal): Promise<PeerAddress>;
  /** Whether the machine is on that node, or is being moved there. */
  belongsTo(machine: VirtualMachine, nodeName: string, signal: AbortSignal): Promise<boolean>;
}

/** While a migration is in one of these, its target gets ready to run the machine. */
const MOVING: ReadonlySet<MigrationPhase | undefined> = new Set(["Preparing", "Copying", "Switching"]);

export const subjectOf = (name: string) => ({ kind: "virtualmachines", name });

export const createMachines = (client: KubeClient): Machines => ({
  find: async ({ namespace, name }, signal) => {
    const machine = await client.get(virtualMachines, { namespace, name }, { signal });
    if (machine !== undefined) return machine;
    throw new ApiProblem("NotFound", `virtualmachines.vireo.dev "${name}" not found`, subjectOf(name));
  },
  agentOf: async ({ metadata: { name }, status }, signal) => {
    const nodeName = status?.nodeName;
    if (nodeName === undefined)
      throw new ApiProblem(
        "Conflict",
        `virtual machine "${name}" runs nowhere: it has no node yet (${status?.printableStatus ?? "Pending"}); ` +
          "its conditions say why",
        subjectOf(name),
      );
    const hypervisor = await client.get(hypervisors, { name: nodeName }, { signal });
    const endpoint = hypervisor?.status?.agentEndpoint;
    if (endpoint === undefined)
      throw new ApiProblem(
        "ServiceUnavailable",
        `node "${nodeName}" of virtual machine "${name}" serves no consoles: ` +
          (hypervisor === undefined ? "it has no Hypervisor" : "its agent has no certificate or address yet"),
        subjectOf(name),
      );
    return { endpoint, identity: { kind: "node-agent", nodeName } };
  },
  belongsTo: async ({ metadata: { namespace, uid }, status }, nodeName, signal) => {
    if (status?.nodeName === nodeName) return true;
    const fieldSelector = `status.targetNode=${nodeName}`;
    const { items } = await client.list(virtualMachineMigrations, { namespace, fieldSelector, signal });
    return items.some(
      (migration) => migration.status?.machineUid === uid && MOVING.has(migration.status.phase),
    );
  },
});

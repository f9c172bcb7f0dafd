import { z } from "zod";
import { MIGRATION_FINALIZER, virtualMachineMigrations } from "../../../api/virtual-machine-migration.ts";
import type { KubeClient } from "../../../kube/index.ts";

/**
 * Whether a migration that this node is an end of still has a say in where the
 * machine is. Asks the API server, since a watch may be late.
 *
 * To be asked before it is read where the machine is, and while nobody else
 * works on the machine here: a guest of a migration comes to be on this node,
 * or is about to go on here, only by work of this agent, so that a migration
 * which begins between the two reads has nothing here yet. And the controller
 * takes the finalizer away after it has written where the machine is, so that
 * whoever sees it gone sees that too.
 */
export type IsMoving = (machineUid: string, options: { readonly signal: AbortSignal }) => Promise<boolean>;

const OVER: ReadonlySet<string> = new Set(["Succeeded", "Failed", "Cancelled"]);

/** As much of a migration as has to be understood, whatever version of Vireo has written the rest. */
const migration = z.object({
  metadata: z.object({ finalizers: z.array(z.string()).default([]) }),
  status: z.object({ machineUid: z.string().optional(), phase: z.string().optional() }).default({}),
});

/** One that cannot be understood may be the machine's. */
const hasSay = (raw: unknown, machineUid: string): boolean => {
  const { success, data } = migration.safeParse(raw);
  if (!success) return true;
  const { metadata, status } = data;
  if (status.machineUid !== undefined && status.machineUid !== machineUid) return false;
  return !OVER.has(status.phase ?? "") || metadata.finalizers.includes(MIGRATION_FINALIZER);
};

export const createIsMoving =
  ({
    client,
    nodeName,
  }: {
    readonly client: Pick<KubeClient, "listRaw">;
    readonly nodeName: string;
  }): IsMoving =>
  async (machineUid, { signal }) => {
    const lists = await Promise.all(
      ["sourceNode", "targetNode"].map((end) =>
        client.listRaw(virtualMachineMigrations, { fieldSelector: `status.${end}=${nodeName}`, signal }),
      ),
    );
    return lists.some(({ items }) => items.some((item) => hasSay(item, machineUid)));
  };

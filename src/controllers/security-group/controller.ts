import { type Controller, createController, done, requeueAfter } from "../../kube/index.ts";
import type { ControllerContext } from "../context.ts";
import { applyGroup, makeDefaultGroup } from "./apply.ts";
import { decideGroup } from "./decide.ts";
import { observeGroup } from "./observe.ts";
import { groupsAfterGroup, groupsAfterHypervisor, groupsAfterMachine } from "./watches.ts";

/**
 * Says of each SecurityGroup who is in it and whether its rules are in force,
 * keeps it while machines are in it, and makes the one that machines are in
 * which name none.
 */
export const createSecurityGroupController = (context: ControllerContext): Controller => {
  const { stores, clock, logger, metrics } = context;
  /** When this process last wrote the status of which group. */
  const writtenAt = new Map<string, number>();
  const sinceWriteMs = (uid: string): number | undefined => {
    const at = writtenAt.get(uid);
    return at === undefined ? undefined : clock.monotonic() - at;
  };
  stores.securityGroups.onChange(({ before, after }) => {
    if (before !== undefined && before.metadata.uid !== after?.metadata.uid)
      writtenAt.delete(before.metadata.uid);
  });
  return createController({
    name: "security-group",
    logger,
    metrics,
    clock,
    watches: [
      { store: stores.securityGroups, map: (change) => groupsAfterGroup(stores, change) },
      { store: stores.virtualMachines, map: groupsAfterMachine },
      { store: stores.hypervisors, map: (change) => groupsAfterHypervisor(stores, change) },
    ],
    reconcile: async (key, signal) => {
      const facts = observeGroup(stores, key, sinceWriteMs);
      if (facts === undefined) return done;
      if (facts.kind === "default-missing") {
        await makeDefaultGroup(context, facts.namespace, signal);
        return done;
      }
      const { steps, requeueAfterMs } = decideGroup(facts, new Date(clock.now()));
      if (steps.some(({ kind }) => kind === "apply-status"))
        writtenAt.set(facts.group.metadata.uid, clock.monotonic());
      await applyGroup(context, facts.group, steps, signal);
      return requeueAfterMs === undefined ? done : requeueAfter(requeueAfterMs);
    },
  });
};

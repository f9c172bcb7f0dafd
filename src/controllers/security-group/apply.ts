import { type SecurityGroup, securityGroups } from "../../api/security-group.ts";
import { isNotFound } from "../../kube/index.ts";
import type { ControllerContext } from "../context.ts";
import { writeFinalizers } from "../finalizers.ts";
import { applyStatus } from "../status-writer.ts";
import type { GroupStep } from "./decide.ts";
import { defaultGroup } from "./default-group.ts";

export type GroupEffects = Pick<ControllerContext, "client" | "stores" | "events">;

/**
 * Makes the group default. One that exists by now is a conflict, upon which
 * everything is looked at anew; a namespace that is gone wants none.
 */
export const makeDefaultGroup = async (
  { client, stores, events }: GroupEffects,
  namespace: string,
  signal: AbortSignal,
): Promise<void> => {
  try {
    const made = await client.create(securityGroups, defaultGroup(namespace), { signal });
    await stores.securityGroups.whenSeen(made.metadata.resourceVersion, signal);
    events.event(made, "Normal", "Created", "Made for the machines of the namespace that name no group.");
  } catch (error) {
    if (!isNotFound(error)) throw error;
  }
};

/**
 * Carries the steps out. Each write is bound to the version that the one before
 * it has made: whatever comes between ends it with a conflict, and everything is
 * looked at anew.
 */
export const applyGroup = async (
  effects: GroupEffects,
  group: SecurityGroup,
  steps: readonly GroupStep[],
  signal: AbortSignal,
): Promise<void> => {
  let current: SecurityGroup | undefined = group;
  for (const step of steps) {
    if (current === undefined) return;
    current = await execute(effects, current, step, signal);
  }
};

const execute = async (
  { client, stores, events }: GroupEffects,
  group: SecurityGroup,
  step: GroupStep,
  signal: AbortSignal,
): Promise<SecurityGroup | undefined> => {
  switch (step.kind) {
    case "write-finalizers":
      return writeFinalizers(client, securityGroups, group, step.finalizers, signal);
    case "apply-status": {
      const write = { client, resource: securityGroups, store: stores.securityGroups, signal };
      return applyStatus(write, group, step.status);
    }
    case "announce": {
      const { type, reason, message } = step.announcement;
      events.event(group, type, reason, message);
      return group;
    }
  }
};

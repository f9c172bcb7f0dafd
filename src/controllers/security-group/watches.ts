import { isTrue } from "../../api/condition.ts";
import type { EnforcedGroup, Hypervisor } from "../../api/hypervisor.ts";
import { groupNamesOf, type SecurityGroup } from "../../api/security-group.ts";
import type { VirtualMachine } from "../../api/virtual-machine.ts";
import { type Change, formatKey, keyOf, type ObjectKey } from "../../kube/index.ts";
import type { Stores } from "../context.ts";
import { isLost } from "../hypervisor/status.ts";
import { BY_NODE, BY_REMOTE_GROUP } from "../stores.ts";

/** Which groups a change concerns. */

/** The group itself; and when it comes or goes, those whose rules speak of it. */
export const groupsAfterGroup = (stores: Stores, change: Change<SecurityGroup>): readonly ObjectKey[] => {
  const { key, before, after, unreadable } = change;
  const isSame = unreadable || before?.metadata.uid === after?.metadata.uid;
  if (before !== undefined && isSame) return [key];
  return [key, ...stores.securityGroups.byIndex(BY_REMOTE_GROUP, formatKey(key)).map(keyOf)];
};

/** The groups that the machine is in or was in, when that, its node or whether it exists has changed. */
export const groupsAfterMachine = ({ before, after }: Change<VirtualMachine>): readonly ObjectKey[] => {
  if (before !== undefined && after !== undefined && standing(before) === standing(after)) return [];
  return [before, after].flatMap((machine) => (machine === undefined ? [] : groupsOf(machine)));
};

const standing = ({ metadata, spec, status }: VirtualMachine): string =>
  JSON.stringify([
    metadata.uid,
    metadata.deletionTimestamp === undefined,
    groupNamesOf(spec.securityGroups),
    status?.nodeName,
    isTrue(status?.conditions, "Released"),
  ]);

const groupsOf = ({ metadata, spec }: VirtualMachine): readonly ObjectKey[] =>
  groupNamesOf(spec.securityGroups).map((name) => ({ namespace: metadata.namespace, name }));

/** The groups of which the node says something new; all that it has machines of when it is lost, or back. */
export const groupsAfterHypervisor = (stores: Stores, change: Change<Hypervisor>): readonly ObjectKey[] => {
  const { key, before, after } = change;
  if (isSilent(before) !== isSilent(after))
    return stores.virtualMachines.byIndex(BY_NODE, key.name).flatMap(groupsOf);
  const then = said(before);
  const now = said(after);
  return [...new Set([...then.keys(), ...now.keys()])].flatMap((uid) => {
    const [old, current] = [then.get(uid), now.get(uid)];
    if (old?.generation === current?.generation && old?.programmedAt === current?.programmedAt) return [];
    const { namespace, name } = current ?? old ?? {};
    return name === undefined ? [] : [{ namespace, name }];
  });
};

const isSilent = (hypervisor: Hypervisor | undefined): boolean =>
  hypervisor === undefined || isLost(hypervisor);

const said = (hypervisor: Hypervisor | undefined): ReadonlyMap<string, EnforcedGroup> =>
  new Map((hypervisor?.status?.securityGroups ?? []).map((entry) => [entry.uid, entry]));

import type { Hypervisor } from "../../../../src/api/hypervisor.ts";
import type { KubernetesObject } from "../../../../src/api/meta.ts";
import type { SecurityGroup } from "../../../../src/api/security-group.ts";
import type { VirtualMachine } from "../../../../src/api/virtual-machine.ts";
import type { Stores } from "../../../../src/controllers/context.ts";
import { machineIndexes, securityGroupIndexes } from "../../../../src/controllers/stores.ts";
import { formatKey, keyOf, type ObjectKey, UnreadableObjectError } from "../../../../src/kube/index.ts";

export interface Held {
  readonly machines?: readonly VirtualMachine[];
  readonly groups?: readonly SecurityGroup[];
  readonly hypervisors?: readonly Hypervisor[];
  /** "namespace/name" or "name" of objects that exist and cannot be understood. */
  readonly unreadable?: readonly string[];
}

type Indexes<T> = Readonly<Record<string, (object: T) => readonly string[]>>;

const storeOf = <T extends KubernetesObject>(
  objects: readonly T[],
  unreadable: readonly string[],
  indexes: Indexes<T> = {},
) => ({
  get: (key: ObjectKey): T | undefined => {
    if (unreadable.includes(formatKey(key))) throw new UnreadableObjectError("spec: not understood");
    return objects.find((object) => formatKey(keyOf(object)) === formatKey(key));
  },
  list: () => objects,
  unreadable: () =>
    unreadable.map((id) => {
      const [namespace = "", name = ""] = id.split("/");
      return { key: { namespace, name } };
    }),
  byIndex: (index: string, value: string) =>
    objects.filter((object) => indexes[index]?.(object).includes(value)),
});

/** Stores that hold these objects, with the real ones' indexes. */
export const storesWith = ({ machines = [], groups = [], hypervisors = [], unreadable = [] }: Held): Stores =>
  ({
    virtualMachines: storeOf(machines, unreadable, machineIndexes),
    securityGroups: storeOf(groups, unreadable, securityGroupIndexes),
    hypervisors: storeOf(hypervisors, unreadable),
  }) as unknown as Stores;

import { flavors } from "../api/flavor.ts";
import { floatingIps } from "../api/floating-ip.ts";
import { hypervisors } from "../api/hypervisor.ts";
import { images } from "../api/image.ts";
import { keyPairs } from "../api/key-pair.ts";
import { networks } from "../api/network.ts";
import type { KubernetesObject } from "../api/meta.ts";
import type { Resource } from "../api/resource.ts";
import { securityGroups } from "../api/security-group.ts";
import { virtualMachineMigrations } from "../api/virtual-machine-migration.ts";
import { virtualMachineRestores } from "../api/virtual-machine-restore.ts";
import { virtualMachineSnapshots } from "../api/virtual-machine-snapshot.ts";
import type { VirtualMachine } from "../api/virtual-machine.ts";
import { volumes } from "../api/volume.ts";
import type { Found } from "./cluster.ts";
import type { Session } from "./session.ts";

/** An object by its kind and name. */
export interface Reference {
  readonly resource: Resource;
  readonly name: string;
  /** Default: the namespace of the session. */
  readonly namespace?: string | undefined;
}

/** The objects that a machine names. */
export const namedBy = ({ spec, status }: VirtualMachine): readonly Reference[] => {
  const own = spec.imageNamespace === undefined ? [spec.image] : [];
  return [
    ...references(flavors, [spec.flavor]),
    ...references(images, [...own, ...spec.cdroms.map(({ image }) => image)]),
    ...(spec.image === undefined || spec.imageNamespace === undefined
      ? []
      : [{ resource: images, name: spec.image, namespace: spec.imageNamespace }]),
    ...references(keyPairs, spec.keyPairs),
    ...references(
      networks,
      spec.networks.map(({ name }) => name),
    ),
    ...references(securityGroups, spec.securityGroups.length === 0 ? ["default"] : spec.securityGroups),
    ...references(volumes, volumeNames({ spec, status })),
    ...references(hypervisors, [status?.nodeName]),
  ];
};

const references = (resource: Resource, names: readonly (string | undefined)[]): readonly Reference[] =>
  [...new Set(names)].flatMap((name) => (name === undefined ? [] : [{ resource, name }]));

/** Those of the spec, and those that the guest has not let go of. */
export const volumeNames = ({ spec, status }: Pick<VirtualMachine, "spec" | "status">): readonly string[] => [
  ...new Set([...spec.volumes, ...(status?.guest?.volumes ?? [])].map(({ name }) => name)),
];

/** Kinds whose objects name a machine. */
const naming: readonly Resource[] = [
  virtualMachineSnapshots,
  virtualMachineRestores,
  virtualMachineMigrations,
];

/** Objects that name a machine: its snapshots, restores, migrations and floating addresses. */
export const namingIt = async (
  session: Session,
  name: string,
  onRefusal: (resource: Resource, error: unknown) => void,
): Promise<readonly (Found<KubernetesObject> & { readonly resource: Resource })[]> => {
  const cluster = await session.cluster();
  const lists = [...naming, floatingIps].map(async (resource) => {
    try {
      const { items } = await cluster.list(resource, { signal: session.signal });
      return items
        .filter(({ raw }) => names(raw, name))
        .map(({ raw, object }) => ({ raw, object, resource }));
    } catch (error) {
      if (session.signal.aborted) throw error;
      onRefusal(resource, error);
      return [];
    }
  });
  return (await Promise.all(lists)).flat();
};

const names = (raw: Readonly<Record<string, unknown>>, name: string): boolean => {
  const { virtualMachine, targets } = (raw["spec"] ?? {}) as Readonly<Record<string, unknown>>;
  return virtualMachine === name || (Array.isArray(targets) && targets.includes(name));
};

import { flavors } from "../../../src/api/flavor.ts";
import { floatingIpPools } from "../../../src/api/floating-ip-pool.ts";
import { floatingIps } from "../../../src/api/floating-ip.ts";
import { images } from "../../../src/api/image.ts";
import { keyPairs } from "../../../src/api/key-pair.ts";
import { networks } from "../../../src/api/network.ts";
import { apiVersionOf, type Resource } from "../../../src/api/resource.ts";
import { securityGroups } from "../../../src/api/security-group.ts";
import { virtualMachineMigrations } from "../../../src/api/virtual-machine-migration.ts";
import { virtualMachineRestores } from "../../../src/api/virtual-machine-restore.ts";
import { virtualMachineSnapshots } from "../../../src/api/virtual-machine-snapshot.ts";
import { virtualMachines } from "../../../src/api/virtual-machine.ts";
import { volumes } from "../../../src/api/volume.ts";

/** A manifest as a user writes it. */
export interface Manifest {
  readonly apiVersion: string;
  readonly kind: string;
  readonly metadata: { readonly name: string; readonly [field: string]: unknown };
  readonly spec: Readonly<Record<string, unknown>>;
}

const manifest = (resource: Resource, name: string, spec: object): Manifest => ({
  apiVersion: apiVersionOf(resource),
  kind: resource.kind,
  metadata: { name },
  spec: { ...spec },
});

/** Manifests of the smallest things that work; `spec` says what is different. */
export const manifests = {
  flavor: (name: string, spec: object = {}) =>
    manifest(flavors, name, { vcpus: 1, memory: "128Mi", disk: "1Gi", ...spec }),
  image: (name: string, spec: object = {}) =>
    manifest(images, name, { source: { file: "tiny.qcow2" }, format: "qcow2", ...spec }),
  keyPair: (name: string, spec: object) => manifest(keyPairs, name, spec),
  /** Beside the 10.0.0.0/24 of examples/quickstart.yaml. */
  network: (name: string, spec: object = {}) => manifest(networks, name, { cidr: "10.44.0.0/24", ...spec }),
  securityGroup: (name: string, spec: object = {}) => manifest(securityGroups, name, spec),
  floatingIpPool: (name: string, spec: object) => manifest(floatingIpPools, name, spec),
  floatingIp: (name: string, spec: object) => manifest(floatingIps, name, spec),
  volume: (name: string, spec: object = {}) => manifest(volumes, name, { size: "64Mi", ...spec }),
  snapshot: (name: string, virtualMachine: string, spec: object = {}) =>
    manifest(virtualMachineSnapshots, name, { virtualMachine, ...spec }),
  migration: (name: string, virtualMachine: string, spec: object = {}) =>
    manifest(virtualMachineMigrations, name, { virtualMachine, ...spec }),
  restore: (name: string, spec: object) => manifest(virtualMachineRestores, name, spec),
  /** Of what Stage.applyBasics makes. */
  machine: (name: string, spec: object = {}) =>
    manifest(virtualMachines, name, {
      flavor: "test",
      image: "test",
      keyPairs: ["test"],
      networks: [{ name: "test" }],
      ...spec,
    }),
} as const;

import { isDeepStrictEqual } from "node:util";

import {
  type CachedImageStatus,
  type Hypervisor,
  hypervisors,
  SYSTEM_NAMESPACE,
} from "../../../src/api/hypervisor.ts";
import type { StoragePoolStatus } from "../../../src/api/storage-pool.ts";
import { groupNamesOf, type SecurityGroup, securityGroups } from "../../../src/api/security-group.ts";
import { type VirtualMachine, virtualMachines } from "../../../src/api/virtual-machine.ts";
import {
  createHeartbeat,
  createKubeClient,
  createController,
  createStore,
  done,
  formatKey,
  keyOf,
  type KubeConfig,
  runTogether,
  silentLogger,
} from "../../../src/kube/index.ts";
import { createEnforcedGroups } from "../../../src/node-agent/reconcilers/network/enforced-groups.ts";
import { hypervisorStatus } from "../../../src/node-agent/reconcilers/hypervisor/hypervisor-status.ts";
import { machineStatus } from "../../../src/node-agent/reconcilers/machine/machine-status.ts";
import { alreadySaid, FIELD_MANAGER } from "../../../src/node-agent/report.ts";
import { createDiskWorld, createFakeDisks, type DiskWorld, guestVolumesOf } from "./fake-disks.ts";

export interface FakeAgentOptions {
  readonly kubeConfig: KubeConfig;
  readonly nodeName: string;
  readonly cpus?: number;
  readonly memoryMiB?: number;
  readonly images?: readonly CachedImageStatus[];
  /** Beside local. */
  readonly storagePools?: readonly StoragePoolStatus[];
  /** Others take the node for dead after this time, in ms. Default 3 s. */
  readonly leaseDurationMs?: number;
  /** What it does with disks. Default: all at once, and guests let go of them. */
  readonly disks?: DiskWorld;
}

/**
 * Writes what a node agent writes, with the real agent's own functions, and
 * runs nothing: guests exist in their status only.
 */
export interface FakeAgent {
  readonly nodeName: string;
  start(): void;
  /** As kill -9: nothing is said any more. */
  stop(): Promise<void>;
}

export const createFakeAgent = (options: FakeAgentOptions): FakeAgent => {
  let running: { readonly controller: AbortController; readonly ended: Promise<void> } | undefined;
  return {
    nodeName: options.nodeName,
    start: () => {
      const controller = new AbortController();
      running = { controller, ended: runAgent(options, controller.signal) };
    },
    stop: async () => {
      running?.controller.abort();
      await running?.ended;
      running = undefined;
    },
  };
};

const runAgent = async (options: FakeAgentOptions, signal: AbortSignal): Promise<void> => {
  const { nodeName, kubeConfig, leaseDurationMs = 3000 } = options;
  const logger = silentLogger;
  const client = createKubeClient({ kubeConfig, userAgent: FIELD_MANAGER });
  const writing = { fieldManager: FIELD_MANAGER, force: true, signal };
  const machines = createStore({
    client,
    resource: virtualMachines,
    fieldSelector: `status.nodeName=${nodeName}`,
    logger,
  });
  const own = createStore({
    client,
    resource: hypervisors,
    fieldSelector: `metadata.name=${nodeName}`,
    logger,
  });

  const world = options.disks ?? createDiskWorld();
  const disks = createFakeDisks({
    client,
    nodeName,
    world,
    machines,
    onRetained: async () => {
      const hypervisor = own.get({ name: nodeName });
      if (hypervisor !== undefined) await sayNode(hypervisor);
    },
  });
  const groups = createStore({ client, resource: securityGroups, logger });
  const enforced = createEnforcedGroups(
    () => own.get({ name: nodeName }),
    () => new Date(),
  );

  const sayNode = async (hypervisor: Hypervisor): Promise<void> => {
    const facts = {
      ...nodeFacts(options),
      retainedVolumes: disks.retained(),
      securityGroups: enforced.list(),
    };
    const apply = hypervisorStatus(hypervisor, facts, new Date());
    await client.applyStatus(hypervisors, apply, writing);
  };
  const reporter = createController({
    name: "fake-node",
    logger,
    watches: [{ store: own }],
    reconcile: async (key) => {
      const hypervisor = own.get(key);
      if (hypervisor === undefined) return done;
      const ready = hypervisor.status?.conditions?.find(({ type }) => type === "Ready");
      if (ready?.status !== "True") await sayNode(hypervisor);
      return done;
    },
  });
  const guests = createController({
    name: "fake-guests",
    logger,
    watches: [{ store: machines }],
    reconcile: async (key) => {
      const machine = machines.get(key);
      if (machine === undefined) return done;
      const apply = machineStatus(reportOf(machine, nodeName, world));
      if (!alreadySaid(machine, apply)) await client.applyStatus(virtualMachines, apply, writing);
      return done;
    },
  });
  const toNode = () => [{ name: nodeName }];
  const rules = createController({
    name: "fake-rules",
    logger,
    watches: [
      { store: machines, map: toNode },
      { store: groups, map: toNode },
    ],
    reads: [own],
    reconcile: async (key) => {
      enforced.record(groupsOf(machines.list(), groups.list()));
      const hypervisor = own.get(key);
      const said = hypervisor?.status?.securityGroups ?? [];
      if (hypervisor !== undefined && !isDeepStrictEqual(said, enforced.list())) await sayNode(hypervisor);
      return done;
    },
  });
  const heartbeat = createHeartbeat({
    client,
    namespace: SYSTEM_NAMESPACE,
    name: nodeName,
    identity: nodeName,
    leaseDurationMs,
    intervalMs: leaseDurationMs / 6,
    logger,
  });
  try {
    await client.apply(hypervisors, { metadata: { name: nodeName }, spec: {} }, writing);
    await runTogether(
      {
        machines: (task) => machines.run(task),
        own: (task) => own.run(task),
        groups: (task) => groups.run(task),
        heartbeat: (task) => heartbeat.run(task),
        reporter: (task) => reporter.run(task),
        guests: (task) => guests.run(task),
        rules: (task) => rules.run(task),
        ...disks.tasks,
      },
      signal,
    );
  } finally {
    await client.close();
  }
};

const nodeFacts = ({ cpus = 8, memoryMiB = 16_384, images = [], storagePools = [] }: FakeAgentOptions) => ({
  host: { cpus, memoryMiB, diskMiB: 500_000, addresses: ["192.0.2.10"] },
  reservedMemoryMiB: 0,
  zone: undefined,
  architecture: "x86_64",
  firmwares: ["BIOS" as const],
  acceleration: "tcg" as const,
  libvirtConnected: true,
  versions: {},
  images,
  tunnelAddress: "192.0.2.10",
  exports: [],
  storagePools: [local, ...storagePools],
  tpm: false,
});

const local = {
  name: "local",
  shared: false,
  wipe: "None",
  capacityMiB: 500_000,
  availableMiB: 500_000,
} as const;

/** The groups that these machines are in. */
const groupsOf = (
  machines: readonly VirtualMachine[],
  groups: readonly SecurityGroup[],
): readonly SecurityGroup[] => {
  const used = new Set(
    machines.flatMap(({ metadata, spec }) =>
      groupNamesOf(spec.securityGroups).map((name) => `${metadata.namespace}/${name}`),
    ),
  );
  return groups.filter((group) => used.has(formatKey(keyOf(group))));
};

const reportOf = (machine: VirtualMachine, nodeName: string, world: DiskWorld) => {
  const isLeaving = machine.metadata.deletionTimestamp !== undefined;
  return {
    machine,
    generation: machine.metadata.generation ?? 0,
    goal: isLeaving ? ({ kind: "release" } as const) : ({ kind: "run" } as const),
    guest: {
      nodeName,
      powerState: isLeaving ? ("ShutOff" as const) : ("Running" as const),
      startedAt: machine.status?.guest?.startedAt ?? "2026-01-01T00:00:00Z",
      restarts: 0,
      volumes: isLeaving ? [] : guestVolumesOf(machine, world),
    },
    outcome: isLeaving ? ({ kind: "released" } as const) : ({ kind: "done" } as const),
    now: new Date(),
  };
};

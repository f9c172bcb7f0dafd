import { Counter, Gauge, Histogram, type Registry } from "prom-client";
import { findCondition, isTrue } from "../api/condition.ts";
import { migrationPhases } from "../api/virtual-machine-migration.ts";
import { restorePhases } from "../api/virtual-machine-restore.ts";
import { snapshotPhases } from "../api/virtual-machine-snapshot.ts";
import { printableStatuses } from "../api/virtual-machine.ts";
import { volumePhases } from "../api/volume.ts";
import type { Stores } from "./context.ts";

/** What became of an attempt to place a machine. evacuated: placed anew, since its node was out of service. */
export type SchedulingResult = "placed" | "unschedulable" | "prerequisites_missing" | "evacuated";

/** The controller's own series, beside those of the runtime. */
export interface ControllerMetrics {
  readonly schedulingAttempts: Counter<"result">;
  /** operation: create, update or delete. */
  readonly addressSliceWrites: Counter<"operation">;
  /** reason: why the machine before lost the address. */
  readonly floatingIpFailovers: Counter<"reason">;
  readonly floatingIpFailoverSeconds: Histogram;
  /** outcome: Succeeded, Failed or Cancelled. */
  readonly migrations: Counter<"outcome">;
  readonly migrationSeconds: Histogram;
  readonly migrationDowntimeSeconds: Histogram;
}

export const createControllerMetrics = (registry: Registry): ControllerMetrics => ({
  schedulingAttempts: new Counter({
    name: "vireo_scheduling_attempts_total",
    help: "Attempts to place a machine, by what became of them.",
    labelNames: ["result"] as const,
    registers: [registry],
  }),
  addressSliceWrites: new Counter({
    name: "vireo_address_slice_writes_total",
    help: "Writes of AddressSlices, by what was done. Every node hears of each.",
    labelNames: ["operation"] as const,
    registers: [registry],
  }),
  floatingIpFailovers: new Counter({
    name: "vireo_floating_ip_failovers_total",
    help: "Floating addresses that were taken from one machine and given to another, by why.",
    labelNames: ["reason"] as const,
    registers: [registry],
  }),
  floatingIpFailoverSeconds: new Histogram({
    name: "vireo_floating_ip_failover_seconds",
    help: "Time from the change that moved a floating address until another node answered for it; for a silent node from its last sign of life.",
    buckets: [0.05, 0.1, 0.25, 0.5, 1, 2, 3, 4, 5, 6, 8, 10, 15, 30, 60],
    registers: [registry],
  }),
  ...createMigrationMetrics(registry),
});

const createMigrationMetrics = (registry: Registry) => ({
  migrations: new Counter({
    name: "vireo_virtual_machine_migrations_total",
    help: "Migrations of machines that are over, by what came of them.",
    labelNames: ["outcome"] as const,
    registers: [registry],
  }),
  migrationSeconds: new Histogram({
    name: "vireo_virtual_machine_migration_seconds",
    help: "Time from the beginning of the copying until the machine was on the other node, of migrations that succeeded.",
    buckets: [1, 2, 5, 10, 20, 30, 60, 120, 300, 600, 1800, 3600, 7200],
    registers: [registry],
  }),
  migrationDowntimeSeconds: new Histogram({
    name: "vireo_virtual_machine_migration_downtime_seconds",
    help: "How long guests stood still in migrations that succeeded.",
    buckets: [0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2, 5, 10, 30],
    registers: [registry],
  }),
});

/**
 * Series that are counted from the stores when somebody asks, so that they
 * cannot drift from them and objects that are gone leave no series behind.
 */
export const registerStoreMetrics = (registry: Registry, stores: () => Stores | undefined): void => {
  const registers = [registry];
  void new Gauge({
    name: "vireo_virtual_machines",
    help: "Virtual machines by what kubectl get shows in STATUS.",
    labelNames: ["status"] as const,
    registers,
    collect() {
      const counts = new Map<string, number>(printableStatuses.map((status) => [status, 0]));
      for (const { status } of stores()?.virtualMachines.list() ?? []) {
        const word = status?.printableStatus ?? "Pending";
        counts.set(word, (counts.get(word) ?? 0) + 1);
      }
      this.reset();
      for (const [status, count] of counts) this.set({ status }, count);
    },
  });
  void new Gauge({
    name: "vireo_address_slices",
    help: "AddressSlices that there are.",
    registers,
    collect() {
      this.set(stores()?.addressSlices.list().length ?? 0);
    },
  });
  registerDiskMetrics(registers, stores);
  registerNetworkMetrics(registers, stores);
  registerFloatingIpMetrics(registers, stores);
  registerGroupMetrics(registers, stores);
};

/** Of Volumes, snapshots, restores and migrations, by where they stand. */
const registerDiskMetrics = (registers: Registry[], stores: () => Stores | undefined): void => {
  interface Staged {
    readonly status?: { readonly phase?: string | undefined } | undefined;
  }
  const gauge = (
    [name, help]: readonly [string, string],
    phases: readonly string[],
    list: (from: Stores) => readonly Staged[],
  ): void => {
    void new Gauge({
      name,
      help,
      labelNames: ["phase"] as const,
      registers,
      collect() {
        this.reset();
        for (const phase of phases) this.set({ phase }, 0);
        const from = stores();
        for (const { status } of from === undefined ? [] : list(from))
          this.inc({ phase: status?.phase ?? "Pending" });
      },
    });
  };
  gauge(["vireo_volumes", "Volumes by phase."], volumePhases, ({ volumes }) => volumes.list());
  gauge(
    ["vireo_virtual_machine_snapshots", "Snapshots of machines by phase."],
    snapshotPhases,
    ({ virtualMachineSnapshots }) => virtualMachineSnapshots.list(),
  );
  gauge(
    ["vireo_virtual_machine_restores", "Restores of machines by phase."],
    restorePhases,
    ({ virtualMachineRestores }) => virtualMachineRestores.list(),
  );
  gauge(
    ["vireo_virtual_machine_migrations", "Migrations of machines by phase."],
    migrationPhases,
    ({ virtualMachineMigrations }) => virtualMachineMigrations.list(),
  );
};

const registerGroupMetrics = (registers: Registry[], stores: () => Stores | undefined): void => {
  void new Gauge({
    name: "vireo_security_group_members",
    help: "Machines that are in the security group.",
    labelNames: ["namespace", "group"] as const,
    registers,
    collect() {
      this.reset();
      for (const { metadata, status } of stores()?.securityGroups.list() ?? [])
        this.set({ namespace: metadata.namespace ?? "", group: metadata.name }, status?.members ?? 0);
    },
  });
  void new Gauge({
    name: "vireo_security_groups_programming",
    help: "Security groups whose rules are not in force yet on all nodes that hold machines of them.",
    registers,
    collect() {
      const groups = stores()?.securityGroups.list() ?? [];
      this.set(groups.filter(({ status }) => isTrue(status?.conditions, "Reconciling")).length);
    },
  });
};

/** How full something is that addresses are taken from. */
type AddressCount = "allocated" | "capacity";

const registerNetworkMetrics = (registers: Registry[], stores: () => Stores | undefined): void => {
  const gauge = (name: string, help: string, value: AddressCount): void => {
    void new Gauge({
      name,
      help,
      labelNames: ["network"] as const,
      registers,
      collect() {
        this.reset();
        for (const { metadata, status } of stores()?.networks.list() ?? [])
          if (status?.addresses !== undefined) this.set({ network: metadata.name }, status.addresses[value]);
      },
    });
  };
  gauge("vireo_network_addresses_allocated", "Addresses of the network that machines have.", "allocated");
  gauge("vireo_network_addresses_capacity", "Addresses of the network that machines can have.", "capacity");
};

const registerFloatingIpMetrics = (registers: Registry[], stores: () => Stores | undefined): void => {
  const gauge = (name: string, help: string, value: AddressCount): void => {
    void new Gauge({
      name,
      help,
      labelNames: ["pool"] as const,
      registers,
      collect() {
        this.reset();
        for (const { metadata, status } of stores()?.floatingIpPools.list() ?? [])
          if (status?.addresses !== undefined) this.set({ pool: metadata.name }, status.addresses[value]);
      },
    });
  };
  gauge("vireo_floating_ip_addresses_allocated", "Addresses of the pool that FloatingIPs have.", "allocated");
  gauge(
    "vireo_floating_ip_addresses_capacity",
    "Addresses of the pool that FloatingIPs can have.",
    "capacity",
  );
  void new Gauge({
    name: "vireo_floating_ips",
    help: "FloatingIPs by the reason of their Ready condition.",
    labelNames: ["reason"] as const,
    registers,
    collect() {
      this.reset();
      for (const { status } of stores()?.floatingIps.list() ?? [])
        this.inc({ reason: findCondition(status?.conditions, "Ready")?.reason ?? "Unknown" });
    },
  });
};

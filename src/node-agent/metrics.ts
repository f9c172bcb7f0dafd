import { Counter, Gauge, type Registry } from "prom-client";
import { type ExitReason, powerStates, type VirtualMachine } from "../api/virtual-machine.ts";
import type { Metrics } from "../kube/index.ts";
import { volumeChanges } from "./reconcilers/machine/announce.ts";
import type { DiskMetrics } from "./disks/types.ts";
import type { Drops, FilterOutcome } from "./filters/index.ts";
import type { DesiredFilters } from "./filters/types.ts";
import type { MachineStatusApply } from "./reconcilers/machine/machine-status.ts";
import type { ProbeKind, ProbeResult } from "./probes/types.ts";

/** The series of the node agent itself, beside those of the runtime. */
export interface AgentMetrics {
  readonly disks: DiskMetrics;
  /** Counts what the difference between two states of a machine tells. */
  readonly machineChanged: (before: VirtualMachine, apply: MachineStatusApply) => void;
  readonly orphanRemoved: () => void;
  /** What was here of a guest whose machine is on another node. */
  readonly strangerRemoved: () => void;
  /** Its root disk, which was left where it is. */
  readonly diskStranded: () => void;
  readonly probeFinished: (probe: ProbeKind, result: ProbeResult["kind"]) => void;
  /** Machines of this node, asked when the metrics are read. */
  readonly follow: (machines: () => readonly VirtualMachine[]) => void;
}

/** The series of routes and rules. */
export interface NetworkMetrics {
  /** After a pass over the whole node. */
  readonly programmed: (wanted: DesiredFilters, outcome: FilterOutcome) => void;
}

export const createNetworkMetrics = ({ registry }: Pick<Metrics, "registry">): NetworkMetrics => {
  const registers = [registry];
  const gauge = (name: string, help: string) => new Gauge({ name, help, registers });
  const counter = (name: string, help: string) => new Counter({ name, help, registers });
  const groups = gauge("vireo_security_groups", "Security groups that machines of this node are in.");
  const rules = gauge("vireo_security_group_rules", "Rules of these groups.");
  const members = gauge(
    "vireo_security_group_remote_members",
    "Addresses of members that these rules speak of.",
  );
  const programmed = counter("vireo_filter_changes_total", "Chains and sets that were written.");
  const repaired = counter(
    "vireo_filter_drift_total",
    "Differences in our rules and sets that somebody else had made.",
  );
  const cut = counter(
    "vireo_connections_cut_total",
    "Connections of guests that were cut, no longer being allowed.",
  );
  return {
    programmed: (wanted, outcome) => {
      cut.inc(outcome.revoked);
      groups.set(wanted.groups.length);
      rules.set(wanted.groups.reduce((sum, { ingress, egress }) => sum + ingress.length + egress.length, 0));
      members.set(wanted.members.reduce((sum, { addresses }) => sum + addresses.length, 0));
      programmed.inc(outcome.changedChains);
      repaired.inc(outcome.repaired);
    },
  };
};

/** Counts refused packets when somebody asks: the kernel has counted them anyway. */
export const registerDropMetrics = (
  { registry }: Pick<Metrics, "registry">,
  observeDrops: () => Promise<Drops>,
): void => {
  const counter = new Counter({
    name: "vireo_refused_packets_total",
    help: "Packets of guests and to them that were refused, by reason; at least as many.",
    labelNames: ["reason"] as const,
    registers: [registry],
    async collect() {
      const drops = await observeDrops();
      counter.reset();
      for (const [reason, count] of Object.entries(drops)) counter.inc({ reason }, count);
    },
  });
};

export const createAgentMetrics = ({ registry }: Pick<Metrics, "registry">): AgentMetrics => {
  const registers = [registry];
  const starts = new Counter({
    name: "vireo_guest_starts_total",
    help: "Guests that were switched on.",
    registers,
  });
  const ends = new Counter({
    name: "vireo_guest_ends_total",
    help: "Guests that ended, by reason; StartFailed did not even begin.",
    labelNames: ["reason"] as const,
    registers,
  });
  const probes = new Counter({
    name: "vireo_probe_results_total",
    help: "Runs of guests' probes by result; unknown when the node could not probe.",
    labelNames: ["probe", "result"] as const,
    registers,
  });
  const volumes = new Counter({
    name: "vireo_volume_changes_total",
    help: "Volumes that guests were given, and that they have let go of.",
    labelNames: ["change"] as const,
    registers,
  });
  const orphans = new Counter({
    name: "vireo_orphans_removed_total",
    help: "Guests, disks or links of machines that no longer exist, removed from this node.",
    registers,
  });
  const strangers = new Counter({
    name: "vireo_strangers_removed_total",
    help: "Guests of machines that were on another node by then, ended or removed on this one; their disks stay.",
    registers,
  });
  const stranded = new Counter({
    name: "vireo_stranded_disks_total",
    help: "Root disks that such guests left in storage pools that only this node sees.",
    registers,
  });
  return {
    disks: diskMetrics(registers),
    machineChanged: (before, { status: { guest } }) => {
      if (guest.startedAt !== before.status?.guest?.startedAt) starts.inc();
      const { attached, detached } = volumeChanges(before.status?.guest, guest);
      volumes.inc({ change: "attached" }, attached.length);
      volumes.inc({ change: "detached" }, detached.length);
      const { lastExit } = guest;
      if (lastExit !== undefined && lastExit.at !== before.status?.guest?.lastExit?.at) {
        ends.inc({ reason: lastExit.reason satisfies ExitReason });
      }
    },
    orphanRemoved: () => orphans.inc(),
    strangerRemoved: () => strangers.inc(),
    diskStranded: () => stranded.inc(),
    probeFinished: (probe, result) => probes.inc({ probe, result }),
    follow: (machines) => {
      const gauge = new Gauge({
        name: "vireo_guests",
        help: "Machines of this node by power state.",
        labelNames: ["power_state"] as const,
        registers,
        collect() {
          const counts = new Map<string, number>(powerStates.map((state) => [state, 0]));
          for (const { status } of machines()) {
            const state = status?.guest?.powerState ?? "ShutOff";
            counts.set(state, (counts.get(state) ?? 0) + 1);
          }
          for (const [state, count] of counts) gauge.set({ power_state: state }, count);
        },
      });
    },
  };
};

const diskMetrics = (registers: Registry[]): DiskMetrics => {
  const bytes = new Counter({
    name: "vireo_image_fetched_bytes_total",
    help: "Bytes of images that came from their sources.",
    registers,
  });
  const fetches = new Counter({
    name: "vireo_image_fetches_total",
    help: "Fetches of images by result: Ready, or the reason of the refusal or failure.",
    labelNames: ["result"] as const,
    registers,
  });
  return {
    fetchedBytes: (count) => bytes.inc(count),
    fetchFinished: (result) => fetches.inc({ result }),
  };
};

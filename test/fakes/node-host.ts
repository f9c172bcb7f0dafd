import { isTrue } from "../../src/api/condition.ts";
import type { GuestStatus, VirtualMachine } from "../../src/api/virtual-machine.ts";
import { virtualMachines } from "../../src/api/virtual-machine.ts";
import { type VirtualMachineRestore, virtualMachineRestores } from "../../src/api/virtual-machine-restore.ts";
import {
  type VirtualMachineSnapshot,
  virtualMachineSnapshots,
} from "../../src/api/virtual-machine-snapshot.ts";
import { type Volume, volumes } from "../../src/api/volume.ts";
import { createMetrics, silentLogger } from "../../src/kube/index.ts";
import type { AgentOptions } from "../../src/node-agent/agent.ts";
import { type Contexts, createContexts } from "../../src/node-agent/agent-context.ts";
import type { ObservedDisk, ObservedDomain, ObservedHardware } from "../../src/node-agent/domains/index.ts";
import { GuestOffError } from "../../src/node-agent/domains/index.ts";
import {
  createGuestRequests,
  type GuestRequests,
} from "../../src/node-agent/reconcilers/machine/guest-requests.ts";
import { createLifecycleMetrics } from "../../src/node-agent/lifecycle-metrics.ts";
import { tapName } from "../../src/node-agent/links/index.ts";
import { createAgentMetrics } from "../../src/node-agent/metrics.ts";
import type { MigrationHold } from "../../src/node-agent/migrations/index.ts";
import type { GuestFindings } from "../../src/node-agent/probes/index.ts";
import { alreadySaid, type MachineView, ownMachineStatus } from "../../src/node-agent/report.ts";
import {
  ownRestoreStatus,
  type RestoreStatusApply,
} from "../../src/node-agent/reconcilers/storage/restore-status.ts";
import type { NodeRooms } from "../../src/node-agent/rooms.ts";
import type { ConfirmStart } from "../../src/node-agent/reconcilers/machine/start-permit.ts";
import type { FetchSeed } from "../../src/node-agent/reconcilers/machine/seed-source.ts";
import {
  ownSnapshotStatus,
  type SnapshotStatusApply,
} from "../../src/node-agent/reconcilers/storage/snapshot-status.ts";
import {
  ownVolumeStatus,
  type VolumeStatusApply,
} from "../../src/node-agent/reconcilers/storage/volume-status.ts";
import { FakeObjects } from "./node-objects.ts";
import { hardwareOf } from "./node-hardware.ts";
import { noMigrations } from "./node-migrations.ts";
import { FakeVolumes } from "./node-volumes.ts";

/** The process died here: nothing after this line was executed. */
export class KilledError extends Error {
  override readonly name = "KilledError";
}

/**
 * A node's host and the API server's one machine, in memory, for the agent's
 * loop. Every effect can be the one at which the agent is killed, just before
 * or just after it happens; what has happened stays, as on a real host.
 */
export class FakeNode {
  readonly volumes = new FakeVolumes((happen) => this.#effect(happen));
  readonly seeds = new Set<string>();
  readonly taps = new Map<string, string>();
  readonly guarded = new Set<string>();
  readonly domains = new Map<string, ObservedDomain>();
  /** What the probes of followed guests found: an agent's memory, gone with it. */
  readonly probed = new Map<string, GuestFindings>();
  machine: VirtualMachine | undefined;
  /** The machine exists, and its status names this node, or none; nothing of it is in the node's own objects. */
  elsewhere: { readonly nodeName: string | undefined } | undefined;
  /** A migration has a say in where it is, as the API server knows. */
  isMoving = false;
  /** The API server does not answer. */
  isCutOff = false;
  statusWrites = 0;
  starts = 0;
  /** Guests end when the power button is pressed; a deaf one does not. */
  deaf = false;
  /** Effects so far; the agent is killed at number `killAt`. */
  effects = 0;
  killAt: { readonly effect: number; readonly when: "before" | "after" } | undefined;

  /** Called at the moment of the agent's death. */
  onKill = (): void => {};
  /** Called when an effect has happened, with its number: what others do meanwhile. */
  onEffect = (_effect: number): void => {};

  /** UIDs of disks that the guests do not let go of. */
  readonly clinging = new Set<string>();
  /** The next start of a guest fails with this message. */
  failStart: string | undefined;

  readonly rooms: NodeRooms = {
    migrations: noMigrations,
    images: {
      useImage: async ({ uid }, work) => {
        const image = { uid, path: "/image", checksum: "", format: "qcow2", virtualSizeBytes: 0 } as const;
        return { kind: "done", result: await work(image) };
      },
      findImage: async () => undefined,
      adoptImage: async () => {},
      images: () => [],
      onImageChange: () => () => {},
      evict: async () => {},
      close: async () => {},
    },
    volumes: this.volumes.room,
    cloudInit: {
      ensureSeed: ({ vmUid }) =>
        this.#effect(() => {
          this.seeds.add(vmUid);
          return { path: "/seed" };
        }),
      find: async (vmUid) => (this.seeds.has(vmUid) ? { path: "/seed" } : undefined),
      remove: (vmUid) => this.#effect(() => void this.seeds.delete(vmUid)),
      list: async () => [...this.seeds],
    },
    links: {
      setUp: async () => {},
      ensure: ({ vmUid, interfaces }) =>
        this.#effect(() =>
          interfaces.map(({ network, macAddress, address, mtu }) => {
            const name = tapName(vmUid, network);
            this.taps.set(name, vmUid);
            return { network, name, macAddress, address, mtu };
          }),
        ),
      remove: (vmUid) =>
        this.#effect(() => {
          for (const [tap, owner] of this.taps) if (owner === vmUid) this.taps.delete(tap);
        }),
      syncNetworks: async () => {},
      list: async () => [...new Set(this.taps.values())],
      tearDown: async () => {},
    },
    domains: {
      list: async () => [...this.domains.values()],
      observe: async (vmUid) => this.domains.get(vmUid),
      start: (want) => this.#effect(() => this.#switchOn(want.vmUid, "Running", hardwareOf(want))),
      restore: (want, { paused }) =>
        this.#effect(() => this.#switchOn(want.vmUid, paused ? "Paused" : "Running", hardwareOf(want))),
      shutdown: (vmUid) => this.#effect(() => (this.deaf ? undefined : this.end(vmUid, "GuestShutdown"))),
      destroy: (vmUid) => this.#effect(() => this.end(vmUid, "Stopped")),
      remove: (vmUid) => this.#effect(() => void this.domains.delete(vmUid)),
      describeArriving: async (want) => ({ xml: "<domain/>", hardware: hardwareOf(want) }),
      askAgent: async () => "{}",
      readConsoleLog: async () => new Uint8Array(),
      trimConsoleLogs: async () => {},
      onChange: () => () => {},
    },
    live: {
      attachDisk: (vmUid, { uid, bus, layers }) =>
        this.#effect(() => {
          const paths = layers.map(({ path }) => path);
          this.#plug(vmUid, { kind: "disk", uid, bus, target: uid, layers: paths });
          return "attached";
        }),
      attachCdrom: (vmUid, { uid, path }) =>
        this.#effect(() => {
          this.#plug(vmUid, { kind: "cdrom", uid, bus: "SCSI", target: uid, layers: [path] });
          return "attached";
        }),
      detach: (vmUid, { uid }) =>
        this.#effect(() => {
          if (this.clinging.has(uid)) return "asked";
          this.#change(vmUid, (has) => ({ ...has, disks: has.disks.filter((disk) => disk.uid !== uid) }));
          return "gone";
        }),
      resizeDisk: (_vmUid, { uid, sizeMiB }) =>
        this.#effect(() => {
          const disk = this.volumes.disks.get(uid);
          if (disk !== undefined) disk.sizeMiB = sizeMiB;
        }),
      announceSizes: () => this.#effect(() => {}),
      setVcpus: (vmUid, count) =>
        this.#effect(() => {
          this.#change(vmUid, (has) => ({ ...has, vcpus: { ...has.vcpus, current: count } }));
          return count;
        }),
      setMemory: (vmUid, memoryMiB) =>
        this.#effect(() => {
          const given = { currentMiB: memoryMiB, requestedMiB: memoryMiB };
          this.#change(vmUid, (has) => ({ ...has, memory: { ...has.memory, ...given } }));
          return memoryMiB;
        }),
      suspend: (vmUid) => this.#effect(() => this.#power(vmUid, "Paused")),
      resume: (vmUid) => this.#effect(() => this.#power(vmUid, "Running")),
      snapshot: (vmUid, { overlays, memoryPath }) =>
        this.#effect(() => {
          const has = this.#hardware(vmUid);
          const disks = has.disks.map((disk) => {
            const overlay = overlays.get(disk.uid);
            return overlay === undefined ? disk : { ...disk, layers: [overlay, ...disk.layers] };
          });
          const isTaken = has.disks.some(({ uid, layers }) => overlays.get(uid) === layers[0]);
          if (isTaken) return { kind: "already-taken" };
          if (memoryPath !== undefined) this.volumes.memories.add(memoryPath.slice("/memory/".length));
          this.#change(vmUid, (before) => ({ ...before, disks }));
          return { kind: "taken", consistency: "Online" };
        }),
      merge: async () => ({ kind: "done" }),
      cancelMerge: async () => {},
      screenshot: async () => new Uint8Array(),
      sockets: async () => ({}),
    },
    probes: {
      follow: (guest) => {
        if (this.probed.has(guest.vmUid)) return;
        this.probed.set(guest.vmUid, {
          ...(guest.livenessProbe === undefined ? {} : { liveness: { kind: "healthy" } }),
          ...(guest.readinessProbe === undefined ? {} : { readiness: guest.readyBefore }),
        });
      },
      forget: (vmUid) => void this.probed.delete(vmUid),
      findings: (vmUid) => this.probed.get(vmUid) ?? {},
      onChange: () => () => {},
      close: () => this.probed.clear(),
    },
    acceleration: async () => "tcg",
  };

  #switchOn(vmUid: string, powerState: "Running" | "Paused", hardware: ObservedHardware): void {
    if (this.failStart !== undefined) throw new Error(this.failStart);
    if (this.domains.get(vmUid)?.powerState === "Running") return;
    const uids = hardware.disks.map(({ uid }) => uid);
    if (this.volumes.isHalfSwitched(uids)) throw new Error("its disks show different moments");
    this.starts += 1;
    this.domains.set(vmUid, { vmUid, powerState, hardware });
  }

  #hardware(vmUid: string): ObservedHardware {
    const hardware = this.domains.get(vmUid)?.hardware;
    if (hardware === undefined) throw new GuestOffError(`guest ${vmUid} is off`);
    return hardware;
  }

  #change(vmUid: string, change: (has: ObservedHardware) => ObservedHardware): void {
    const domain = this.domains.get(vmUid);
    if (domain === undefined) throw new GuestOffError(`guest ${vmUid} is off`);
    this.domains.set(vmUid, { ...domain, hardware: change(this.#hardware(vmUid)) });
  }

  #plug(vmUid: string, disk: ObservedDisk): void {
    this.#change(vmUid, (has) => ({
      ...has,
      disks: [...has.disks.filter(({ uid }) => uid !== disk.uid), disk],
    }));
  }

  #power(vmUid: string, powerState: "Running" | "Paused"): void {
    const domain = this.domains.get(vmUid);
    if (domain?.hardware === undefined) throw new GuestOffError(`guest ${vmUid} is off`);
    this.domains.set(vmUid, { ...domain, powerState });
  }

  /** What a fresh agent makes its passes with. */
  newAgent(now: () => Date): Contexts & { readonly requests: GuestRequests } {
    const metrics = createMetrics();
    const requests = createGuestRequests(() => {});
    const store = { onChange: () => () => {}, unreadable: () => [] };
    const options: AgentOptions = {
      nodeName: "node-1",
      // Only asked for changes, and for what cannot be read.
      stores: {
        machines: store,
        volumes: store,
        snapshots: store,
        restores: store,
        images: store,
        outgoing: store,
        incoming: store,
      } as unknown as AgentOptions["stores"],
      objects: {
        machines: this.view,
        volumes: this.objects.volumes.view,
        snapshots: this.objects.snapshots.view,
        restores: this.objects.restores.view,
        images: {
          get: () => undefined,
          list: () => [],
          uidsInCluster: async () => new Set(),
          existsInCluster: async () => false,
        },
      },
      rooms: this.rooms,
      network: this.newNetwork(),
      fetchSeed: this.fetchSeed,
      confirmStart: this.confirmStart,
      migrating: () => this.migrating,
      isMoving: async () => this.isMoving,
      events: { event: () => {}, flush: async () => {} },
      logger: silentLogger,
      metrics,
      agentMetrics: createAgentMetrics(metrics),
      lifecycleMetrics: createLifecycleMetrics(metrics),
      now,
      wait: async () => {},
      sweepMs: 60_000,
      workers: 1,
    };
    const lookers = {
      lookAtMachine: () => {},
      lookAtVolume: () => {},
      lookAtDisk: () => {},
      tellReport: () => {},
    };
    return { ...createContexts(options, lookers, requests), requests };
  }

  /** What a migration of the machine forbids. */
  migrating: MigrationHold | undefined;

  /** Whether guests may be started here. */
  confirmStart: ConfirmStart = async () => {};

  /** How the API server answers when it is asked for a machine's seed. */
  fetchSeed: FetchSeed = () => this.#effect(() => ({}));

  /** Volumes, snapshots and restores of this node, as the API server has them. */
  readonly objects = {
    volumes: new FakeObjects<Volume, VolumeStatusApply>(volumes, ownVolumeStatus, (happen) =>
      this.#effect(happen),
    ),
    snapshots: new FakeObjects<VirtualMachineSnapshot, SnapshotStatusApply>(
      virtualMachineSnapshots,
      ownSnapshotStatus,
      (happen) => this.#effect(happen),
    ),
    restores: new FakeObjects<VirtualMachineRestore, RestoreStatusApply>(
      virtualMachineRestores,
      ownRestoreStatus,
      (happen) => this.#effect(happen),
    ),
  };

  /** The network of a fresh agent, which leaves no machine out yet. */
  newNetwork(): AgentOptions["network"] {
    const leftOut = new Set<string>();
    const sync = (): Promise<void> =>
      this.#effect(() => {
        this.guarded.clear();
        for (const machine of this.view.list()) {
          if (leftOut.has(machine.metadata.uid) || isTrue(machine.status?.conditions, "Released")) continue;
          for (const { network } of machine.status?.allocation?.interfaces ?? []) {
            this.guarded.add(tapName(machine.metadata.uid, network));
          }
        }
      });
    return {
      sync,
      verify: sync,
      leaveOut: (vmUid) => void leftOut.add(vmUid),
      forget: (vmUid) => void leftOut.delete(vmUid),
      run: async () => {},
    };
  }

  readonly view: MachineView = {
    get: (uid) => (this.machine?.metadata.uid === uid ? this.machine : undefined),
    list: () => (this.machine === undefined ? [] : [this.machine]),
    isOwnWrite: () => false,
    uidsInCluster: async () => new Set(this.machine === undefined ? [] : [this.machine.metadata.uid]),
    existsInCluster: async () => this.elsewhere !== undefined,
    findInCluster: async () => {
      if (this.isCutOff) throw new Error("the API server does not answer");
      return this.elsewhere;
    },
    say: (_machine, apply) =>
      this.#effect(() => {
        const { machine } = this;
        if (machine === undefined || alreadySaid(machine, apply)) return;
        const own = new Set<string>(ownMachineStatus.conditions);
        const kept = (machine.status?.conditions ?? []).filter(({ type }) => !own.has(type));
        const conditions = [...kept, ...apply.status.conditions];
        const { pendingChanges: _, ...before } = machine.status ?? {};
        const status = { ...before, ...apply.status, conditions };
        this.statusWrites += 1;
        this.machine = virtualMachines.parse({ ...machine, status });
      }),
  };

  end(vmUid: string, exit: NonNullable<ObservedDomain["exit"]>): void {
    const domain = this.domains.get(vmUid);
    if (domain?.hardware !== undefined) this.domains.set(vmUid, { vmUid, powerState: "ShutOff", exit });
  }

  get guest(): GuestStatus | undefined {
    return this.machine?.status?.guest;
  }

  /** Everything that is here for machines, in words. */
  get leftovers(): readonly string[] {
    return [
      ...[...this.volumes.disks.values()].map(({ ref }) => (ref.kind === "root" ? "disk" : "volume")),
      ...[...this.seeds].map(() => "seed"),
      ...[...this.taps].map(() => "tap"),
      ...[...this.guarded].map(() => "rules"),
      ...[...this.domains].map(() => "domain"),
    ];
  }

  async #effect<T>(happen: () => T): Promise<T> {
    this.effects += 1;
    const kill = this.killAt?.effect === this.effects ? this.killAt : undefined;
    if (kill?.when === "before") this.#die();
    const result = happen();
    this.#checkInvariants();
    this.onEffect(this.effects);
    if (kill?.when === "after") this.#die();
    return result;
  }

  #die(): never {
    this.probed.clear();
    this.onKill();
    throw new KilledError();
  }

  /** A guest never runs without its disk, its seed, its tap and its rules. */
  #checkInvariants(): void {
    for (const { vmUid, powerState } of this.domains.values()) {
      if (powerState !== "Running") continue;
      const taps = [...this.taps].filter(([, owner]) => owner === vmUid).map(([tap]) => tap);
      const isWhole = this.volumes.disks.has(vmUid) && this.seeds.has(vmUid) && taps.length > 0;
      if (!isWhole || !taps.every((tap) => this.guarded.has(tap))) {
        throw new Error(
          `guest ${vmUid} runs without ${this.guarded.size === 0 ? "rules" : "all of its parts"}`,
        );
      }
    }
  }
}

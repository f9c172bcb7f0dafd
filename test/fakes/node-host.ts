import { isTrue } from "../../src/api/condition.ts";
import type { GuestStatus, VirtualMachine } from "../../src/api/virtual-machine.ts";
import { virtualMachines } from "../../src/api/virtual-machine.ts";
import type { AgentOptions } from "../../src/node-agent/agent.ts";
import type { ObservedDomain } from "../../src/node-agent/domains/index.ts";
import { tapName } from "../../src/node-agent/links/index.ts";
import type { GuestFindings } from "../../src/node-agent/probes/index.ts";
import { alreadySaid, type MachineView } from "../../src/node-agent/report.ts";

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
  readonly disks = new Set<string>();
  readonly seeds = new Set<string>();
  readonly taps = new Map<string, string>();
  readonly guarded = new Set<string>();
  readonly domains = new Map<string, ObservedDomain>();
  /** What the probes of followed guests found: an agent's memory, gone with it. */
  readonly probed = new Map<string, GuestFindings>();
  machine: VirtualMachine | undefined;
  /** The machine exists, but its status does not name this node. */
  elsewhere = false;
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

  readonly rooms: AgentOptions["rooms"] = {
    disks: {
      ensureRootDisk: ({ vmUid }) =>
        this.#effect(() => {
          this.disks.add(vmUid);
          return { kind: "ready", path: "/disk", backing: { path: "/image", format: "qcow2" } };
        }),
      remove: (vmUid) => this.#effect(() => void this.disks.delete(vmUid)),
      list: async () => [...this.disks],
      images: () => [],
      onImageChange: () => () => {},
      evict: async () => {},
      close: async () => {},
    },
    cloudInit: {
      ensureSeed: ({ vmUid }) =>
        this.#effect(() => {
          this.seeds.add(vmUid);
          return { path: "/seed" };
        }),
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
      start: ({ vmUid }) =>
        this.#effect(() => {
          if (this.domains.get(vmUid)?.powerState === "Running") return;
          this.starts += 1;
          this.domains.set(vmUid, { vmUid, powerState: "Running" });
        }),
      shutdown: (vmUid) => this.#effect(() => (this.deaf ? undefined : this.end(vmUid, "GuestShutdown"))),
      destroy: (vmUid) => this.#effect(() => this.end(vmUid, "Stopped")),
      remove: (vmUid) => this.#effect(() => void this.domains.delete(vmUid)),
      restore: ({ vmUid }) =>
        this.#effect(() => void this.domains.set(vmUid, { vmUid, powerState: "Running" })),
      askAgent: async () => "{}",
      readConsoleLog: async () => new Uint8Array(),
      trimConsoleLogs: async () => {},
      onChange: () => () => {},
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
    existsInCluster: async () => this.elsewhere,
    say: (_machine, apply) =>
      this.#effect(() => {
        const { machine } = this;
        if (machine === undefined || alreadySaid(machine, apply)) return;
        const own = new Set(["Ready", "Reconciling", "Stalled", "StorageReady", "Released"]);
        const kept = (machine.status?.conditions ?? []).filter(({ type }) => !own.has(type));
        const conditions = [...kept, ...apply.status.conditions];
        const status = { ...machine.status, ...apply.status, conditions };
        this.statusWrites += 1;
        this.machine = virtualMachines.parse({ ...machine, status });
      }),
  };

  end(vmUid: string, exit: NonNullable<ObservedDomain["exit"]>): void {
    const domain = this.domains.get(vmUid);
    if (domain?.powerState === "Running") this.domains.set(vmUid, { vmUid, powerState: "ShutOff", exit });
  }

  get guest(): GuestStatus | undefined {
    return this.machine?.status?.guest;
  }

  /** Everything that is here for machines, in words. */
  get leftovers(): readonly string[] {
    return [
      ...[...this.disks].map(() => "disk"),
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
      const isWhole = this.disks.has(vmUid) && this.seeds.has(vmUid) && taps.length > 0;
      if (!isWhole || !taps.every((tap) => this.guarded.has(tap))) {
        throw new Error(
          `guest ${vmUid} runs without ${this.guarded.size === 0 ? "rules" : "all of its parts"}`,
        );
      }
    }
  }
}

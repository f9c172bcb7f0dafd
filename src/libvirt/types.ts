import type { BlockJobVerbs } from "./block-job-verbs.ts";
import type { LibvirtConnection } from "./connection.ts";
import type { DeviceVerbs } from "./device-verbs.ts";
import type { DomainEventKind, DomainEvents } from "./events.ts";
import type { MigrationVerbs } from "./migration-verbs.ts";
import type { Procedure } from "./procedure.ts";
import type { ScreenVerbs } from "./screen-verbs.ts";
import type { SnapshotVerbs } from "./snapshot-verbs.ts";

/** How one call may be bounded. */
export interface CallOptions {
  /** Gives the call up when aborted. What was already sent goes on inside the daemon: see OutcomeUnknownError. */
  readonly signal?: AbortSignal;
  /**
   * The call's deadline in ms, waiting for a free slot included; Infinity for
   * none. Default: the connection's `callTimeoutMs`.
   */
  readonly timeoutMs?: number;
}

/**
 * A domain as the protocol names it. libvirt finds it by `uuid`; `name` and
 * `id` were true when the reference was made.
 */
export interface DomainRef {
  readonly name: string;
  /** Dashed and lower-case: 4dea22b3-1d52-d8f3-2516-782e98ab3fa0. */
  readonly uuid: string;
  /** libvirt's number of the running domain; -1 when it is not running. It changes with each start. */
  readonly id: number;
}

/**
 * State and reason, to be compared with DomainState and the reasons of that state.
 * https://libvirt.org/html/libvirt-libvirt-domain.html#virDomainState
 */
export interface DomainStateAndReason {
  readonly state: number;
  readonly reason: number;
}

/** https://libvirt.org/html/libvirt-libvirt-domain.html#virConnectDomainEventCallback */
export interface DomainLifecycleEvent {
  readonly uuid: string;
  readonly name: string;
  /** One of DomainEventType. */
  readonly event: number;
  /** What it means depends on `event`: DomainEventStoppedDetail and its neighbours. */
  readonly detail: number;
}

/** https://libvirt.org/html/libvirt-libvirt-host.html#virNodeInfo */
export interface NodeInfo {
  /** The CPU's architecture, for example x86_64. */
  readonly model: string;
  readonly memoryKib: bigint;
  /** Active logical CPUs. */
  readonly cpus: number;
  readonly mhz: number;
  readonly numaNodes: number;
  /** Sockets per NUMA node. */
  readonly sockets: number;
  /** Cores per socket. */
  readonly cores: number;
  /** Threads per core. */
  readonly threads: number;
}

/** Versions as people write them: 9.0.0. */
export interface Versions {
  readonly libvirt: string;
  readonly hypervisor: string;
}

/** What domainCapabilities is asked about; libvirt chooses what is absent. */
export interface DomainCapabilitiesQuery {
  /** Path of the emulator's program on the daemon's host. */
  readonly emulator?: string;
  readonly arch?: string;
  readonly machine?: string;
  /** The domain type: kvm, qemu, … */
  readonly type?: string;
}

/** A value of libvirt's typed parameters: 64-bit integers are bigint, the rest is what it looks like. */
export type TypedValue = number | bigint | string | boolean;

/** A typed parameter: number is sent as int, bigint as (unsigned) long long. */
export type TypedParameter = readonly [name: string, value: TypedValue];

/** https://libvirt.org/html/libvirt-libvirt-domain.html#virDomainStatsRecord */
export interface DomainStats {
  readonly domain: DomainRef;
  readonly stats: ReadonlyMap<string, TypedValue>;
}

export interface DomainStatsQuery {
  /** Which groups: DomainStatsTypes, or-ed. Default: all that the hypervisor has. */
  readonly types?: number;
  /** Of which domains. Default: all. */
  readonly domains?: readonly DomainRef[];
  /** GetAllDomainStatsFlags, or-ed. Default: NOWAIT, so that one stuck guest does not hold up the rest. */
  readonly flags?: number;
}

/**
 * Which of the client's connections carries a call. "control" is for what the
 * daemon answers quickly; "long" is for what may wait on a guest or on QEMU.
 */
export type Lane = "control" | "long";

/** How one call may be bounded, and the flags that libvirt has for it. */
export interface FlaggedOptions extends CallOptions {
  /** libvirt's flags of the call, or-ed. Default 0, libvirt's default. */
  readonly flags?: number;
}

/** Domains and their lives. */
export interface DomainVerbs {
  /** Active and inactive domains. */
  listDomains(options?: CallOptions): Promise<readonly DomainRef[]>;
  /** The domain with that UUID, or undefined when there is none. */
  lookupDomain(uuid: string, options?: CallOptions): Promise<DomainRef | undefined>;
  /** The domain with that name, or undefined when there is none. */
  lookupDomainByName(name: string, options?: CallOptions): Promise<DomainRef | undefined>;
  /** Defines a persistent domain or changes its definition. Validates the XML against libvirt's schema. */
  defineDomain(xml: string, options?: CallOptions): Promise<DomainRef>;
  /** Starts a transient domain. Validates the XML against libvirt's schema. */
  createTransientDomain(xml: string, options?: CallOptions): Promise<DomainRef>;
  /** Starts a defined domain; resolves with its reference of this run. `flags`: DomainCreateFlags. */
  startDomain(domain: DomainRef, options?: CallOptions & { readonly flags?: number }): Promise<DomainRef>;
  /** Asks the guest to power off and returns at once. `flags`: DomainShutdownFlags, default libvirt's choice. */
  shutdownDomain(domain: DomainRef, options?: CallOptions & { readonly flags?: number }): Promise<void>;
  /** Asks the guest to reboot and returns at once. `flags`: DomainRebootFlags, default libvirt's choice. */
  rebootDomain(domain: DomainRef, options?: CallOptions & { readonly flags?: number }): Promise<void>;
  /**
   * Ends the domain's process. With `graceful` libvirt only asks it (SIGTERM)
   * and fails when it does not end; without, it kills it in the end (SIGKILL).
   *
   * An error does not mean that the domain runs. When the guest ends by itself
   * meanwhile, or when libvirtd has just been started and is still taking hold
   * of its guests, libvirt may say that there is no such domain although it was
   * this very call that ended it: read the state again.
   */
  destroyDomain(domain: DomainRef, options?: CallOptions & { readonly graceful?: boolean }): Promise<void>;
  /**
   * Removes the definition, with NVRAM, managed save image, and the metadata of
   * snapshots and checkpoints. `flags`: other DomainUndefineFlags instead.
   */
  undefineDomain(domain: DomainRef, options?: CallOptions & { readonly flags?: number }): Promise<void>;
  /** Pauses the vCPUs. */
  suspendDomain(domain: DomainRef, options?: CallOptions): Promise<void>;
  /** Lets the vCPUs run again. */
  resumeDomain(domain: DomainRef, options?: CallOptions): Promise<void>;
  /** Answered without the guest and with the daemon's high priority: the call for health checks. */
  domainState(domain: DomainRef, options?: CallOptions): Promise<DomainStateAndReason>;
  /** The XML of the running domain, or with `inactive` that of its next start. */
  domainXml(domain: DomainRef, options?: CallOptions & { readonly inactive?: boolean }): Promise<string>;
  /**
   * Sends a command (JSON) to the QEMU guest agent and resolves with its answer
   * (JSON). Rejects with AGENT_UNRESPONSIVE while no agent runs in the guest.
   * `seconds`: how long libvirt waits for the agent; default libvirt's own 5.
   * https://qemu-project.gitlab.io/qemu/interop/qemu-ga-ref.html
   */
  domainAgentCommand(
    domain: DomainRef,
    command: string,
    options?: CallOptions & { readonly seconds?: number },
  ): Promise<string>;
  /** Statistics of domains in one call. */
  domainStats(query?: DomainStatsQuery, options?: CallOptions): Promise<readonly DomainStats[]>;
}

/** The daemon and its host. */
export interface HostVerbs {
  /** XML: https://libvirt.org/formatdomaincaps.html */
  domainCapabilities(query?: DomainCapabilitiesQuery, options?: CallOptions): Promise<string>;
  /** XML: https://libvirt.org/formatcaps.html */
  capabilities(options?: CallOptions): Promise<string>;
  nodeInfo(options?: CallOptions): Promise<NodeInfo>;
  versions(options?: CallOptions): Promise<Versions>;
  /** The name of the host that the daemon runs on. */
  hostname(options?: CallOptions): Promise<string>;
}

/**
 * The verbs on the daemon and its domains. Each is one call of libvirt's API
 * and rejects as `LibvirtError`, `OutcomeUnknownError` or `NotSentError`
 * (errors.ts), or as `XdrError` for an argument that cannot be sent.
 */
export interface LibvirtVerbs
  extends DomainVerbs, HostVerbs, DeviceVerbs, BlockJobVerbs, SnapshotVerbs, MigrationVerbs, ScreenVerbs {}

/**
 * A client that keeps itself connected. While it is not, calls fail at once
 * with `NotSentError`.
 *
 * Events are hints: those that happen while disconnected are lost, so whoever
 * reads `onConnected` looks at everything again.
 */
export interface LibvirtClient extends LibvirtVerbs {
  readonly connected: boolean;
  /** Resolves when connected; rejects with the signal's reason, with a TimeoutError, or when the client is closed. */
  whenConnected(options?: CallOptions): Promise<void>;
  /** Called after each connection, when events are already registered. Returns the way to stop listening. */
  onConnected(listener: () => void): () => void;
  /**
   * Called when a connection ends and when an attempt fails, with the reason; not
   * for close(). Returns the way to stop listening.
   */
  onDisconnected(listener: (reason: Error) => void): () => void;
  onDomainLifecycle(listener: (event: DomainLifecycleEvent) => void): () => void;
  /** Listens to one of the kinds named in the options' `events`; throws RangeError for another. */
  onDomainEvent<K extends DomainEventKind>(kind: K, listener: (event: DomainEvents[K]) => void): () => void;
  /** Calls any procedure of the table that has no verb. Default lane: long. */
  call<A, R>(
    procedure: Procedure<A, R>,
    args: A,
    options?: CallOptions & { readonly lane?: Lane },
  ): Promise<R>;
  /**
   * Opens one more connection to the daemon, for what libvirt ties to a
   * connection: the phases of a migration. It is not opened again when lost.
   * Whoever opened it closes it; the client's close() does so too. Rejects with
   * ConnectError.
   */
  openDedicated(options?: CallOptions): Promise<LibvirtConnection>;
  /** Ends the connections and stops connecting. What is under way rejects. */
  close(): Promise<void>;
}

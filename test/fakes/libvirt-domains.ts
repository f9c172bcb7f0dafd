import { XMLParser, XMLValidator } from "fast-xml-parser";

import type { eventBodies } from "../../src/libvirt/events.ts";
import {
  BlockJobStatus,
  DomainEventDefinedDetail,
  DomainEventResumedDetail,
  DomainEventStartedDetail,
  DomainEventStoppedDetail,
  DomainEventSuspendedDetail,
  DomainEventType,
  DomainEventUndefinedDetail,
  DomainPausedReason,
  DomainRunningReason,
  DomainShutoffReason,
  DomainState,
  ErrorCode,
  type DomainEventKind,
  type DomainRef,
} from "../../src/libvirt/index.ts";
import type { Xdr } from "../../src/libvirt/xdr.ts";

/** What the fake answers instead of a result. */
export class FakeLibvirtError extends Error {
  override readonly name = "FakeLibvirtError";
  readonly code: number;

  constructor(code: number, message: string) {
    super(message);
    this.code = code;
  }
}

export interface FakeBlockJob {
  readonly type: number;
  /** The image that the guest writes when the job is told to go over. */
  readonly base?: string | undefined;
  cur: bigint;
  end: bigint;
}

export interface FakeDomain {
  readonly name: string;
  readonly uuid: string;
  id: number;
  xml: string;
  persistent: boolean;
  autostart: boolean;
  state: number;
  reason: number;
  /** The guest agent: what it answers to a command. Without one no agent runs in the guest. */
  agent?: (command: unknown) => unknown;
  /** Which side of a migration it is, from begin or prepare to finish or confirm. */
  migration?: "outgoing" | "incoming" | undefined;
  /** The guest does not let go of devices until heldDevices are called. */
  clings?: boolean;
  readonly heldDevices: (() => void)[];
  /** By the disk's target. */
  readonly blockJobs: Map<string, FakeBlockJob>;
  /** Block jobs do not end until FakeDomains.finishBlockJob is called. */
  slowBlockJobs?: boolean;
  /** The sizes of disks that were given another. */
  readonly diskBytes: Map<string, bigint>;
}

type BodyOf<K extends DomainEventKind> = (typeof eventBodies)[K] extends Xdr<infer B> ? B : never;
/** What an event tells, without the number of the subscription. */
export type EventOf<K extends DomainEventKind> = Omit<BodyOf<K>, "callbackID">;
export type Emit = <K extends DomainEventKind>(kind: K, event: EventOf<K>) => void;

const parser = new XMLParser({ ignoreAttributes: false, parseTagValue: false });

const isRunning = (domain: FakeDomain): boolean => domain.id !== -1;
export const refOf = ({ name, uuid, id }: FakeDomain): DomainRef => ({ name, uuid, id });

/**
 * The domains of a fake libvirtd: names, states, reasons and events as libvirt
 * 9.0 with QEMU has them, and no guests. The contract suite holds it to that.
 */
export class FakeDomains {
  readonly #domains = new Map<string, FakeDomain>();
  /** What the save images hold, by their path. */
  readonly saveImages = new Map<string, string>();
  readonly #tell: Emit;
  readonly #newUuid: () => string;
  #lastId = 0;

  constructor(tell: Emit, newUuid: () => string) {
    this.#tell = tell;
    this.#newUuid = newUuid;
  }

  /** Tells every client that listens of something that happened to the domain. */
  tell<K extends DomainEventKind>(
    kind: K,
    domain: FakeDomain,
    eventOf: (dom: DomainRef) => EventOf<K>,
  ): void {
    this.#tell(kind, eventOf(refOf(domain)));
  }

  all(): readonly FakeDomain[] {
    return [...this.#domains.values()];
  }

  byUuid(uuid: string): FakeDomain {
    const found = this.#domains.get(uuid);
    if (found !== undefined) return found;
    throw new FakeLibvirtError(
      ErrorCode.NO_DOMAIN,
      `Domain not found: no domain with matching uuid '${uuid}'`,
    );
  }

  byName(name: string): FakeDomain {
    const found = this.all().find((domain) => domain.name === name);
    if (found !== undefined) return found;
    throw new FakeLibvirtError(
      ErrorCode.NO_DOMAIN,
      `Domain not found: no domain with matching name '${name}'`,
    );
  }

  define(xml: string): FakeDomain {
    const domain = this.#upsert(xml);
    const updated = domain.persistent;
    domain.persistent = true;
    const detail = updated ? DomainEventDefinedDetail.UPDATED : DomainEventDefinedDetail.ADDED;
    this.#emit(refOf(domain), DomainEventType.DEFINED, detail);
    return domain;
  }

  createTransient(xml: string): FakeDomain {
    const domain = this.#upsert(xml);
    this.start(domain);
    return domain;
  }

  undefine(domain: FakeDomain): void {
    if (!domain.persistent) {
      throw new FakeLibvirtError(ErrorCode.OPERATION_INVALID, "cannot undefine transient domain");
    }
    domain.persistent = false;
    if (!isRunning(domain)) this.#domains.delete(domain.uuid);
    this.#emit(refOf(domain), DomainEventType.UNDEFINED, DomainEventUndefinedDetail.REMOVED);
  }

  start(domain: FakeDomain, paused = false): void {
    if (isRunning(domain)) {
      throw new FakeLibvirtError(ErrorCode.OPERATION_INVALID, "domain is already running");
    }
    this.#lastId += 1;
    domain.id = this.#lastId;
    domain.state = paused ? DomainState.PAUSED : DomainState.RUNNING;
    domain.reason = paused ? DomainPausedReason.USER : DomainRunningReason.BOOTED;
    if (!paused) this.#emit(refOf(domain), DomainEventType.RESUMED, DomainEventResumedDetail.UNPAUSED);
    this.#emit(refOf(domain), DomainEventType.STARTED, DomainEventStartedDetail.BOOTED);
  }

  suspend(domain: FakeDomain): void {
    this.assertRunning(domain);
    domain.state = DomainState.PAUSED;
    domain.reason = DomainPausedReason.USER;
    this.#emit(refOf(domain), DomainEventType.SUSPENDED, DomainEventSuspendedDetail.PAUSED);
  }

  resume(domain: FakeDomain): void {
    this.assertRunning(domain);
    if (domain.state === DomainState.RUNNING) {
      throw new FakeLibvirtError(ErrorCode.OPERATION_INVALID, "domain is already running");
    }
    domain.state = DomainState.RUNNING;
    domain.reason = DomainRunningReason.UNPAUSED;
    this.#emit(refOf(domain), DomainEventType.RESUMED, DomainEventResumedDetail.UNPAUSED);
  }

  destroy(domain: FakeDomain): void {
    this.assertRunning(domain);
    this.#end(domain, DomainShutoffReason.DESTROYED, DomainEventStoppedDetail.DESTROYED);
  }

  /** The guest powers itself off. */
  powerOff(domain: FakeDomain): void {
    this.assertRunning(domain);
    this.#end(domain, DomainShutoffReason.SHUTDOWN, DomainEventStoppedDetail.SHUTDOWN);
  }

  /** The guest's process dies. */
  crash(domain: FakeDomain): void {
    this.assertRunning(domain);
    this.#end(domain, DomainShutoffReason.CRASHED, DomainEventStoppedDetail.FAILED);
  }

  /** Ends the job of the disk with that target, as completed if nothing else is said. */
  finishBlockJob(domain: FakeDomain, disk: string, status: number = BlockJobStatus.COMPLETED): void {
    this.tellBlockJob(domain, disk, status);
    domain.blockJobs.delete(disk);
  }

  tellBlockJob(domain: FakeDomain, disk: string, status: number): void {
    const job = domain.blockJobs.get(disk);
    if (job !== undefined)
      this.tell("blockJob2", domain, (dom) => ({ dom, dst: disk, type: job.type, status }));
  }

  /** The domain has been saved to a file. */
  saved(domain: FakeDomain): void {
    this.#end(domain, DomainShutoffReason.SAVED, DomainEventStoppedDetail.SAVED);
  }

  /** Starts the domain of a save image. */
  restore(xml: string, paused: boolean): void {
    const domain = this.#upsert(xml);
    this.start(domain, paused);
    if (!paused) domain.reason = DomainRunningReason.RESTORED;
  }

  /** Holds the domain for a migration. */
  beginMigration(domain: FakeDomain): void {
    this.assertRunning(domain);
    domain.migration = "outgoing";
  }

  /** The domain is left as it is: paused when its memory has gone already. */
  forgetMigration(domain: FakeDomain): void {
    domain.migration = undefined;
  }

  /** The domain of an incoming migration, which waits for its memory. */
  prepareIncoming(xml: string): FakeDomain {
    const domain = this.#upsert(xml);
    if (isRunning(domain)) {
      throw new FakeLibvirtError(
        ErrorCode.OPERATION_INVALID,
        `Requested operation is not valid: domain '${domain.name}' is already active`,
      );
    }
    this.#lastId += 1;
    domain.id = this.#lastId;
    domain.state = DomainState.PAUSED;
    domain.reason = DomainPausedReason.MIGRATION;
    domain.migration = "incoming";
    return domain;
  }

  cancelIncoming(domain: FakeDomain): void {
    if (domain.migration !== "incoming") return;
    domain.migration = undefined;
    this.#end(domain, DomainShutoffReason.DESTROYED, DomainEventStoppedDetail.DESTROYED);
  }

  finishIncoming(domain: FakeDomain, persistent: boolean): void {
    this.assertMigrating(domain, "incoming");
    domain.migration = undefined;
    domain.persistent = persistent;
    domain.state = DomainState.RUNNING;
    domain.reason = DomainRunningReason.MIGRATED;
    this.#emit(refOf(domain), DomainEventType.STARTED, DomainEventStartedDetail.MIGRATED);
    this.#emit(refOf(domain), DomainEventType.RESUMED, DomainEventResumedDetail.MIGRATED);
  }

  /** All of the domain is at the target; it waits whether it is to end or to go on. */
  pauseForMigration(domain: FakeDomain): void {
    this.assertRunning(domain);
    domain.migration = "outgoing";
    domain.state = DomainState.PAUSED;
    domain.reason = DomainPausedReason.MIGRATION;
    this.#emit(refOf(domain), DomainEventType.SUSPENDED, DomainEventSuspendedDetail.MIGRATED);
  }

  /** Whether the domain has gone, or goes on where it was. */
  confirmMigration(domain: FakeDomain, cancelled: boolean, undefine: boolean): void {
    this.assertMigrating(domain, "outgoing");
    domain.migration = undefined;
    if (!cancelled) {
      this.#end(domain, DomainShutoffReason.MIGRATED, DomainEventStoppedDetail.MIGRATED);
      if (undefine && domain.persistent) this.undefine(domain);
    } else if (domain.state === DomainState.PAUSED) {
      domain.state = DomainState.RUNNING;
      domain.reason = DomainRunningReason.MIGRATION_CANCELED;
      this.#emit(refOf(domain), DomainEventType.RESUMED, DomainEventResumedDetail.MIGRATED);
    }
  }

  assertMigrating(domain: FakeDomain, side: "outgoing" | "incoming"): void {
    if (domain.migration === side) return;
    const what = side === "outgoing" ? "being migrated" : "processing incoming migration";
    throw new FakeLibvirtError(
      ErrorCode.OPERATION_INVALID,
      `Requested operation is not valid: domain '${domain.name}' is not ${what}`,
    );
  }

  assertRunning(domain: FakeDomain): void {
    if (isRunning(domain)) return;
    throw new FakeLibvirtError(
      ErrorCode.OPERATION_INVALID,
      "Requested operation is not valid: domain is not running",
    );
  }

  /** Neither off nor paused, asleep or shutting down: in the same words. */
  assertAwake(domain: FakeDomain): void {
    if (domain.state === DomainState.RUNNING) return;
    throw new FakeLibvirtError(
      ErrorCode.OPERATION_INVALID,
      "Requested operation is not valid: domain is not running",
    );
  }

  #emit(dom: DomainRef, event: number, detail: number): void {
    this.#tell("lifecycle", { msg: { dom, event, detail } });
  }

  #end(domain: FakeDomain, reason: number, detail: number): void {
    const ended = refOf(domain);
    domain.id = -1;
    domain.state = DomainState.SHUTOFF;
    domain.reason = reason;
    if (!domain.persistent) this.#domains.delete(domain.uuid);
    this.#emit(ended, DomainEventType.STOPPED, detail);
  }

  #upsert(xml: string): FakeDomain {
    const { name, uuid = this.#newUuid() } = identityIn(xml);
    const sameName = this.all().find((domain) => domain.name === name);
    if (sameName !== undefined && sameName.uuid !== uuid) {
      throw new FakeLibvirtError(
        ErrorCode.OPERATION_FAILED,
        `operation failed: domain '${name}' already exists with uuid ${sameName.uuid}`,
      );
    }
    const known = this.#domains.get(uuid);
    if (known !== undefined) {
      known.xml = xml;
      return known;
    }
    const made: FakeDomain = {
      name,
      uuid,
      id: -1,
      xml,
      persistent: false,
      autostart: false,
      state: DomainState.SHUTOFF,
      reason: DomainShutoffReason.UNKNOWN,
      heldDevices: [],
      blockJobs: new Map(),
      diskBytes: new Map(),
    };
    this.#domains.set(uuid, made);
    return made;
  }
}

/** The little of a definition that the fake understands. */
const identityIn = (xml: string): { name: string; uuid: string | undefined } => {
  if (XMLValidator.validate(xml) !== true) {
    throw new FakeLibvirtError(ErrorCode.XML_ERROR, "(domain_definition): the document is not well-formed");
  }
  const parsed: unknown = parser.parse(xml);
  const domain = fieldOf(parsed, "domain");
  const name = fieldOf(domain, "name");
  if (typeof name !== "string" || name.includes("/")) {
    throw new FakeLibvirtError(ErrorCode.XML_ERROR, "XML error: no usable name in the domain");
  }
  const uuid = fieldOf(domain, "uuid");
  return { name, uuid: typeof uuid === "string" ? uuid.toLowerCase() : undefined };
};

const fieldOf = (value: unknown, name: string): unknown =>
  typeof value === "object" && value !== null ? Reflect.get(value, name) : undefined;

import type { Message } from "./procedure.ts";
import { domain, JOB_STATS_MAX, text, typedParameters } from "./shapes.ts";
import type { DomainLifecycleEvent, DomainRef, TypedValue } from "./types.ts";
import { int, struct, uhyper, type ReadableXdr } from "./xdr.ts";

/**
 * The events that can be subscribed to. `id` is virDomainEventID; the message's
 * number and body come from remote_protocol.x, as those of the procedures do.
 * https://libvirt.org/html/libvirt-libvirt-domain.html#virDomainEventID
 */

/** What each kind of event tells. */
export interface DomainEvents {
  readonly lifecycle: DomainLifecycleEvent;
  readonly reboot: { readonly domain: DomainRef };
  /** `state`: AgentLifecycleState; `reason`: AgentLifecycleReason. */
  readonly agentLifecycle: { readonly domain: DomainRef; readonly state: number; readonly reason: number };
  /** The guest has let go of a device: only now is a detach complete. */
  readonly deviceRemoved: { readonly domain: DomainRef; readonly deviceAlias: string };
  /** The guest refused to let go of a device, which stays. A guest that says nothing causes no event at all. */
  readonly deviceRemovalFailed: { readonly domain: DomainRef; readonly deviceAlias: string };
  /** The guest has taken another size of its virtio-mem device. */
  readonly memoryDeviceSizeChange: {
    readonly domain: DomainRef;
    readonly alias: string;
    readonly sizeKib: bigint;
  };
  /** The balloon has another size. */
  readonly balloonChange: { readonly domain: DomainRef; readonly actualKib: bigint };
  /**
   * A block job is ready to pivot, or has ended. libvirt's second version of the
   * event, which names the disk by its target (vda). `type`: DomainBlockJobType;
   * `status`: BlockJobStatus.
   */
  readonly blockJob2: {
    readonly domain: DomainRef;
    readonly disk: string;
    readonly type: number;
    readonly status: number;
  };
  /** A migration has begun another pass over the guest's memory, the first being 1. */
  readonly migrationIteration: { readonly domain: DomainRef; readonly iteration: number };
  /** A migration, save or other job has ended; `stats` is what jobStats would have told. */
  readonly jobCompleted: { readonly domain: DomainRef; readonly stats: ReadonlyMap<string, TypedValue> };
}

export type DomainEventKind = keyof DomainEvents;

/** How one kind of event is asked for, and what arrives. */
export interface EventLine<E> {
  readonly id: number;
  readonly message: Message<E>;
}

/** What is on the wire, as remote_protocol.x has it. */
export const eventBodies = {
  lifecycle: struct({ callbackID: int, msg: struct({ dom: domain, event: int, detail: int }) }),
  reboot: struct({ callbackID: int, msg: struct({ dom: domain }) }),
  balloonChange: struct({ callbackID: int, msg: struct({ dom: domain, actual: uhyper }) }),
  deviceRemoved: struct({ callbackID: int, msg: struct({ dom: domain, devAlias: text }) }),
  blockJob2: struct({ callbackID: int, dom: domain, dst: text, type: int, status: int }),
  agentLifecycle: struct({ callbackID: int, dom: domain, state: int, reason: int }),
  migrationIteration: struct({ callbackID: int, dom: domain, iteration: int }),
  jobCompleted: struct({ callbackID: int, dom: domain, params: typedParameters(JOB_STATS_MAX) }),
  deviceRemovalFailed: struct({ callbackID: int, dom: domain, devAlias: text }),
  memoryDeviceSizeChange: struct({ callbackID: int, dom: domain, alias: text, size: uhyper }),
};

/** `eventOf` turns what is on the wire into what is told. The subscription's number is left out: a kind is registered once per connection. */
const line = <M, E>(
  id: number,
  name: string,
  number: number,
  body: ReadableXdr<M>,
  eventOf: (body: M) => E,
): EventLine<E> => ({
  id,
  message: { name, number, body: { layout: body.layout, read: (reader) => eventOf(body.read(reader)) } },
});

const { lifecycle, reboot, balloonChange, deviceRemoved, blockJob2 } = eventBodies;
const { agentLifecycle, migrationIteration, jobCompleted } = eventBodies;
const { deviceRemovalFailed, memoryDeviceSizeChange } = eventBodies;

export const domainEvents: { readonly [K in DomainEventKind]: EventLine<DomainEvents[K]> } = {
  lifecycle: line(0, "domainEventCallbackLifecycle", 318, lifecycle, ({ msg }) => ({
    uuid: msg.dom.uuid,
    name: msg.dom.name,
    event: msg.event,
    detail: msg.detail,
  })),
  reboot: line(1, "domainEventCallbackReboot", 319, reboot, ({ msg }) => ({ domain: msg.dom })),
  balloonChange: line(13, "domainEventCallbackBalloonChange", 331, balloonChange, ({ msg }) => ({
    domain: msg.dom,
    actualKib: msg.actual,
  })),
  deviceRemoved: line(15, "domainEventCallbackDeviceRemoved", 333, deviceRemoved, ({ msg }) => ({
    domain: msg.dom,
    deviceAlias: msg.devAlias,
  })),
  blockJob2: line(16, "domainEventBlockJob2", 339, blockJob2, ({ dom, dst, type, status }) => ({
    domain: dom,
    disk: dst,
    type,
    status,
  })),
  agentLifecycle: line(18, "domainEventCallbackAgentLifecycle", 348, agentLifecycle, (body) => ({
    domain: body.dom,
    state: body.state,
    reason: body.reason,
  })),
  migrationIteration: line(20, "domainEventCallbackMigrationIteration", 359, migrationIteration, (body) => ({
    domain: body.dom,
    iteration: body.iteration,
  })),
  jobCompleted: line(21, "domainEventCallbackJobCompleted", 363, jobCompleted, ({ dom, params }) => ({
    domain: dom,
    stats: params,
  })),
  deviceRemovalFailed: line(
    22,
    "domainEventCallbackDeviceRemovalFailed",
    367,
    deviceRemovalFailed,
    ({ dom, devAlias }) => ({ domain: dom, deviceAlias: devAlias }),
  ),
  memoryDeviceSizeChange: line(
    26,
    "domainEventMemoryDeviceSizeChange",
    438,
    memoryDeviceSizeChange,
    ({ dom, alias, size }) => ({ domain: dom, alias, sizeKib: size }),
  ),
};

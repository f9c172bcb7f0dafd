import type { Message } from "./procedure.ts";
import { domain, text, typedParameters } from "./shapes.ts";
import type { DomainLifecycleEvent, DomainRef, TypedValue } from "./types.ts";
import { int, struct, type ReadableXdr } from "./xdr.ts";

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
  readonly jobCompleted: { readonly domain: DomainRef; readonly stats: ReadonlyMap<string, TypedValue> };
}

export type DomainEventKind = keyof DomainEvents;

/** How one kind of event is asked for, and what arrives. */
export interface EventLine<E> {
  readonly id: number;
  /** The subscription's number in it is not read: a kind is registered once per connection. */
  readonly message: Message<E>;
}

/** REMOTE_DOMAIN_JOB_STATS_MAX */
const JOB_STATS_MAX = 64;

/** remote_domain_event_callback_lifecycle_msg */
export const lifecycleBody = struct({
  callbackID: int,
  msg: struct({ dom: domain, event: int, detail: int }),
});
const rebootBody = struct({ callbackID: int, msg: struct({ dom: domain }) });
const agentLifecycleBody = struct({ callbackID: int, dom: domain, state: int, reason: int });
const deviceRemovedBody = struct({ callbackID: int, msg: struct({ dom: domain, devAlias: text }) });
const jobCompletedBody = struct({ callbackID: int, dom: domain, params: typedParameters(JOB_STATS_MAX) });

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

export const domainEvents: { readonly [K in DomainEventKind]: EventLine<DomainEvents[K]> } = {
  lifecycle: line(
    0,
    "domainEventCallbackLifecycle",
    318,
    lifecycleBody,
    ({ msg: { dom, event, detail } }) => ({
      uuid: dom.uuid,
      name: dom.name,
      event,
      detail,
    }),
  ),
  reboot: line(1, "domainEventCallbackReboot", 319, rebootBody, ({ msg }) => ({ domain: msg.dom })),
  deviceRemoved: line(15, "domainEventCallbackDeviceRemoved", 333, deviceRemovedBody, ({ msg }) => ({
    domain: msg.dom,
    deviceAlias: msg.devAlias,
  })),
  agentLifecycle: line(
    18,
    "domainEventCallbackAgentLifecycle",
    348,
    agentLifecycleBody,
    ({ dom, state, reason }) => ({ domain: dom, state, reason }),
  ),
  jobCompleted: line(21, "domainEventCallbackJobCompleted", 363, jobCompletedBody, ({ dom, params }) => ({
    domain: dom,
    stats: params,
  })),
};

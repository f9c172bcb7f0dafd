import type { Message } from "./procedure.ts";
import { domain, text, typedParameters } from "./shapes.ts";
import type { DomainLifecycleEvent, DomainRef, TypedValue } from "./types.ts";
import { int, struct, type Xdr } from "./xdr.ts";

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

/** A decoded event and the subscription that it belongs to. */
export interface Delivery<E> {
  readonly callbackId: number;
  readonly event: E;
}

interface EventLine<M, E> {
  readonly id: number;
  readonly message: Message<M>;
  readonly deliver: (body: M) => Delivery<E>;
}

/** REMOTE_DOMAIN_JOB_STATS_MAX */
const JOB_STATS_MAX = 64;

const event = <M, E>(
  id: number,
  number: number,
  name: string,
  body: Xdr<M>,
  deliver: (body: M) => Delivery<E>,
): EventLine<M, E> => ({ id, message: { name, number, body }, deliver });

export const domainEvents = {
  lifecycle: event(
    0,
    318,
    "domainEventCallbackLifecycle",
    struct({ callbackID: int, msg: struct({ dom: domain, event: int, detail: int }) }),
    ({ callbackID, msg: { dom, event, detail } }): Delivery<DomainEvents["lifecycle"]> => ({
      callbackId: callbackID,
      event: { uuid: dom.uuid, name: dom.name, event, detail },
    }),
  ),
  reboot: event(
    1,
    319,
    "domainEventCallbackReboot",
    struct({ callbackID: int, msg: struct({ dom: domain }) }),
    ({ callbackID, msg }): Delivery<DomainEvents["reboot"]> => ({
      callbackId: callbackID,
      event: { domain: msg.dom },
    }),
  ),
  agentLifecycle: event(
    18,
    348,
    "domainEventCallbackAgentLifecycle",
    struct({ callbackID: int, dom: domain, state: int, reason: int }),
    ({ callbackID, dom, state, reason }): Delivery<DomainEvents["agentLifecycle"]> => ({
      callbackId: callbackID,
      event: { domain: dom, state, reason },
    }),
  ),
  deviceRemoved: event(
    15,
    333,
    "domainEventCallbackDeviceRemoved",
    struct({ callbackID: int, msg: struct({ dom: domain, devAlias: text }) }),
    ({ callbackID, msg }): Delivery<DomainEvents["deviceRemoved"]> => ({
      callbackId: callbackID,
      event: { domain: msg.dom, deviceAlias: msg.devAlias },
    }),
  ),
  jobCompleted: event(
    21,
    363,
    "domainEventCallbackJobCompleted",
    struct({ callbackID: int, dom: domain, params: typedParameters(JOB_STATS_MAX) }),
    ({ callbackID, dom, params }): Delivery<DomainEvents["jobCompleted"]> => ({
      callbackId: callbackID,
      event: { domain: dom, stats: params },
    }),
  ),
} as const;

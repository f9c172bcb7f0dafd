import type { Rule } from "./rules.ts";
import type { Tuning } from "./settings.ts";
import type { Forwarding, Neighbour, ObservedRoute, Route } from "./types.ts";

/** A change to the node's network, for iproute2. */
export type Step =
  | { readonly kind: "remove-device"; readonly device: string }
  | { readonly kind: "add-gateway-device" }
  | { readonly kind: "raise-device"; readonly device: string }
  | {
      readonly kind: "add-gateway";
      readonly device: string;
      readonly gateway: string;
      readonly scope: "global" | "host";
    }
  | {
      readonly kind: "remove-gateway";
      readonly device: string;
      /** With its prefix length. */
      readonly address: string;
    }
  | { readonly kind: "add-tap"; readonly device: string }
  | { readonly kind: "configure-tap"; readonly device: string; readonly configuration: TapConfiguration }
  | { readonly kind: "add-vxlan"; readonly vxlan: Vxlan }
  | { readonly kind: "configure-vxlan"; readonly vxlan: Vxlan }
  | { readonly kind: "set-neighbour"; readonly neighbour: Neighbour }
  | { readonly kind: "remove-neighbour"; readonly device: string; readonly address: string }
  | { readonly kind: "set-route"; readonly route: Route }
  | { readonly kind: "remove-route"; readonly route: ObservedRoute }
  | { readonly kind: "add-rule"; readonly rule: Rule }
  | { readonly kind: "remove-rule"; readonly rule: Rule };

/** A change to where a VXLAN device sends to, for iproute2's bridge(8). */
export type ForwardingStep =
  | { readonly kind: "set-forwarding"; readonly forwarding: Forwarding }
  | { readonly kind: "remove-forwarding"; readonly forwarding: Forwarding };

export interface TapConfiguration {
  readonly alias: string;
  /** Bytes. */
  readonly mtu: number;
  readonly group: number;
}

/** A Network's VXLAN device as it is to be. */
export interface Vxlan {
  readonly name: string;
  readonly vni: number;
  readonly macAddress: string;
  /** Address that it sends from. */
  readonly local: string;
  readonly port: number;
  /** Bytes. */
  readonly mtu: number;
  readonly group: number;
  readonly alias: string;
}

/** In this order: a device is quiet until it is tuned, and knows its nodes before anything is routed to them. */
export interface Plan {
  readonly make: readonly Step[];
  readonly tune: readonly Tuning[];
  readonly forward: readonly ForwardingStep[];
  readonly connect: readonly Step[];
}

export const nothing: Plan = { make: [], tune: [], forward: [], connect: [] };

export const joined = (...plans: readonly Plan[]): Plan => ({
  make: plans.flatMap(({ make }) => make),
  tune: plans.flatMap(({ tune }) => tune),
  forward: plans.flatMap(({ forward }) => forward),
  connect: plans.flatMap(({ connect }) => connect),
});

/** Everything is as it should be. */
export const isEmpty = ({ make, tune, forward, connect }: Plan): boolean =>
  [make, tune, forward, connect].every((part) => part.length === 0);

/** Two routes with the same text are the same route. */
export const routeText = ({ table, destination, device, gateway, source }: Route): string =>
  [table, destination, device, gateway, source].join(" ");

/** Whether an observed route is one that we would make. */
export const isPlain = ({ metric, unicast }: ObservedRoute): boolean => metric === 0 && unicast;

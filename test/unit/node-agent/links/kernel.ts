import { TAP_MAC_ADDRESS } from "../../../../src/node-agent/links/plan-taps.ts";
import { ruleWords, type Rule } from "../../../../src/node-agent/links/rules.ts";
import { settingsOf, type Tuning } from "../../../../src/node-agent/links/settings.ts";
import {
  type ForwardingStep,
  type Plan,
  routeText,
  type Step,
  type Vxlan,
} from "../../../../src/node-agent/links/steps.ts";
import type { ObservedDevice, ObservedLinks, ObservedRoute } from "../../../../src/node-agent/links/types.ts";

/** What the kernel makes of the steps, as far as this room looks at it. What it refuses throws. */

/** A node on which nobody has done anything yet. */
export const emptyNode: ObservedLinks = {
  devices: [],
  rules: [],
  routes: [],
  neighbours: [],
  forwarding: [],
  settings: new Map(Object.keys(settingsOf({ kind: "node" })).map((name) => [name, "0"])),
};

/** What a plan with nothing in it looks like. */
export const nothing: Plan = { make: [], tune: [], forward: [], connect: [] };

const refuse = (condition: boolean, why: string): void => {
  if (condition) throw new Error(why);
};

const changeDevice = (
  links: ObservedLinks,
  name: string,
  change: (device: ObservedDevice) => Partial<ObservedDevice>,
): ObservedLinks => {
  refuse(!links.devices.some((device) => device.name === name), `${name} does not exist`);
  return {
    ...links,
    devices: links.devices.map((device) =>
      device.name === name ? { ...device, ...change(device) } : device,
    ),
  };
};

/** The kernel forgets the routes and neighbours of a device that goes, and keeps the rules. */
const withoutTraffic = (links: ObservedLinks, name: string): ObservedLinks => ({
  ...links,
  routes: links.routes.filter(({ device }) => device !== name),
  neighbours: links.neighbours.filter(({ device }) => device !== name),
  forwarding: links.forwarding.filter(({ device }) => device !== name),
});

const added = (
  links: ObservedLinks,
  device: Pick<ObservedDevice, "name"> & Partial<ObservedDevice>,
): ObservedLinks => {
  refuse(
    links.devices.some(({ name }) => name === device.name),
    `${device.name} exists`,
  );
  const made = {
    kind: undefined,
    alias: undefined,
    macAddress: "02:11:22:33:44:55",
    mtu: 1500,
    up: false,
    group: 0,
    addresses: [],
    vxlan: undefined,
  };
  return { ...links, devices: [...links.devices, { ...made, ...device }] };
};

const withVxlan = (links: ObservedLinks, vxlan: Vxlan): ObservedLinks => {
  const { name, macAddress, mtu, group, vni, local, port } = vxlan;
  return added(links, {
    kind: "vxlan",
    name,
    macAddress,
    mtu,
    group,
    vxlan: { vni, local, port, learning: false },
  });
};

const isUp = ({ devices }: ObservedLinks, name: string | undefined): boolean =>
  devices.some((device) => device.name === name && device.up);

const sameRule = (one: Rule, other: Rule): boolean => ruleWords(one).join(" ") === ruleWords(other).join(" ");

const sameRoute = (one: ObservedRoute, other: ObservedRoute): boolean =>
  routeText(one) === routeText(other) && one.metric === other.metric;

type Effects<S extends { readonly kind: string }> = {
  readonly [K in S["kind"]]: (links: ObservedLinks, step: Extract<S, { readonly kind: K }>) => ObservedLinks;
};

const effects: Effects<Step | ForwardingStep> = {
  "remove-device": (links, { device }) => {
    refuse(!links.devices.some(({ name }) => name === device), `${device} does not exist`);
    const rest = withoutTraffic(links, device);
    return { ...rest, devices: rest.devices.filter(({ name }) => name !== device) };
  },
  "add-gateway-device": (links) => added(links, { name: "vireo-gw", kind: "bridge" }),
  "add-tap": (links, { device }) => added(links, { name: device, kind: "tap" }),
  "add-vxlan": (links, { vxlan }) => withVxlan(links, vxlan),
  "raise-device": (links, { device }) => changeDevice(links, device, () => ({ up: true })),
  "configure-tap": (links, { device, configuration }) => {
    // Writing the hardware address empties the neighbour table, even if it is the same.
    const neighbours = links.neighbours.filter((one) => one.device !== device);
    const change = { ...configuration, macAddress: TAP_MAC_ADDRESS };
    return changeDevice({ ...links, neighbours }, device, () => change);
  },
  "configure-vxlan": (links, { vxlan: { name, alias, mtu, group } }) =>
    changeDevice(links, name, () => ({ alias, mtu, group })),
  "add-gateway": (links, { device, gateway }) =>
    changeDevice(links, device, ({ addresses }) => ({
      addresses: [...new Set([...addresses, `${gateway}/32`])],
    })),
  "remove-gateway": (links, { device, address }) =>
    changeDevice(links, device, ({ addresses }) => {
      refuse(!addresses.includes(address), `${device} has no ${address}`);
      return { addresses: addresses.filter((one) => one !== address) };
    }),
  "set-neighbour": (links, { neighbour }) => {
    refuse(!isUp(links, neighbour.device), `${neighbour.device} is down`);
    const others = links.neighbours.filter(
      ({ device, address }) => device !== neighbour.device || address !== neighbour.address,
    );
    return { ...links, neighbours: [...others, neighbour] };
  },
  "remove-neighbour": (links, step) => {
    const rest = links.neighbours.filter(
      ({ device, address }) => device !== step.device || address !== step.address,
    );
    refuse(rest.length === links.neighbours.length, `no neighbour ${step.address}`);
    return { ...links, neighbours: rest };
  },
  "set-route": (links, { route }) => {
    refuse(!isUp(links, route.device), `${route.device} is down`);
    // "replace" takes the place of the first route to the same destination with the same metric.
    const index = links.routes.findIndex(
      (one) => one.table === route.table && one.destination === route.destination && one.metric === 0,
    );
    const others = links.routes.filter((_, i) => i !== index);
    return { ...links, routes: [...others, { ...route, metric: 0, unicast: true }] };
  },
  "remove-route": (links, { route }) => {
    const rest = links.routes.filter((one) => !sameRoute(one, route));
    refuse(rest.length === links.routes.length, `no route ${routeText(route)}`);
    return { ...links, routes: rest };
  },
  "add-rule": (links, { rule }) => {
    refuse(
      links.rules.some((one) => sameRule(one, rule)),
      `rule exists: ${ruleWords(rule).join(" ")}`,
    );
    return { ...links, rules: [...links.rules, rule] };
  },
  "remove-rule": (links, { rule }) => {
    const rest = links.rules.filter((one) => !sameRule(one, rule));
    refuse(rest.length === links.rules.length, `no rule ${ruleWords(rule).join(" ")}`);
    return { ...links, rules: rest };
  },
  "set-forwarding": (links, { forwarding }) => {
    refuse(
      !links.devices.some(({ name }) => name === forwarding.device),
      `${forwarding.device} does not exist`,
    );
    const others = links.forwarding.filter(
      ({ device, macAddress }) => device !== forwarding.device || macAddress !== forwarding.macAddress,
    );
    return { ...links, forwarding: [...others, { ...forwarding, permanent: true }] };
  },
  "remove-forwarding": (links, { forwarding }) => {
    const rest = links.forwarding.filter(
      ({ device, macAddress, nodeAddress }) =>
        device !== forwarding.device ||
        macAddress !== forwarding.macAddress ||
        nodeAddress !== forwarding.nodeAddress,
    );
    refuse(rest.length === links.forwarding.length, `no entry ${forwarding.macAddress}`);
    return { ...links, forwarding: rest };
  },
};

// The table has an entry for each kind, which TypeScript cannot follow through the look-up.
const applyStep = (links: ObservedLinks, step: Step | ForwardingStep): ObservedLinks =>
  (effects[step.kind] as (links: ObservedLinks, step: Step | ForwardingStep) => ObservedLinks)(links, step);

const applyTuning = (links: ObservedLinks, tuning: Tuning): ObservedLinks => {
  if ("device" in tuning) {
    refuse(!links.devices.some(({ name }) => name === tuning.device), `${tuning.device} does not exist`);
  }
  const written = Object.entries(settingsOf(tuning)).map(([name, value]) => [name, String(value)] as const);
  return { ...links, settings: new Map([...links.settings, ...written]) };
};

export const apply = (links: ObservedLinks, { make, tune, forward, connect }: Plan): ObservedLinks => {
  const made = tune.reduce(applyTuning, make.reduce(applyStep, links));
  return connect.reduce(applyStep, forward.reduce(applyStep, made));
};

/** The first steps of a plan, as a killed agent leaves them done. */
export const cutOff = ({ make, tune, forward, connect }: Plan, steps: number): Plan => {
  const left = (before: number): number => Math.max(0, steps - before);
  return {
    make: make.slice(0, steps),
    tune: tune.slice(0, left(make.length)),
    forward: forward.slice(0, left(make.length + tune.length)),
    connect: connect.slice(0, left(make.length + tune.length + forward.length)),
  };
};

/** A state without the order in which the kernel lists things, and without settings of devices that are gone. */
export const comparable = (links: ObservedLinks): readonly unknown[] => {
  const names = new Set(links.devices.map(({ name }) => name));
  const settings = [...links.settings].filter(([name]) => {
    const [, , , device = ""] = name.split(".");
    return device === "" || names.has(device);
  });
  return [
    links.devices.map((one) => ({ ...one, addresses: one.addresses.toSorted() })),
    links.rules.map((rule) => ruleWords(rule).join(" ")),
    links.routes,
    links.neighbours,
    links.forwarding,
    settings,
  ].map((list) => list.map((item) => JSON.stringify(item, Object.keys(item).toSorted())).toSorted());
};

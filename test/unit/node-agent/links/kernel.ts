import type {
  ObservedDevice,
  ObservedLinks,
  Plan,
  Step,
  Tuning,
} from "../../../../src/node-agent/links/plan.ts";
import { TAP_MAC_ADDRESS } from "../../../../src/node-agent/links/plan.ts";

/** What the kernel makes of the steps, as far as this room looks at it. */

const changeDevice = (
  links: ObservedLinks,
  name: string,
  change: (device: ObservedDevice) => ObservedDevice,
): ObservedLinks => ({
  ...links,
  devices: links.devices.map((device) => (device.name === name ? change(device) : device)),
});

/** The kernel forgets the routes and neighbours of a device that goes. */
const withoutTraffic = (links: ObservedLinks, name: string): ObservedLinks => ({
  devices: links.devices,
  forwarding: links.forwarding,
  routes: links.routes.filter(({ device }) => device !== name),
  neighbours: links.neighbours.filter(({ device }) => device !== name),
});

const added = (links: ObservedLinks, device: Pick<ObservedDevice, "name" | "kind">): ObservedLinks => {
  if (links.devices.some(({ name }) => name === device.name)) throw new Error(`${device.name} exists`);
  const made = {
    alias: undefined,
    macAddress: "02:11:22:33:44:55",
    mtu: 1500,
    up: false,
    addresses: [],
    routesForGuest: false,
  };
  return { ...links, devices: [...links.devices, { ...made, ...device }] };
};

const existing = (links: ObservedLinks, name: string): ObservedDevice => {
  const device = links.devices.find((candidate) => candidate.name === name);
  if (device === undefined) throw new Error(`${name} does not exist`);
  return device;
};

const applyStep = (links: ObservedLinks, step: Step): ObservedLinks => {
  switch (step.kind) {
    case "remove-device": {
      existing(links, step.device);
      const rest = withoutTraffic(links, step.device);
      return { ...rest, devices: rest.devices.filter(({ name }) => name !== step.device) };
    }
    case "add-gateway-device":
      return added(links, { name: "vireo-gw", kind: "bridge" });
    case "add-tap":
      return added(links, { name: step.device, kind: "tap" });
    case "raise-device":
      existing(links, step.device);
      return changeDevice(links, step.device, (device) => ({ ...device, up: true }));
    case "configure-tap": {
      existing(links, step.device);
      const { alias, mtu } = step;
      const configured = { alias, mtu, macAddress: TAP_MAC_ADDRESS };
      return changeDevice(withoutTraffic(links, step.device), step.device, (device) => ({
        ...device,
        ...configured,
      }));
    }
    case "add-gateway":
      existing(links, "vireo-gw");
      return changeDevice(links, "vireo-gw", (device) => ({
        ...device,
        addresses: [...new Set([...device.addresses, `${step.gateway}/32`])],
      }));
    case "remove-gateway":
      return changeDevice(links, "vireo-gw", (device) => ({
        ...device,
        addresses: device.addresses.filter((address) => address !== step.address),
      }));
    case "set-neighbour": {
      const { device, address, macAddress } = step;
      const others = links.neighbours.filter((known) => known.device !== device || known.address !== address);
      return { ...links, neighbours: [...others, { device, address, macAddress }] };
    }
    case "remove-neighbour":
      return {
        ...links,
        neighbours: links.neighbours.filter(
          ({ device, address }) => device !== step.device || address !== step.address,
        ),
      };
    case "set-route": {
      if (!existing(links, step.device).up) throw new Error(`${step.device} is down`);
      // "replace" takes over a route to the same destination, whosever it is.
      const others = links.routes.filter(({ destination }) => destination !== step.address);
      return { ...links, routes: [...others, { destination: step.address, device: step.device }] };
    }
    case "remove-route":
      return {
        ...links,
        routes: links.routes.filter(
          ({ device, destination }) => device !== step.device || destination !== step.destination,
        ),
      };
  }
};

const applyTuning = (links: ObservedLinks, tuning: Tuning): ObservedLinks => {
  switch (tuning.kind) {
    case "node":
      return { ...links, forwarding: true };
    case "gateway":
      existing(links, "vireo-gw");
      return links;
    case "tap":
      existing(links, tuning.device);
      return changeDevice(links, tuning.device, (device) => ({ ...device, routesForGuest: true }));
  }
};

export const apply = (links: ObservedLinks, { make, tune, connect }: Plan): ObservedLinks =>
  connect.reduce(applyStep, tune.reduce(applyTuning, make.reduce(applyStep, links)));

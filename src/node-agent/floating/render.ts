import { z } from "zod";
import { HELD_METRIC, switchName } from "./owner.ts";
import type { DeviceAddress, ObservedOutside, Placement } from "./types.ts";

/** Lines for ip -batch (ip(8)) and ipset restore (ipset(8)), and the reading of what they print. Pure. */

/** One word of a line; that none can begin another is checked here. */
const word = (value: string | number): string => {
  const text = String(value);
  if (!/^[A-Za-z0-9.:@_-]+$/.test(text)) {
    throw new RangeError(`not a word for a line of ip or ipset: ${JSON.stringify(text)}`);
  }
  return text;
};

const lines = (list: readonly string[]): string => list.map((line) => `${line}\n`).join("");

/** Together they have every address; a set of networks cannot have one of length 0. */
const HALVES = ["0.0.0.0/1", "128.0.0.0/1"] as const;

/** A switch that does not exist yet is off. The timeout at its making is for entries that name none: there are none. */
const makeSwitch = (address: string): string =>
  `create ${word(switchName(address))} hash:net family inet hashsize 64 maxelem 16 timeout 1`;

/** For ipset -exist restore. */
export const renderMakeSwitches = (addresses: readonly string[]): string => lines(addresses.map(makeSwitch));

/** For ipset -exist restore: on, for so many seconds from now. */
export const renderSwitchOn = (addresses: readonly string[], seconds: number): string =>
  lines(
    addresses.flatMap((address) => [
      makeSwitch(address),
      ...HALVES.map((half) => `add ${word(switchName(address))} ${half} timeout ${word(seconds)}`),
    ]),
  );

/** For ipset -exist restore. */
export const renderSwitchOff = (addresses: readonly string[]): string =>
  lines(addresses.flatMap((address) => [makeSwitch(address), `flush ${word(switchName(address))}`]));

export const renderRemoveSwitches = (addresses: readonly string[]): string =>
  lines(addresses.map((address) => `destroy ${word(switchName(address))}`));

/** For ip -batch: on their devices for so many seconds from now. */
export const renderHold = (placements: readonly Placement[], seconds: number): string =>
  lines(
    placements.map(
      ({ address, device }) =>
        `address replace ${word(address)}/32 dev ${word(device)} valid_lft ${word(seconds)} preferred_lft ${word(seconds)} metric ${HELD_METRIC}`,
    ),
  );

/** For ip -batch. */
export const renderRemove = (addresses: readonly DeviceAddress[]): string =>
  lines(addresses.map(({ address, device }) => `address delete ${word(address)}/32 dev ${word(device)}`));

/** For ip -4 -json -batch; answered by one line of JSON each. */
export const OBSERVE = "address show\nroute show default\n";

const observation = z.tuple([
  z.array(
    z.object({
      ifname: z.string().optional(),
      addr_info: z
        .array(
          z.object({
            family: z.string().optional(),
            local: z.string().optional(),
            prefixlen: z.int().optional(),
            metric: z.int().optional(),
          }),
        )
        .default([]),
    }),
  ),
  z.array(z.object({ dev: z.string().optional(), metric: z.int().default(0) })),
]);

/** Reads what ip printed for OBSERVE. */
export const parseOutside = (stdout: string): ObservedOutside => {
  const [devices, routes] = observation.parse(
    stdout
      .split("\n")
      .filter((line) => line.trim() !== "")
      .map((line): unknown => JSON.parse(line)),
  );
  return {
    addresses: devices.flatMap(({ ifname, addr_info: list }) =>
      list.flatMap(({ family, local, prefixlen, metric }) =>
        family === "inet" && ifname !== undefined && local !== undefined
          ? [{ device: ifname, address: local, prefixLength: prefixlen ?? 32, metric }]
          : [],
      ),
    ),
    defaultDevices: routes
      .toSorted((a, b) => a.metric - b.metric)
      .flatMap(({ dev }) => (dev === undefined ? [] : [dev])),
  };
};

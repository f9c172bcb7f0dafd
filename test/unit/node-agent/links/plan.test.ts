import { describe, expect, test } from "@jest/globals";
import fc from "fast-check";

import type { AllocatedInterface } from "../../../../src/api/virtual-machine.ts";
import { tapAlias, tapName } from "../../../../src/node-agent/links/owner.ts";
import {
  ForeignDeviceError,
  type ObservedDevice,
  type ObservedLinks,
  planEnsure,
  planRemove,
  planSetUp,
  planTearDown,
  TAP_MAC_ADDRESS,
} from "../../../../src/node-agent/links/plan.ts";
import type { Link } from "../../../../src/node-agent/links/types.ts";
import { apply } from "./kernel.ts";

const uids = ["11111111-1111-4111-8111-111111111111", "22222222-2222-4222-8222-222222222222"] as const;
const networks = ["blue", "red", "green"] as const;

const interfaceOf = (network: (typeof networks)[number], host: number): AllocatedInterface => ({
  network,
  macAddress: `02:00:00:00:0${networks.indexOf(network)}:0${host}`,
  address: `10.${networks.indexOf(network)}.0.1${host}`,
  prefixLength: 24,
  gateway: `10.${networks.indexOf(network)}.0.1`,
  dnsServers: [],
  mtu: 1450,
});

/** Some machines, each with an interface in some of the networks. */
const wantedLinks = fc.tuple(...uids.map(() => fc.subarray([...networks]))).map((chosen) =>
  chosen.map((names, host): Link => ({
    vmUid: uids[host] ?? "",
    interfaces: names.map((network) => interfaceOf(network, host)),
  })),
);

const device = (changes: Partial<ObservedDevice> & Pick<ObservedDevice, "name">): ObservedDevice => ({
  kind: undefined,
  alias: undefined,
  macAddress: "02:aa:aa:aa:aa:aa",
  mtu: 1500,
  up: true,
  addresses: [],
  routesForGuest: false,
  ...changes,
});

/** Taps of ours in any condition that a killed agent or a person may have left them in. */
const anyTap = fc
  .record({
    vmUid: fc.constantFrom(...uids),
    network: fc.constantFrom(...networks),
    alias: fc.constantFrom("own", "none", "foreign"),
    macAddress: fc.constantFrom(TAP_MAC_ADDRESS, "02:bb:bb:bb:bb:bb"),
    mtu: fc.constantFrom(1450, 1500),
    up: fc.boolean(),
    routesForGuest: fc.boolean(),
  })
  .map(({ vmUid, network, alias, ...rest }) => {
    const aliases = {
      own: tapAlias({ vmUid, gateway: interfaceOf(network, 0).gateway }),
      none: undefined,
      foreign: "rack 4",
    };
    return device({ name: tapName(vmUid, network), kind: "tap", alias: aliases[alias as "own"], ...rest });
  });

const strangers: readonly ObservedDevice[] = [
  device({ name: "lo", addresses: ["127.0.0.1/8"] }),
  device({ name: "eth0", addresses: ["192.0.2.1/24"] }),
  device({ name: "vnet3", kind: "tap", alias: "vireo:of-somebody-else" }),
  device({ name: "virbr0", kind: "bridge", addresses: ["192.168.122.1/24"] }),
];

const anyGatewayDevice = fc.option(
  fc
    .record({
      up: fc.boolean(),
      addresses: fc.subarray(["10.0.0.1/32", "10.1.0.1/32", "10.2.0.1/32", "172.16.0.1/24"]),
    })
    .map((changes) => device({ name: "vireo-gw", kind: "bridge", ...changes })),
);

const anyState: fc.Arbitrary<ObservedLinks> = fc
  .record({
    taps: fc.uniqueArray(anyTap, { selector: ({ name }) => name }),
    gateway: anyGatewayDevice,
    leftovers: fc.boolean(),
    forwarding: fc.boolean(),
  })
  .map(({ taps, gateway, leftovers, forwarding }) => ({
    devices: [...strangers, ...(gateway === null ? [] : [gateway]), ...taps],
    forwarding,
    routes: [
      { destination: "default", device: "eth0" },
      ...(leftovers ? taps.map(({ name }) => ({ destination: "10.9.9.9", device: name })) : []),
    ],
    neighbours: leftovers
      ? taps.map(({ name }) => ({ address: "10.9.9.9", device: name, macAddress: "02:cc:cc:cc:cc:cc" }))
      : [],
  }));

const ensureAll = (state: ObservedLinks, wants: readonly Link[]): ObservedLinks =>
  wants.reduce((now, want) => apply(now, planEnsure(want, now)), state);

/** The order in which the kernel lists things does not matter. */
const comparable = ({ devices, forwarding, ...lists }: ObservedLinks): readonly unknown[] =>
  [
    [forwarding],
    devices.map((one) => ({ ...one, addresses: one.addresses.toSorted() })),
    ...Object.values(lists),
  ].map((list) => list.map((item) => JSON.stringify(item)).toSorted());

const nothing = { make: [], tune: [], connect: [] };

const emptyNode: ObservedLinks = { devices: [], forwarding: true, routes: [], neighbours: [] };

describe("the plan for links", () => {
  test("leads from any state to the wanted one, in which nothing is left to do", () => {
    fc.assert(
      fc.property(anyState, wantedLinks, (state, wants) => {
        const end = ensureAll(apply(state, planSetUp(state)), wants);
        for (const want of wants) expect(planEnsure(want, end)).toEqual(nothing);
        expect(planSetUp(end)).toEqual(nothing);
        expect(end.forwarding).toBe(true);
        for (const { interfaces, vmUid } of wants) {
          for (const { network, address, macAddress, gateway } of interfaces) {
            const name = tapName(vmUid, network);
            expect(end.devices).toContainEqual(
              expect.objectContaining({ name, up: true, mtu: 1450, routesForGuest: true }),
            );
            expect(end.routes).toContainEqual({ destination: address, device: name });
            expect(end.neighbours).toContainEqual({ address, device: name, macAddress });
            const addresses = end.devices.find((one) => one.name === "vireo-gw")?.addresses;
            expect(addresses).toContain(`${gateway}/32`);
          }
        }
      }),
    );
  });

  test("comes to the same end in whatever order the machines are looked at, and however often", () => {
    fc.assert(
      fc.property(anyState, wantedLinks, (state, wants) => {
        const start = apply(state, planSetUp(state));
        const end = comparable(ensureAll(start, wants));
        expect(comparable(ensureAll(start, wants.toReversed()))).toEqual(end);
        expect(comparable(ensureAll(start, [...wants, ...wants]))).toEqual(end);
      }),
    );
  });

  test("comes to the same end when it is cut off after any step and begun again", () => {
    fc.assert(
      fc.property(anyState, wantedLinks, fc.nat(20), (state, wants, steps) => {
        const start = apply(state, planSetUp(state));
        const [want] = wants;
        if (want === undefined) return;
        const { make, tune, connect } = planEnsure(want, start);
        const done = (before: number) => Math.max(0, steps - before);
        const cut = apply(start, {
          make: make.slice(0, steps),
          tune: tune.slice(0, done(make.length)),
          connect: connect.slice(0, done(make.length + tune.length)),
        });
        const again = apply(cut, planSetUp(cut));
        expect(comparable(ensureAll(again, wants))).toEqual(comparable(ensureAll(start, wants)));
      }),
    );
  });

  test("leaves nothing of a machine that is removed, and all of the others", () => {
    fc.assert(
      fc.property(wantedLinks, (wants) => {
        const empty: ObservedLinks = { ...emptyNode, devices: [...strangers] };
        const before = apply(empty, planSetUp(empty));
        const [first, ...rest] = wants;
        if (first === undefined) return;
        const all = ensureAll(before, wants);
        const end = apply(all, planRemove(first.vmUid, all));
        expect(comparable(end)).toEqual(comparable(ensureAll(before, rest)));
      }),
    );
  });

  test("touches no device of somebody else", () => {
    fc.assert(
      fc.property(anyState, wantedLinks, (state, wants) => {
        const end = ensureAll(state, wants);
        const gone = apply(end, planTearDown(end));
        for (const stranger of strangers) expect(gone.devices).toContainEqual(stranger);
        expect(gone.devices.filter(({ alias }) => alias?.startsWith("vireo:1") === true)).toEqual([]);
        expect(gone.devices.map(({ name }) => name)).not.toContain("vireo-gw");
        expect(gone.routes).toContainEqual({ destination: "default", device: "eth0" });
      }),
    );
  });

  test.each([
    ["a machine's tap", tapName(uids[0], "blue"), "bridge"],
    ["the gateways' device", "vireo-gw", "tap"],
  ])("refuses to use a device of somebody else in the place of %s", (_what, name, kind) => {
    const state = { ...emptyNode, devices: [device({ name, kind })] };
    const want = { vmUid: uids[0], interfaces: [interfaceOf("blue", 0)] };
    expect(() => planEnsure(want, state)).toThrow(ForeignDeviceError);
  });

  test("raises a tap only after its gateway is there", () => {
    const { connect } = planEnsure({ vmUid: uids[0], interfaces: [interfaceOf("blue", 0)] }, emptyNode);
    expect(connect.map(({ kind }) => kind)).toEqual([
      "raise-device",
      "add-gateway",
      "raise-device",
      "set-neighbour",
      "set-route",
    ]);
  });
});

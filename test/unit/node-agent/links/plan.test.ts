import { describe, expect, test } from "@jest/globals";
import fc from "fast-check";

import { deviceGroup, routingTable } from "../../../../src/api/network-identity.ts";
import type { AllocatedInterface } from "../../../../src/api/virtual-machine.ts";
import { ForeignDeviceError, tapAlias, tapName } from "../../../../src/node-agent/links/owner.ts";
import { planEnsure, planRemove, planSetUp, planTearDown } from "../../../../src/node-agent/links/plan.ts";
import { TAP_MAC_ADDRESS, tapRoute } from "../../../../src/node-agent/links/plan-taps.ts";
import { deviceRule, rangeRule, type Rule } from "../../../../src/node-agent/links/rules.ts";
import { isTuned, settingsOf } from "../../../../src/node-agent/links/settings.ts";
import type {
  Link,
  ObservedDevice,
  ObservedLinks,
  ObservedRoute,
} from "../../../../src/node-agent/links/types.ts";
import { apply, comparable, cutOff, emptyNode, nothing } from "./kernel.ts";

const uids = ["11111111-1111-4111-8111-111111111111", "22222222-2222-4222-8222-222222222222"] as const;
const networks = ["blue", "red", "green"] as const;

/** All three have the same addresses: only their numbers keep them apart. */
const vniOf = (network: (typeof networks)[number]): number => networks.indexOf(network) + 1;

const interfaceOf = (network: (typeof networks)[number], host: number): AllocatedInterface => ({
  network,
  macAddress: `02:00:00:00:0${networks.indexOf(network)}:0${host}`,
  address: `10.0.0.1${host}`,
  prefixLength: 24,
  gateway: `10.${networks.indexOf(network)}.0.1`,
  dnsServers: [],
  mtu: 1450,
  vni: vniOf(network),
  // Both machines may use it, as two routers with VRRP do.
  allowedAddresses: network === "red" ? ["10.0.0.100"] : [],
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
  group: 0,
  addresses: [],
  vxlan: undefined,
  ...changes,
});

/** Taps of ours in any condition that a killed agent or a person may have left them in. */
const anyTap = fc
  .record({
    vmUid: fc.constantFrom(...uids),
    network: fc.constantFrom(...networks),
    alias: fc.constantFrom("own" as const, "other" as const, "none" as const, "foreign" as const),
    macAddress: fc.constantFrom(TAP_MAC_ADDRESS, "02:bb:bb:bb:bb:bb"),
    mtu: fc.constantFrom(1450, 1500),
    group: fc.constantFrom(0, deviceGroup(1), deviceGroup(2)),
    up: fc.boolean(),
    addresses: fc.subarray(["10.0.0.1/32", "10.7.7.7/24"]),
  })
  .map(({ vmUid, network, alias, ...rest }) => {
    const { gateway } = interfaceOf(network, 0);
    const aliases = {
      own: tapAlias({ vmUid, gateway, vni: vniOf(network) }),
      // Made for a Network of the same name that had another number.
      other: tapAlias({ vmUid, gateway, vni: 9 }),
      none: undefined,
      foreign: "rack 4",
    };
    return device({ name: tapName(vmUid, network), kind: "tap", alias: aliases[alias], ...rest });
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

/** What may be left on a tap, and of a tap that is gone. */
const leftoversOf = (names: readonly string[]): Pick<ObservedLinks, "rules" | "routes" | "neighbours"> => ({
  rules: names.flatMap((name): Rule[] => [deviceRule(9, name)]),
  routes: names.map((name, index): ObservedRoute => ({
    ...tapRoute(1, `10.9.9.${index}`, name),
    metric: 0,
    unicast: true,
  })),
  neighbours: names.map((name) => ({ address: "10.9.9.9", device: name, macAddress: "02:cc:cc:cc:cc:cc" })),
});

const anyState: fc.Arbitrary<ObservedLinks> = fc
  .record({
    taps: fc.uniqueArray(anyTap, { selector: ({ name }) => name }),
    gateway: anyGatewayDevice,
    leftovers: fc.boolean(),
    lonely: fc.boolean(),
    tuned: fc.boolean(),
  })
  .map(({ taps, gateway, leftovers, lonely, tuned }) => {
    const { rules, routes, neighbours } = leftoversOf(
      leftovers ? taps.filter(({ up }) => up).map(({ name }) => name) : [],
    );
    return {
      routes,
      neighbours,
      devices: [...strangers, ...(gateway === null ? [] : [gateway]), ...taps],
      rules: [...rules, ...(lonely ? [deviceRule(1, "vtap00000000000")] : [])],
      forwarding: [],
      settings: new Map(
        taps.flatMap(({ name }) =>
          Object.entries(settingsOf({ kind: "tap", device: name })).map(([key, value]) => [
            key,
            tuned ? String(value) : "7",
          ]),
        ),
      ),
    };
  });

/** Nobody has said yet which Networks route to which. */
const unknown = (): undefined => undefined;
/** Nobody routes to anybody. */
const nobody = (): readonly number[] => [];

const ensureAll = (state: ObservedLinks, wants: readonly Link[]): ObservedLinks =>
  wants.reduce((now, want) => apply(now, planEnsure(want, now, nobody)), state);

const starting = (state: ObservedLinks): ObservedLinks => apply(state, planSetUp(state));

describe("the plan for links", () => {
  test("leads from any state to the wanted one, in which nothing is left to do", () => {
    fc.assert(
      fc.property(anyState, wantedLinks, (state, wants) => {
        const end = ensureAll(starting(state), wants);
        for (const want of wants) expect(planEnsure(want, end, nobody)).toEqual(nothing);
        expect(planSetUp(end)).toEqual(nothing);
        expect(isTuned({ kind: "node" }, end.settings)).toBe(true);
        for (const { interfaces, vmUid } of wants) {
          for (const { network, address, macAddress, gateway, vni } of interfaces) {
            const name = tapName(vmUid, network);
            expect(end.devices).toContainEqual(
              expect.objectContaining({
                name,
                up: true,
                mtu: 1450,
                group: deviceGroup(vni),
                addresses: [`${gateway}/32`],
              }),
            );
            expect(isTuned({ kind: "tap", device: name }, end.settings)).toBe(true);
            const routes = end.routes.filter((route) => route.device === name).map(({ table }) => table);
            expect(new Set(routes)).toEqual(new Set([routingTable(vni)]));
            expect(end.routes).toContainEqual({ ...tapRoute(vni, address, name), metric: 0, unicast: true });
            expect(end.rules.filter((rule) => rule.device === name)).toEqual([deviceRule(vni, name)]);
            expect(end.neighbours).toContainEqual({ address, device: name, macAddress });
            const addresses = end.devices.find((one) => one.name === "vireo-gw")?.addresses;
            expect(addresses).toContain(`${gateway}/32`);
          }
        }
      }),
    );
  });

  test("comes to the same end however often the machines are looked at", () => {
    fc.assert(
      fc.property(anyState, wantedLinks, (state, wants) => {
        const end = ensureAll(starting(state), wants);
        expect(comparable(ensureAll(end, [...wants, ...wants.toReversed()]))).toEqual(comparable(end));
      }),
    );
  });

  test("comes to the same end in whatever order the machines are looked at, but for who has a shared address", () => {
    const shared = "10.0.0.100";
    const unshared = (links: ObservedLinks): ObservedLinks => ({
      ...links,
      routes: links.routes.filter(({ destination }) => destination !== shared),
    });
    fc.assert(
      fc.property(anyState, wantedLinks, (state, wants) => {
        const end = ensureAll(starting(state), wants);
        const other = ensureAll(starting(state), wants.toReversed());
        expect(comparable(unshared(other))).toEqual(comparable(unshared(end)));
        expect(other.routes.filter(({ destination }) => destination === shared)).toHaveLength(
          end.routes.filter(({ destination }) => destination === shared).length,
        );
      }),
    );
  });

  test("comes to the same end when it is cut off after any step and begun again", () => {
    fc.assert(
      fc.property(anyState, wantedLinks, fc.nat(20), (state, wants, steps) => {
        const start = starting(state);
        const [want] = wants;
        if (want === undefined) return;
        const cut = apply(start, cutOff(planEnsure(want, start, nobody), steps));
        expect(comparable(ensureAll(starting(cut), wants))).toEqual(comparable(ensureAll(start, wants)));
      }),
    );
  });

  test("leaves nothing of a machine that is removed, and all of the others", () => {
    fc.assert(
      fc.property(wantedLinks, (wants) => {
        const before = starting({ ...emptyNode, devices: [...strangers] });
        const [first, ...rest] = wants;
        if (first === undefined) return;
        const all = ensureAll(before, wants);
        const removed = apply(all, planRemove(first.vmUid, all));
        // A shared address goes to the other machine when that is looked at again.
        expect(comparable(ensureAll(removed, rest))).toEqual(comparable(ensureAll(before, rest)));
      }),
    );
  });

  test("touches no device of somebody else, and leaves nothing of ours when all is torn down", () => {
    fc.assert(
      fc.property(anyState, wantedLinks, (state, wants) => {
        const end = ensureAll(starting(state), wants);
        const gone = apply(end, planTearDown(end));
        for (const stranger of strangers) expect(gone.devices).toContainEqual(stranger);
        expect(gone.devices.filter(({ alias }) => alias?.startsWith("vireo:1") === true)).toEqual([]);
        expect(gone.devices.map(({ name }) => name)).not.toContain("vireo-gw");
        expect([gone.rules, gone.routes]).toEqual([[], []]);
      }),
    );
  });

  test.each([
    ["a machine's tap", tapName(uids[0], "blue"), "bridge"],
    ["the gateways' device", "vireo-gw", "tap"],
  ])("refuses to use a device of somebody else in the place of %s", (_what, name, kind) => {
    const state = { ...emptyNode, devices: [device({ name, kind })] };
    const want = { vmUid: uids[0], interfaces: [interfaceOf("blue", 0)] };
    expect(() => planEnsure(want, state, nobody)).toThrow(ForeignDeviceError);
  });

  test("raises a tap only after its gateway is there, and then leads to it", () => {
    const want = { vmUid: uids[0], interfaces: [interfaceOf("blue", 0)] };
    const { connect } = planEnsure(want, emptyNode, nobody);
    expect(connect.map(({ kind }) => kind)).toEqual([
      "raise-device",
      "add-gateway",
      "add-gateway",
      "raise-device",
      "set-neighbour",
      "set-route",
      "add-rule",
    ]);
  });
});

describe("a tap's routes", () => {
  const blue = { vmUid: uids[0], interfaces: [interfaceOf("blue", 0)] };
  const tap = tapName(uids[0], "blue");
  const routesOver = (links: ObservedLinks): readonly number[] =>
    links.routes.filter((route) => route.device === tap).map(({ table }) => table);

  test("are in the tables of the Networks that route to its own, too", () => {
    const end = apply(
      emptyNode,
      planEnsure(blue, emptyNode, (vni) => [vni + 10, vni + 20]),
    );
    expect(routesOver(end)).toEqual([1, 11, 21].map(routingTable));
    expect(
      routesOver(
        apply(
          end,
          planEnsure(blue, end, () => [11]),
        ),
      ),
    ).toEqual([1, 11].map(routingTable));
  });

  test("in the tables of others are left alone while nobody has said who routes to whom", () => {
    const end = apply(
      emptyNode,
      planEnsure(blue, emptyNode, () => [11]),
    );
    expect(planEnsure(blue, end, unknown)).toEqual(nothing);
  });

  test("do not take the place of a guest of the Network whose table it is", () => {
    const start = starting(emptyNode);
    const red = { vmUid: uids[1], interfaces: [interfaceOf("red", 0)] };
    const both = ensureAll(start, [red, blue]);
    const end = apply(
      both,
      planEnsure(blue, both, () => [2]),
    );
    expect(routesOver(end)).toEqual([routingTable(1)]);
    expect(planEnsure(red, end, nobody)).toEqual(nothing);
  });

  test("take over an address that was on another node", () => {
    const elsewhere: ObservedRoute = {
      ...tapRoute(1, "10.0.0.10", "vvx1"),
      gateway: "10.99.0.2",
      source: "10.99.0.1",
      metric: 0,
      unicast: true,
    };
    const state = { ...emptyNode, devices: [device({ name: "vvx1", kind: "vxlan" })], routes: [elsewhere] };
    const end = apply(state, planEnsure(blue, state, nobody));
    expect(end.routes.map((route) => route.device)).toEqual([tap]);
  });
});

test("set-up leaves rules alone that name no device, or one that is there", () => {
  const start = ensureAll(starting(emptyNode), [{ vmUid: uids[0], interfaces: [interfaceOf("blue", 0)] }]);
  const state = { ...start, rules: [...start.rules, rangeRule(1, "10.0.0.0/24")] };
  expect(planSetUp(state)).toEqual(nothing);
});

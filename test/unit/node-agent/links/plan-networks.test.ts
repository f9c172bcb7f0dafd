import { describe, expect, test } from "@jest/globals";
import fc from "fast-check";

import { deviceGroup, routingTable, tunnelMacAddress } from "../../../../src/api/network-identity.ts";
import type { AllocatedInterface } from "../../../../src/api/virtual-machine.ts";
import { tapName } from "../../../../src/node-agent/links/owner.ts";
import { planEnsure, planRemove, planSetUp, planTearDown } from "../../../../src/node-agent/links/plan.ts";
import { planNetworks } from "../../../../src/node-agent/links/plan-networks.ts";
import { deviceRule, markRule, rangeRule, ruleWords } from "../../../../src/node-agent/links/rules.ts";
import { foreignVxlans } from "../../../../src/node-agent/links/scene.ts";
import { settingsOf } from "../../../../src/node-agent/links/settings.ts";
import type {
  NetworkRoutes,
  NodeNetworks,
  ObservedDevice,
  ObservedLinks,
  RemoteAddress,
} from "../../../../src/node-agent/links/types.ts";
import { apply, comparable, cutOff, emptyNode, nothing } from "./kernel.ts";

const OWN = "10.99.0.1";
const OTHERS = ["10.99.0.2", "10.99.0.3", "10.99.0.4"] as const;
const numbers = [1, 2, 3] as const;
const uid = "11111111-1111-4111-8111-111111111111";

/** Networks 1 and 2 have the same addresses. */
const cidrOf = (vni: number): string => (vni === 3 ? "10.3.0.0/24" : "10.0.0.0/24");

const interfaceOf = (vni: number): AllocatedInterface => ({
  network: `network-${vni}`,
  macAddress: `02:00:00:00:00:0${vni}`,
  address: cidrOf(vni).replace("0/24", "10"),
  prefixLength: 24,
  gateway: cidrOf(vni).replace("0/24", "1"),
  dnsServers: [],
  mtu: 1450,
  vni,
  allowedAddresses: [],
});

const tapOf = (vni: number): string => tapName(uid, `network-${vni}`);

/** Hosts 10 to 14, of which a tap here has 10; nodes may be this one. */
const anyRemote = (vni: number): fc.Arbitrary<RemoteAddress[]> =>
  fc.uniqueArray(
    fc.record({
      address: fc.integer({ min: 10, max: 14 }).map((host) => cidrOf(vni).replace("0/24", String(host))),
      nodeAddress: fc.constantFrom(OWN, ...OTHERS),
    }),
    { selector: ({ address }) => address },
  );

const anyNetwork = (vni: number): fc.Arbitrary<NetworkRoutes> =>
  fc.record({
    vni: fc.constant(vni),
    cidr: fc.constant(cidrOf(vni)),
    mtu: fc.constantFrom(1450, 1400),
    reachableFromNodes: fc.boolean(),
    peers: fc.subarray(numbers.filter((other) => other !== vni && (other === 3 || vni === 3))),
    remote: anyRemote(vni),
  });

const anyDesired: fc.Arbitrary<NodeNetworks> = fc.record({
  tunnelAddress: fc.constantFrom(OWN, "10.99.0.9"),
  vxlanPort: fc.constantFrom(14_789, 4_000),
  nodes: fc.subarray([...OTHERS]),
  networks: fc
    .subarray([...numbers])
    .chain((chosen) => fc.tuple(...chosen.map(anyNetwork)))
    .map((networks): readonly NetworkRoutes[] => networks),
});

const stranger: ObservedDevice = {
  name: "flannel.1",
  kind: "vxlan",
  alias: undefined,
  macAddress: "02:aa:aa:aa:aa:aa",
  mtu: 1450,
  up: true,
  group: 0,
  addresses: [],
  vxlan: { vni: 1, local: OWN, port: 8472, learning: false },
};

const start: ObservedLinks = {
  ...emptyNode,
  devices: [stranger],
  neighbours: [{ device: "flannel.1", address: "10.244.1.0", macAddress: "02:aa:aa:aa:aa:02" }],
  forwarding: [
    { device: "flannel.1", macAddress: "02:aa:aa:aa:aa:02", nodeAddress: OTHERS[0], permanent: true },
  ],
};

/** A node with a guest in each of these Networks. */
const withTaps = (vnis: readonly number[], links: ObservedLinks = start): ObservedLinks => {
  const ready = apply(links, planSetUp(links));
  const want = { vmUid: uid, interfaces: vnis.map(interfaceOf) };
  return apply(
    ready,
    planEnsure(want, ready, () => undefined),
  );
};

const sync = (links: ObservedLinks, desired: NodeNetworks): ObservedLinks =>
  apply(links, planNetworks(desired, links));

const localNumbers = fc.subarray([...numbers]);

const network = (changes: Partial<NetworkRoutes> & { readonly vni: number }): NetworkRoutes => ({
  cidr: cidrOf(changes.vni),
  mtu: 1450,
  reachableFromNodes: true,
  peers: [],
  remote: [],
  ...changes,
});

const desiredOf = (...networks: readonly NetworkRoutes[]): NodeNetworks => ({
  tunnelAddress: OWN,
  vxlanPort: 14_789,
  nodes: OTHERS.slice(0, 2),
  networks,
});

const wayTo = (links: ObservedLinks, vni: number, destination: string): string | undefined => {
  const found = links.routes.filter(
    (route) => route.table === routingTable(vni) && route.destination === destination,
  );
  return found.length === 0 ? undefined : found.map((route) => `${route.gateway} ${route.device}`).join(", ");
};

const settingsGone = ({ settings, ...links }: ObservedLinks): ObservedLinks => ({
  ...links,
  settings: new Map([...settings].filter(([name]) => !name.includes("vvx"))),
});

describe("the plan for Networks", () => {
  test("leads from what anybody wanted before to what is wanted now, in which nothing is left to do", () => {
    fc.assert(
      fc.property(localNumbers, anyDesired, anyDesired, (local, before, now) => {
        const end = sync(sync(withTaps(local), before), now);
        expect(planNetworks(now, end)).toEqual(nothing);
        const want = { vmUid: uid, interfaces: local.map(interfaceOf) };
        expect(planEnsure(want, end, () => undefined)).toEqual(nothing);
        expect(planSetUp(end)).toEqual(nothing);
      }),
    );
  });

  test("comes to the same end whatever was wanted before, as far as the wanted Networks go", () => {
    fc.assert(
      fc.property(anyDesired, anyDesired, (before, now) => {
        const local = now.networks.map(({ vni }) => vni);
        const direct = sync(withTaps(local), now);
        const detour = sync(sync(withTaps(local), before), now);
        expect(comparable(detour)).toEqual(comparable(direct));
      }),
    );
  });

  test("does not depend on the order in which anything is named, nor on repetitions", () => {
    fc.assert(
      fc.property(localNumbers, anyDesired, (local, desired) => {
        const twice = <T>(list: readonly T[]): T[] => [...list, ...list].toReversed();
        const shuffled = {
          ...desired,
          nodes: twice(desired.nodes),
          networks: twice(
            desired.networks.map((one) => ({ ...one, peers: twice(one.peers), remote: twice(one.remote) })),
          ),
        };
        const state = withTaps(local);
        expect(comparable(sync(state, shuffled))).toEqual(comparable(sync(state, desired)));
      }),
    );
  });

  test("comes to the same end when it is cut off after any step and begun again", () => {
    fc.assert(
      fc.property(localNumbers, anyDesired, anyDesired, fc.nat(60), (local, before, now, steps) => {
        const state = sync(withTaps(local), before);
        const cut = apply(state, cutOff(planNetworks(now, state), steps));
        expect(comparable(sync(cut, now))).toEqual(comparable(sync(state, now)));
      }),
    );
  });

  test("repairs whatever of it is lost", () => {
    fc.assert(
      fc.property(anyDesired, fc.infiniteStream(fc.boolean()), (desired, lost) => {
        const keep = (): boolean => lost.next().value !== true;
        const whole = sync(withTaps(desired.networks.map(({ vni }) => vni)), desired);
        const isTaps = ({ device }: { readonly device?: string | undefined }): boolean =>
          device?.startsWith("vtap") === true;
        const damaged = {
          ...whole,
          rules: whole.rules.filter(keep),
          // Taps' own routes are for ensure to repair.
          routes: whole.routes.filter((route) => isTaps(route) || keep()),
          neighbours: whole.neighbours.filter((one) => !one.device.startsWith("vvx") || keep()),
          forwarding: whole.forwarding.filter((one) => !one.device.startsWith("vvx") || keep()),
          settings: new Map([...whole.settings].map(([name, value]) => [name, keep() ? value : "7"])),
        };
        const repaired = sync(damaged, desired);
        expect(comparable(settingsGone(repaired))).toEqual(
          comparable(settingsGone({ ...whole, settings: damaged.settings })),
        );
        for (const { vni } of desired.networks) {
          for (const [name, value] of Object.entries(settingsOf({ kind: "vxlan", device: `vvx${vni}` }))) {
            expect([name, repaired.settings.get(name)]).toEqual([name, String(value)]);
          }
        }
      }),
    );
  });

  test("leaves nothing when no Network is wanted any more, or all is torn down", () => {
    fc.assert(
      fc.property(localNumbers, anyDesired, (local, desired) => {
        const state = sync(withTaps(local), desired);
        const gone = apply(state, planRemove(uid, state));
        const empty = sync(gone, { ...desired, networks: [] });
        const torn = apply(state, planTearDown(state));
        for (const end of [empty, torn]) {
          expect([end.rules, end.routes]).toEqual([[], []]);
          expect(end.neighbours).toEqual(start.neighbours);
          expect(end.forwarding).toEqual(start.forwarding);
          expect(end.devices.filter(({ name }) => name !== "vireo-gw")).toEqual([stranger]);
        }
      }),
    );
  });

  test("costs one step when one guest is added, moved or removed", () => {
    const remote = Array.from({ length: 1000 }, (_, i) => ({
      address: `10.0.${4 + Math.floor(i / 250)}.${i % 250}`,
      nodeAddress: OTHERS[i % 2] ?? OWN,
    }));
    const wanted = (list: readonly RemoteAddress[]): NodeNetworks =>
      desiredOf(network({ vni: 1, cidr: "10.0.0.0/16", remote: list }));
    const state = sync(start, wanted(remote));
    const plans = [
      [...remote, { address: "10.0.9.9", nodeAddress: OTHERS[0] }],
      remote.with(7, { address: "10.0.4.7", nodeAddress: OTHERS[0] }),
      remote.slice(1),
    ].map((list) => planNetworks(wanted(list), state));
    expect(plans.map(({ connect }) => connect.map(({ kind }) => kind))).toEqual([
      ["set-route"],
      ["set-route"],
      ["remove-route"],
    ]);
    for (const plan of plans) expect({ ...plan, connect: [] }).toEqual(nothing);
  });
});

describe("a Network's table", () => {
  const remote = [{ address: "10.0.0.12", nodeAddress: OTHERS[0] }];

  test("leads to guests here by their taps, to others by the tunnel, and back to nodes by the tunnel", () => {
    const end = sync(withTaps([1]), desiredOf(network({ vni: 1, remote })));
    expect(wayTo(end, 1, "10.0.0.10")).toBe(`undefined ${tapOf(1)}`);
    expect(wayTo(end, 1, "10.0.0.12")).toBe("10.99.0.2 vvx1");
    expect(wayTo(end, 1, "10.99.0.3")).toBe("10.99.0.3 vvx1");
    expect(wayTo(end, 1, OWN)).toBeUndefined();
    expect(end.neighbours).toContainEqual({
      device: "vvx1",
      address: "10.99.0.3",
      macAddress: "02:56:0a:63:00:03",
    });
  });

  test("leads to peers by the peers' devices, and nowhere else", () => {
    const far = [{ address: "10.3.0.12", nodeAddress: OTHERS[1] }];
    const end = sync(
      withTaps([1, 3]),
      desiredOf(
        network({ vni: 1, remote, peers: [3] }),
        network({ vni: 2 }),
        network({ vni: 3, remote: far, peers: [1] }),
      ),
    );
    expect(wayTo(end, 1, "10.3.0.10")).toBe(`undefined ${tapOf(3)}`);
    expect(wayTo(end, 1, "10.3.0.12")).toBe("10.99.0.3 vvx3");
    expect(wayTo(end, 3, "10.0.0.10")).toBe(`undefined ${tapOf(1)}`);
    expect(wayTo(end, 3, "10.0.0.12")).toBe("10.99.0.2 vvx1");
    expect([10, 12].map((host) => wayTo(end, 2, `10.3.0.${host}`))).toEqual([undefined, undefined]);
    expect(wayTo(end, 2, "10.0.0.12")).toBeUndefined();
  });

  test("leads to a tap that is here, whatever slices say", () => {
    const claim = [{ address: "10.0.0.10", nodeAddress: OTHERS[0] }];
    const end = sync(withTaps([1]), desiredOf(network({ vni: 1, remote: claim })));
    expect(wayTo(end, 1, "10.0.0.10")).toBe(`undefined ${tapOf(1)}`);
  });

  test("knows a node that only a guest's address names", () => {
    const late = [{ address: "10.0.0.12", nodeAddress: OTHERS[2] }];
    const end = sync(start, desiredOf(network({ vni: 1, remote: late })));
    const entry = { device: "vvx1", macAddress: tunnelMacAddress(OTHERS[2]), nodeAddress: OTHERS[2] };
    expect(end.forwarding).toContainEqual({ ...entry, permanent: true });
  });

  test("loses a second route to an address, and one that leads nowhere", () => {
    const desired = desiredOf(network({ vni: 1, remote }));
    const state = sync(start, desired);
    const route = state.routes.find(({ destination }) => destination === "10.0.0.12");
    if (route === undefined) throw new Error("no route");
    const damaged = {
      ...state,
      routes: [
        ...state.routes,
        { ...route, metric: 5 },
        { ...route, destination: "10.0.0.0/24", device: undefined, gateway: undefined, unicast: false },
      ],
    };
    expect(comparable(sync(damaged, desired))).toEqual(comparable(state));
  });
});

describe("rules", () => {
  const words = ({ rules }: ObservedLinks): readonly string[] =>
    rules.map((rule) => ruleWords(rule).join(" "));

  test("let nodes and pods in only where the Network says so", () => {
    const [open, closed] = [true, false].map((reachableFromNodes) =>
      words(sync(start, desiredOf(network({ vni: 1, reachableFromNodes })))),
    );
    const way = ruleWords(rangeRule(1, "10.0.0.0/24")).join(" ");
    expect(open).toContain(way);
    expect(closed?.toSorted()).toEqual(open?.filter((rule) => rule !== way).toSorted());
  });

  test("of a Network that is not wanted any more stay while it has a tap here, as does its tunnel", () => {
    const state = sync(withTaps([1]), desiredOf(network({ vni: 1 }), network({ vni: 2 })));
    const end = sync(state, desiredOf());
    expect(end.rules).toEqual(expect.arrayContaining([markRule(1), deviceRule(1, tapOf(1))]));
    expect(end.devices.map(({ name }) => name)).toEqual(expect.arrayContaining(["vvx1"]));
    expect(end.devices.map(({ name }) => name)).not.toContain("vvx2");
    expect(end.rules).not.toContainEqual(markRule(2));
  });
});

describe("a VXLAN device", () => {
  const desired = desiredOf(network({ vni: 1, remote: [{ address: "10.0.0.12", nodeAddress: OTHERS[0] }] }));
  const changed = (changes: Partial<ObservedDevice>): ObservedLinks => {
    const state = sync(start, desired);
    const others = state.devices.filter(({ name }) => name !== "vvx1");
    const vvx = state.devices.find(({ name }) => name === "vvx1");
    if (vvx === undefined) throw new Error("no vvx1");
    return { ...state, devices: [...others, { ...vvx, ...changes }] };
  };
  const vxlan = { vni: 1, local: OWN, port: 14_789, learning: false };

  test.each<[string, Partial<ObservedDevice>]>([
    ["a hardware address", { macAddress: "02:02:02:02:02:02" }],
    ["a number", { vxlan: { ...vxlan, vni: 9 } }],
    ["an address that it sends from", { vxlan: { ...vxlan, local: "10.99.0.77" } }],
    ["a port", { vxlan: { ...vxlan, port: 4789 } }],
    ["learning", { vxlan: { ...vxlan, learning: true } }],
    ["an MTU", { mtu: 1300 }],
    ["a group", { group: 0 }],
    ["an alias", { alias: undefined }],
  ])("that somebody gave %s becomes what it was", (_what, changes) => {
    const end = sync(changed(changes), desired);
    expect(comparable(end)).toEqual(comparable(sync(start, desired)));
  });

  test("of somebody else with a name of ours is left alone, and the other Networks are done", () => {
    const foreign = { ...stranger, name: "vvx1" };
    const state = { ...start, devices: [...start.devices, foreign] };
    const both = desiredOf(network({ vni: 1 }), network({ vni: 2 }));
    const end = sync(state, both);
    expect(foreignVxlans(both, state)).toEqual(["vvx1"]);
    expect(end.devices).toContainEqual(foreign);
    expect(end.devices).toContainEqual(expect.objectContaining({ name: "vvx2", group: deviceGroup(2) }));
    expect(planNetworks(both, end)).toEqual(nothing);
  });
});

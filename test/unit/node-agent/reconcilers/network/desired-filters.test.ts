import { describe, expect, test } from "@jest/globals";
import fc from "fast-check";
import { desiredFilters } from "../../../../../src/node-agent/reconcilers/network/desired-filters.ts";
import { entry, factsWith, group, machine, network, nodes, slice, uidOf } from "./cluster.ts";

const blue = network("blue", 1, { cidr: "10.0.0.0/24" });
const nic = { network: "blue", vni: 1, address: "10.0.0.2" };
const web = group("web", { ingress: [{ protocol: "tcp", port: 80 }] });
const db = group("db", { ingress: [{ protocol: "tcp", port: 5432, remote: { group: "web" } }] });

const membersFor = (facts: Parameters<typeof factsWith>[0]) => desiredFilters(factsWith(facts)).members;

describe("the rules of a guest", () => {
  test.each([
    { name: "are those of the groups that it names", groups: ["web", "db"], uids: ["web", "db"] },
    { name: "are those of the namespace's default group when it names none", groups: [], uids: ["default"] },
    { name: "allow nothing for a group that does not exist", groups: ["lost"], uids: [] },
  ])("$name", ({ groups, uids }) => {
    const facts = factsWith({
      machines: [machine("one", nic, groups)],
      networks: [blue],
      groups: [web, db, group("default")],
    });
    expect(desiredFilters(facts).guests.map(({ securityGroups }) => securityGroups)).toEqual([
      uids.map(uidOf),
    ]);
  });

  test("are not those of a group of another namespace with the same name", () => {
    const foreign = group("web", {}, "other");
    const facts = factsWith({
      machines: [machine("one", nic, ["web"])],
      networks: [blue],
      groups: [foreign],
    });
    expect(desiredFilters(facts).guests[0]?.securityGroups).toEqual([]);
  });
});

describe("a group's rules", () => {
  const filterOf = (spec: object) =>
    desiredFilters(
      factsWith({ machines: [machine("one", nic, ["web"])], networks: [blue], groups: [group("web", spec)] }),
    ).groups[0];

  test("let everything leave when egress is absent, and nothing when it is empty", () => {
    expect(filterOf({})?.egress).toEqual([{ protocol: "any", remote: { kind: "any" } }]);
    expect(filterOf({ egress: [] })?.egress).toEqual([]);
  });

  test.each([
    { protocol: "tcp", number: 6 },
    { protocol: "udp", number: 17 },
    { protocol: "icmp", number: 1 },
    { protocol: "47", number: 47 },
    { protocol: "any", number: "any" },
  ])("say protocol $protocol as $number", ({ protocol, number }) => {
    expect(filterOf({ ingress: [{ protocol }] })?.ingress[0]?.protocol).toBe(number);
  });

  test("say one port as a range of one", () => {
    const ports = (rule: object) => filterOf({ ingress: [{ protocol: "tcp", ...rule }] })?.ingress[0]?.ports;
    expect(ports({ port: 80 })).toEqual({ first: 80, last: 80 });
    expect(ports({ port: 80, endPort: 90 })).toEqual({ first: 80, last: 90 });
    expect(ports({})).toBeUndefined();
  });

  test("name a group that does not exist by something that nobody is a member of", () => {
    const facts = { machines: [machine("one", nic, ["db"])], networks: [blue], groups: [db] };
    expect(membersFor(facts)).toEqual([{ groupUid: "default/web", vni: 1, addresses: [] }]);
  });

  test("are left out when no guest of this node is in the group", () => {
    expect(desiredFilters(factsWith({ networks: [blue], groups: [web, db] })).groups).toEqual([]);
  });
});

describe("the members of a group", () => {
  const facts = {
    machines: [machine("one", nic, ["db"]), machine("two", { ...nic, address: "10.0.0.3" }, ["web"])],
    networks: [blue],
    groups: [web, db],
    slices: [
      nodes,
      slice({
        network: "blue",
        machines: [
          entry("far", "10.0.0.9", { securityGroups: ["web"] }),
          entry("other", "10.0.0.10", { securityGroups: ["web"], namespace: "other" }),
          entry("plain", "10.0.0.11"),
          // What the controller has not written down yet: it is in web since a moment ago.
          entry("two", "10.0.0.3", { nodeName: "node-1", securityGroups: ["db"] }),
        ],
      }),
    ],
  };

  test("are machines here, and elsewhere, of the same namespace", () => {
    expect(membersFor(facts)).toEqual([
      { groupUid: uidOf("web"), vni: 1, addresses: ["10.0.0.3", "10.0.0.9"] },
    ]);
  });

  test("are only those of Networks that the guest's Network routes to", () => {
    const green = network("green", 2, { cidr: "10.0.0.0/24", reachableFromNodes: false });
    const far = slice({ network: "green", machines: [entry("g", "10.0.0.77", { securityGroups: ["web"] })] });
    expect(membersFor({ ...facts, networks: [blue, green], slices: [...facts.slices, far] })).toEqual(
      membersFor(facts),
    );
    const left = network("blue", 1, { cidr: "10.0.0.0/24", routesTo: ["green"] });
    const right = network("green", 2, { cidr: "10.2.0.0/24", routesTo: ["blue"] });
    const near = slice({ network: "green", machines: [entry("g", "10.2.0.7", { securityGroups: ["web"] })] });
    const members = membersFor({ ...facts, networks: [left, right], slices: [...facts.slices, near] });
    expect(members).toEqual([
      { groupUid: uidOf("web"), vni: 1, addresses: ["10.0.0.3", "10.0.0.9", "10.2.0.7"] },
    ]);
  });

  test("do not depend on how the slices are cut and ordered", () => {
    const entries = facts.slices.flatMap(({ spec }) => spec.machines ?? []);
    fc.assert(
      fc.property(fc.shuffledSubarray(entries, { minLength: entries.length }), fc.nat(4), (shuffled, cut) => {
        const slices = [shuffled.slice(0, cut), shuffled.slice(cut)].map((machines) =>
          slice({ network: "blue", machines }),
        );
        const sorted = membersFor({ ...facts, slices }).map(({ addresses }) => addresses.toSorted());
        expect(sorted).toEqual([["10.0.0.3", "10.0.0.9"]]);
      }),
    );
  });
});

test("guests may not reach any node, by any of its addresses", () => {
  expect(
    desiredFilters(factsWith({ slices: [nodes], nodeAddresses: ["192.0.2.1", "203.0.113.1"] })).nodeAddresses,
  ).toEqual(["192.0.2.1", "203.0.113.1", "192.0.2.2", "198.51.100.2"]);
});

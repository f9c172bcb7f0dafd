import { describe, expect, test } from "@jest/globals";
import fc from "fast-check";

import { differingSets, parseSets, planFill } from "../../../../../src/node-agent/host/ipset/plan.ts";
import type { AddressSet, AddressSets } from "../../../../../src/node-agent/host/ipset/types.ts";

const PREFIX = "vireo-";

const ips = (...entries: readonly string[]): AddressSet => ({ type: "hash:ip", entries: new Set(entries) });

/** What `ipset restore` makes of the lines; it refuses what the real one refuses. */
const apply = (present: AddressSets, lines: readonly string[]): AddressSets => {
  const sets = new Map([...present].map(([name, set]) => [name, { ...set, entries: new Set(set.entries) }]));
  const setOf = (name: string) => {
    const set = sets.get(name);
    if (set === undefined) throw new Error(`no set ${name}`);
    return set;
  };
  for (const line of lines) {
    const [verb = "", name = "", ...rest] = line.split(" ");
    if (verb === "create") {
      if (sets.has(name)) throw new Error(`${name} exists`);
      sets.set(name, { type: rest[0] === "hash:net" ? "hash:net" : "hash:ip", entries: new Set() });
    } else if (verb === "add") {
      if (setOf(name).entries.has(rest.join(" "))) throw new Error(`${rest.join(" ")} is in ${name}`);
      setOf(name).entries.add(rest.join(" "));
    } else if (verb === "del") {
      if (!setOf(name).entries.delete(rest.join(" "))) throw new Error(`${rest.join(" ")} is not in ${name}`);
    } else if (verb === "swap") {
      const [one, other] = [setOf(name), setOf(rest[0] ?? "")];
      if (one.type !== other.type) throw new Error("types do not match");
      sets.set(name, other).set(rest[0] ?? "", one);
    } else {
      setOf(name);
      sets.delete(name);
    }
  }
  return sets;
};

const anySet: fc.Arbitrary<AddressSet> = fc.record({
  type: fc.constantFrom("hash:ip" as const, "hash:net" as const),
  entries: fc.subarray(["192.0.2.1", "192.0.2.2", "192.0.2.3"]).map((entries) => new Set(entries)),
});
const someSets: fc.Arbitrary<AddressSets> = fc
  .dictionary(fc.constantFrom("vireo-a", "vireo-b", "vireo-c"), anySet)
  .map((sets) => new Map(Object.entries(sets)));
const withLeftovers = fc
  .tuple(someSets, fc.option(anySet))
  .map(([sets, left]): AddressSets => (left === null ? sets : new Map([...sets, ["vireo-next", left]])));

describe("the plan for ipset", () => {
  test("leads from any sets to the wanted ones, keeps those that may be in use, and then has nothing to do", () => {
    fc.assert(
      fc.property(withLeftovers, someSets, (present, wanted) => {
        const end = apply(present, planFill(PREFIX, wanted, present));
        const kept = [...present].filter(([name]) => name !== "vireo-next");
        expect(new Map(end)).toEqual(new Map([...kept, ...wanted]));
        expect(planFill(PREFIX, wanted, end)).toEqual([]);
        expect(differingSets(wanted, end)).toEqual([]);
      }),
    );
  });

  test("a set that exists changes its content at one moment", () => {
    const lines = planFill(
      PREFIX,
      new Map([["vireo-a", ips("192.0.2.1", "192.0.2.2")]]),
      new Map([["vireo-a", ips()]]),
    );
    expect(lines).toEqual([
      "create vireo-next hash:ip family inet maxelem 1048576",
      "add vireo-next 192.0.2.1",
      "add vireo-next 192.0.2.2",
      "swap vireo-next vireo-a",
      "destroy vireo-next",
    ]);
  });

  test.each<[string, AddressSet, string]>([
    ["one more", ips("192.0.2.1", "192.0.2.2"), "add vireo-a 192.0.2.2"],
    ["one less", ips(), "del vireo-a 192.0.2.1"],
  ])("%s is one change by itself", (_what, set, line) => {
    const present = new Map([["vireo-a", ips("192.0.2.1")]]);
    expect(planFill(PREFIX, new Map([["vireo-a", set]]), present)).toEqual([line]);
  });

  test("reads our sets from what ipset prints, and no others", () => {
    const text = `create KUBE-A hash:ip family inet hashsize 1024 maxelem 65536 bucketsize 12 initval 0xdb3cb4a4
add KUBE-A 192.0.2.9
create vireo-n-1 hash:net family inet hashsize 1024 maxelem 65536 bucketsize 12 initval 0xabb88f44
add vireo-n-1 10.0.0.0/8 nomatch
add vireo-n-1 0.0.0.0/1
create vireo-nodes hash:ip family inet hashsize 1024 maxelem 65536 bucketsize 12 initval 0x1
`;
    expect(parseSets(PREFIX, text)).toEqual(
      new Map<string, AddressSet>([
        ["vireo-n-1", { type: "hash:net", entries: new Set(["10.0.0.0/8 nomatch", "0.0.0.0/1"]) }],
        ["vireo-nodes", ips()],
      ]),
    );
  });
});

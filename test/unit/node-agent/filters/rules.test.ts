import { describe, expect, test } from "@jest/globals";
import fc from "fast-check";

import { ipv4Rules, ipv6Rules } from "../../../../src/node-agent/filters/rules.ts";
import type { GuestFilter } from "../../../../src/node-agent/filters/types.ts";

const guestOf = (host: number): GuestFilter => ({
  vmUid: `${host}1111111-1111-4111-8111-111111111111`,
  tap: `vtap0000000000${host}`,
  macAddress: `02:00:00:00:00:0${host}`,
  address: `10.0.0.1${host}`,
  gateway: "10.0.0.1",
});

/** All of the list, in any order, and some of it twice. */
const anyOrder = <T>(list: readonly T[]): fc.Arbitrary<T[]> =>
  fc
    .tuple(fc.shuffledSubarray([...list], { minLength: list.length }), fc.subarray([...list]))
    .map((parts) => parts.flat());

const [one, two] = [guestOf(1), guestOf(2)];

describe("the rules for IPv4", () => {
  test("are these for one guest", () => {
    const { chains, hooks } = ipv4Rules([one], ["192.0.2.1"]);
    expect(hooks).toEqual([
      { builtIn: "FORWARD", chain: "VIREO-FORWARD" },
      { builtIn: "INPUT", chain: "VIREO-INPUT" },
    ]);
    expect(Object.fromEntries(chains)).toEqual({
      "VIREO-FORWARD": [
        "-i vtap+ -j VIREO-EGRESS",
        "-i vtap+ -m conntrack --ctstate INVALID,UNTRACKED -j DROP",
        "-o vtap+ -m conntrack --ctstate INVALID,UNTRACKED -j DROP",
        "-i vtap+ -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT",
        "-o vtap+ -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT",
        "-i vtap+ -d 169.254.0.0/16 -j DROP",
        "-i vtap+ -m conntrack --ctorigdst 192.0.2.1 -j DROP",
        "-o vtap+ -j VIREO-INGRESS",
        "-i vtap+ -j ACCEPT",
      ],
      "VIREO-INPUT": [
        "-i vtap+ -j VIREO-EGRESS",
        "-i vtap+ -m conntrack --ctstate ESTABLISHED --ctdir REPLY -j ACCEPT",
        "-i vtap+ -d 10.0.0.1 -p icmp -m icmp --icmp-type 8 -j ACCEPT",
        "-i vtap+ -j DROP",
      ],
      "VIREO-EGRESS": ["-i vtap00000000001 -g VIREO-E-vtap00000000001", "-j DROP"],
      "VIREO-INGRESS": ["-o vtap00000000001 -g VIREO-I-vtap00000000001", "-j DROP"],
      "VIREO-E-vtap00000000001": [
        "! -s 10.0.0.11 -j DROP",
        "-m mac ! --mac-source 02:00:00:00:00:01 -j DROP",
      ],
      "VIREO-I-vtap00000000001": [
        "-p icmp -m icmp --icmp-type 8 -j ACCEPT",
        "-p tcp -m tcp --dport 22 -j ACCEPT",
        "-j DROP",
      ],
    });
  });

  test("do not depend on the order of guests and nodes, nor on their repetition", () => {
    const guests = Array.from({ length: 9 }, (_, i) => guestOf(i + 1));
    const nodes = ["192.0.2.1", "192.0.2.2", "192.0.2.3"];
    const wanted = Object.fromEntries(ipv4Rules(guests, nodes).chains);
    fc.assert(
      fc.property(anyOrder(guests), anyOrder(nodes), (shuffledGuests, shuffledNodes) => {
        const { chains } = ipv4Rules(shuffledGuests, shuffledNodes);
        expect(Object.fromEntries(chains)).toEqual(wanted);
      }),
    );
  });

  test("let nothing pass when there is no guest", () => {
    const { chains } = ipv4Rules([], []);
    expect(chains.get("VIREO-EGRESS")).toEqual(["-j DROP"]);
    expect(chains.get("VIREO-INGRESS")).toEqual(["-j DROP"]);
  });

  test("look at the sender before they accept anything", () => {
    for (const chain of ["VIREO-FORWARD", "VIREO-INPUT"]) {
      expect(ipv4Rules([one], []).chains.get(chain)?.[0]).toBe("-i vtap+ -j VIREO-EGRESS");
    }
  });

  test("have names of chains that iptables takes: up to 28 characters", () => {
    for (const chain of ipv4Rules([one, two], []).chains.keys()) expect(chain.length).toBeLessThanOrEqual(28);
  });

  test("ignore addresses of nodes that are not IPv4", () => {
    const text = [...ipv4Rules([one], ["2001:db8::1", "", "0x7f.1", "node-1"]).chains.values()]
      .flat()
      .join("\n");
    expect(text).not.toContain("ctorigdst");
  });

  test("are not made for two guests on one tap", () => {
    const twin = { ...two, tap: one.tap };
    expect(() => ipv4Rules([one, twin], [])).toThrow(/vtap00000000001 is wanted for two guests, 11.* and 21/);
  });

  test.each<[keyof GuestFilter, string]>([
    ["tap", "vtap0 -j ACCEPT\n-A FORWARD"],
    ["tap", "vtap+ "],
    ["macAddress", "02:00:00:00:00:01 -j ACCEPT"],
    ["address", "0.0.0.0/0"],
    ["address", '10.0.0.1"'],
    ["gateway", "10.0.0.1\nCOMMIT"],
  ])("are not made of a hostile %s: %j", (field, value) => {
    expect(() => ipv4Rules([{ ...one, [field]: value }], [])).toThrow(RangeError);
  });
});

test("the rules for IPv6 let nothing from or to a guest pass", () => {
  const rules = [...ipv6Rules.chains.values()].flat();
  expect(rules.every((rule) => rule.endsWith("-j DROP"))).toBe(true);
  expect(rules).toHaveLength(3);
});

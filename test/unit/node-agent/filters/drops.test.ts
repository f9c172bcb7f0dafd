import { describe, expect, test } from "@jest/globals";

import { createDropCounter, dropReason } from "../../../../src/node-agent/filters/drops.ts";
import { createRuleWriter } from "../../../../src/node-agent/filters/rules.ts";
import { parseCounters } from "../../../../src/node-agent/host/iptables/render.ts";

const counter = (chain: string, packets: number, rule = "-j DROP") => ({
  table: "filter" as const,
  chain,
  rule,
  packets,
});

describe("what is refused", () => {
  test.each([
    ["VIREO-SENDER", "-p udp --sport 67 -j DROP", "sender"],
    ["VIREO-S-vtap00000000001", "-j DROP", "sender"],
    ["VIREO-FORWARD", "-o vtap+ -m connmark --mark 0x800000/0x800000 -j DROP", "revoked"],
    [
      "VIREO-FORWARD",
      "-p tcp -m connmark --mark 0x800000/0x800000 -j REJECT --reject-with tcp-reset",
      "revoked",
    ],
    ["VIREO-FORWARD", "-i vtap+ -m conntrack --ctstate INVALID,UNTRACKED -j DROP", "invalid"],
    ["VIREO-FORWARD", "-d 169.254.0.0/16 -i vtap+ -j DROP", "node"],
    ["VIREO-INPUT", "-i vtap+ -j DROP", "node"],
    ["VIREO-PREROUTING", "-m set --match-set vireo-nodes dst -j DROP", "node"],
    ["VIREO-ISOLATION", "-j DROP", "network"],
    ["VIREO-NET-5", "-o vtap+ -j DROP", "network"],
    ["VIREO-E-vtap00000000001", "-j DROP", "egress"],
    ["VIREO-I-vtap00000000001", "-j DROP", "ingress"],
    ["VIREO-H-vtap00000000001", "-j DROP", "ingress"],
    ["VIREO-SI-0123456789abcdef", "-j ACCEPT", undefined],
    ["VIREO-FORWARD", "-i vtap+ -j VIREO-DROPPED", undefined],
  ])("%s %s is counted as %s", (chain, rule, reason) => {
    expect(dropReason({ chain, rule })).toBe(reason);
  });

  test("is summed up over chains that are written anew", () => {
    const sumUp = createDropCounter();
    expect(sumUp([counter("VIREO-I-a", 5), counter("VIREO-E-a", 1)])).toMatchObject({
      ingress: 5,
      egress: 1,
    });
    expect(sumUp([counter("VIREO-I-a", 7), counter("VIREO-E-a", 1)])).toMatchObject({
      ingress: 7,
      egress: 1,
    });
    expect(sumUp([counter("VIREO-I-a", 2)])).toMatchObject({ ingress: 9, egress: 1 });
    expect(sumUp([])).toMatchObject({ ingress: 9, egress: 1, sender: 0 });
  });

  test("is read from what iptables prints", () => {
    const text = `*filter
:VIREO-I-a - [0:0]
[12:3456] -A VIREO-I-a -m comment --comment "vireo:0123456789abcdef" -j DROP
COMMIT
*security
[1:2] -A INPUT -j DROP
`;
    expect(parseCounters(text)).toEqual([
      counter("VIREO-I-a", 12, '-m comment --comment "vireo:0123456789abcdef" -j DROP'),
    ]);
  });

  test("has a reason in every rule that refuses, and in no other", () => {
    const { tables } = createRuleWriter()({
      guests: [],
      networks: [{ vni: 5, cidr: "10.0.0.0/24", egress: "None", peers: [] }],
      groups: [],
      members: [],
      nodeAddresses: [],
      tunnelAddress: undefined,
      vxlanPort: 14_789,
    });
    for (const { chains } of Object.values(tables)) {
      for (const [chain, rules] of chains) {
        for (const rule of rules) {
          expect([rule, dropReason({ chain, rule }) !== undefined]).toEqual([
            rule,
            /DROP$|REJECT/.test(rule),
          ]);
        }
      }
    }
  });
});

import { describe, expect, test } from "@jest/globals";
import fc from "fast-check";

import { parseForwarding, parseLook, parseSettings } from "../../../../src/node-agent/links/observe.ts";
import {
  deviceRule,
  markRule,
  nowhereRule,
  rangeRule,
  tunnelRules,
} from "../../../../src/node-agent/links/rules.ts";
import { renderBatch, renderForwarding, renderSettings } from "../../../../src/node-agent/links/render.ts";
import type { Step } from "../../../../src/node-agent/links/steps.ts";
import type { Route } from "../../../../src/node-agent/links/types.ts";

const tapRoute: Route = {
  table: 1_000_007,
  destination: "10.0.0.11",
  device: "vtap0123456789a",
  gateway: undefined,
  source: undefined,
};

describe("ip -batch", () => {
  test("gets a line for each step, in their order", () => {
    const vxlan = {
      name: "vvx7",
      vni: 7,
      macAddress: "02:56:0a:63:00:01",
      local: "10.99.0.1",
      port: 14_789,
      mtu: 1450,
      group: 5_636_103,
      alias: "vireo:7",
    };
    const tunnelRoute = { ...tapRoute, device: "vvx7", gateway: "10.99.0.2", source: "10.99.0.1" };
    const steps: Step[] = [
      { kind: "add-tap", device: "vtap0123456789a" },
      {
        kind: "configure-tap",
        device: "vtap0123456789a",
        configuration: { alias: "vireo:uid:10.0.0.1:7", mtu: 1450, group: 5_636_103 },
      },
      { kind: "add-vxlan", vxlan },
      { kind: "configure-vxlan", vxlan },
      { kind: "add-gateway", device: "vtap0123456789a", gateway: "10.0.0.1", scope: "host" },
      { kind: "raise-device", device: "vtap0123456789a" },
      { kind: "set-route", route: tapRoute },
      { kind: "set-route", route: tunnelRoute },
      { kind: "remove-route", route: { ...tunnelRoute, metric: 5, unicast: true } },
      { kind: "add-rule", rule: markRule(7) },
      { kind: "add-rule", rule: deviceRule(7, "vvx7") },
      { kind: "add-rule", rule: nowhereRule(7, "10.0.0.0/24") },
      { kind: "remove-rule", rule: rangeRule(7, "10.0.0.0/24") },
      ...tunnelRules(14_789).map((rule): Step => ({ kind: "add-rule", rule })),
    ];
    expect(renderBatch(steps)).toBe(
      `tuntap add dev vtap0123456789a mode tap vnet_hdr user root
link set dev vtap0123456789a alias vireo:uid:10.0.0.1:7
link set dev vtap0123456789a address ee:ee:ee:ee:ee:ee mtu 1450 addrgenmode none
link set dev vtap0123456789a group 5636103
link add vvx7 address 02:56:0a:63:00:01 mtu 1450 group 5636103 type vxlan id 7 local 10.99.0.1 dstport 14789 nolearning
link set dev vvx7 alias vireo:7
link set dev vvx7 mtu 1450 addrgenmode none
link set dev vvx7 group 5636103
address replace 10.0.0.1/32 dev vtap0123456789a scope host
link set dev vtap0123456789a up
route replace 10.0.0.11 dev vtap0123456789a table 1000007 proto 86 scope link
route replace 10.0.0.11 via 10.99.0.2 dev vvx7 src 10.99.0.1 table 1000007 proto 86 onlink
route delete 10.0.0.11 via 10.99.0.2 dev vvx7 src 10.99.0.1 table 1000007 proto 86 metric 5
rule add priority 1000 fwmark 0x56000007/0xfe003fff protocol 86 lookup 1000007
rule add priority 1001 iif vvx7 protocol 86 lookup 1000007
rule add priority 1001 to 10.0.0.0/24 fwmark 0x56000007/0xff003fff protocol 86 blackhole
rule delete priority 1002 to 10.0.0.0/24 protocol 86 lookup 1000007
rule add priority 1003 protocol 86 nop
rule add priority 999 iif lo ipproto udp dport 14789 protocol 86 goto 1003
`,
    );
  });

  test("gets no more lines and no more words than the steps have, whatever the values are", () => {
    fc.assert(
      fc.property(fc.string({ unit: "binary" }), fc.string(), (destination, device) => {
        let text: string;
        try {
          text = renderBatch([{ kind: "set-route", route: { ...tapRoute, destination, device } }]);
        } catch (error) {
          expect(error).toBeInstanceOf(RangeError);
          return;
        }
        expect(text.split("\n")).toHaveLength(2);
        expect(text.trim().split(/\s+/)).toHaveLength(11);
      }),
    );
  });

  test.each(["10.0.0.1\nlink delete eth0", "10.0.0.1 dev eth0", "#", '"', "", "a\\", "tap;reboot"])(
    "the value %j is refused",
    (value) => {
      const forwarding = { device: "vvx7", macAddress: value, nodeAddress: "10.99.0.2" };
      expect(() => renderBatch([{ kind: "set-route", route: { ...tapRoute, destination: value } }])).toThrow(
        RangeError,
      );
      expect(() => renderForwarding([{ kind: "set-forwarding", forwarding }])).toThrow(RangeError);
      expect(() => renderSettings([{ kind: "tap", device: value }])).toThrow(RangeError);
    },
  );
});

test("bridge -batch gets a line for each way to a node", () => {
  const forwarding = { device: "vvx7", macAddress: "02:56:0a:63:00:02", nodeAddress: "10.99.0.2" };
  expect(
    renderForwarding([
      { kind: "set-forwarding", forwarding },
      { kind: "remove-forwarding", forwarding },
    ]),
  ).toBe(`fdb replace 02:56:0a:63:00:02 dev vvx7 dst 10.99.0.2 self permanent
fdb delete 02:56:0a:63:00:02 dev vvx7 dst 10.99.0.2 self
`);
});

describe("what iproute2 prints", () => {
  test("is read as devices, routes and neighbours", () => {
    const lines = [
      '[{},{"ifname":"vtap0123456789a","flags":["BROADCAST","UP"],"mtu":1450,"group":"5636103","address":"ee:ee:ee:ee:ee:ee","linkinfo":{"info_kind":"tun","info_data":{"type":"tap"}},"ifalias":"vireo:x:y","addr_info":[]},{"ifname":"vireo-gw","flags":[],"mtu":1500,"group":"0","linkinfo":{"info_kind":"bridge"},"addr_info":[{"family":"inet","local":"10.0.0.1","prefixlen":32},{"family":"inet6","local":"fe80::1","prefixlen":64}]},{"ifname":"vvx7","flags":["UP"],"mtu":1450,"group":"5636103","address":"02:56:0a:63:00:01","linkinfo":{"info_kind":"vxlan","info_data":{"id":7,"local":"10.99.0.1","port":14789,"learning":false}}}]',
      "[]",
      '[{"type":"1","dst":"10.0.0.11","dev":"vtap0123456789a","table":"1000007","scope":"253"},{"type":"1","dst":"10.0.0.12","gateway":"10.99.0.2","dev":"vvx7","prefsrc":"10.99.0.1","table":"1000007","metric":5,"flags":["onlink"]},{"type":"6","dst":"10.8.0.0/16","table":"1000007"},{"type":"1","dst":"10.0.0.13","dev":"eth0"},{"type":"1","dst":"10.0.0.14","dev":"eth0","table":"100"}]',
      '[{"dst":"10.0.0.11","dev":"vtap0123456789a","lladdr":"02:00:00:00:00:0b","state":["PERMANENT"]}]',
      "",
    ];
    const plain = { alias: undefined, macAddress: undefined, vxlan: undefined, addresses: [] };
    const nowhere = { device: undefined, gateway: undefined, source: undefined, metric: 0 };
    expect(parseLook(lines.join("\n"))).toEqual({
      devices: [
        {
          ...plain,
          name: "vtap0123456789a",
          kind: "tap",
          alias: "vireo:x:y",
          macAddress: "ee:ee:ee:ee:ee:ee",
          mtu: 1450,
          up: true,
          group: 0x560007,
        },
        {
          ...plain,
          name: "vireo-gw",
          kind: "bridge",
          mtu: 1500,
          up: false,
          group: 0,
          addresses: ["10.0.0.1/32"],
        },
        {
          ...plain,
          name: "vvx7",
          kind: "vxlan",
          macAddress: "02:56:0a:63:00:01",
          mtu: 1450,
          up: true,
          group: 0x560007,
          vxlan: { vni: 7, local: "10.99.0.1", port: 14_789, learning: false },
        },
      ],
      rules: [],
      routes: [
        { ...tapRoute, metric: 0, unicast: true },
        {
          table: 1_000_007,
          destination: "10.0.0.12",
          device: "vvx7",
          gateway: "10.99.0.2",
          source: "10.99.0.1",
          metric: 5,
          unicast: true,
        },
        { ...nowhere, table: 1_000_007, destination: "10.8.0.0/16", unicast: false },
      ],
      neighbours: [{ address: "10.0.0.11", device: "vtap0123456789a", macAddress: "02:00:00:00:00:0b" }],
    });
  });

  test.each([
    [
      '{"priority":1000,"src":"all","fwmark":"0x56000007","fwmask":"0xfe003fff","table":"1000007","protocol":"86"}',
      [markRule(7)],
    ],
    [
      '{"priority":1001,"src":"all","iif":"vvx7","iif_detached":null,"table":"1000007","protocol":"86"}',
      [deviceRule(7, "vvx7")],
    ],
    [
      '{"priority":1001,"src":"all","dst":"10.0.0.0","dstlen":24,"fwmark":"0x56000007","fwmask":"0xff003fff","action":"6","protocol":"86"}',
      [nowhereRule(7, "10.0.0.0/24")],
    ],
    [
      '{"priority":1002,"src":"all","dst":"10.0.0.0","dstlen":24,"table":"1000007","protocol":"86"}',
      [rangeRule(7, "10.0.0.0/24")],
    ],
    [
      '{"priority":1003,"src":"all","nop":null,"protocol":"86"},{"priority":999,"src":"all","iif":"lo","ipproto":"ipproto-17","dport":14789,"goto":1003,"unresolved":null,"protocol":"86"}',
      tunnelRules(14_789),
    ],
    ['{"priority":1000,"src":"all","table":"1000007","protocol":"2"}', []],
    ['{"priority":1000,"src":"all","table":"254","protocol":"86"}', []],
    ['{"priority":900,"src":"all","table":"1000007","protocol":"86"}', []],
    ['{"priority":1001,"src":"192.0.2.0","srclen":24,"table":"1000007","protocol":"86"}', []],
    ['{"priority":1001,"src":"all","oif":"eth0","table":"1000007","protocol":"86"}', []],
    ['{"priority":1001,"src":"all","action":"7","protocol":"86"}', []],
  ])("the rule %s is read when it is one of ours", (json, expected) => {
    expect(parseLook(`[]\n[${json}]\n[]\n[]\n`).rules).toEqual(expected);
  });

  test("is read as ways to other nodes, without the entries of bridges", () => {
    const json =
      '[{"mac":"33:33:00:00:00:01","ifname":"eth0","flags":["self"],"state":"permanent"},{"mac":"02:56:0a:63:00:02","ifname":"vvx7","dst":"10.99.0.2","flags":["self"],"state":"permanent"},{"mac":"02:56:0a:63:00:03","ifname":"vvx7","dst":"10.99.0.3","flags":["self"],"state":""}]';
    expect(parseForwarding(json)).toEqual([
      { device: "vvx7", macAddress: "02:56:0a:63:00:02", nodeAddress: "10.99.0.2", permanent: true },
      { device: "vvx7", macAddress: "02:56:0a:63:00:03", nodeAddress: "10.99.0.3", permanent: false },
    ]);
    expect(parseForwarding("")).toEqual([]);
  });

  test.each([
    ["a list is missing", "[]\n[]\n[]\n"],
    ["there is a list too many", "[]\n[]\n[]\n[]\n[]\n"],
    ["it is cut off", '[{"ifname":'],
    ["a device has no name", '[{"mtu":1}]\n[]\n[]\n[]\n'],
  ])("is refused when %s", (_what, text) => {
    expect(() => parseLook(text)).toThrow();
  });
});

test("what sysctl prints is read as names and values", () => {
  const text = "net.ipv4.ip_forward = 1\nnet.ipv4.conf.vvx7.rp_filter = 2\nsysctl: nonsense\n";
  expect(parseSettings(text)).toEqual(
    new Map([
      ["net.ipv4.ip_forward", "1"],
      ["net.ipv4.conf.vvx7.rp_filter", "2"],
    ]),
  );
});

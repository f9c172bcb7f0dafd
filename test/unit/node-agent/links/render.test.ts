import { describe, expect, test } from "@jest/globals";
import fc from "fast-check";

import { parseObservation } from "../../../../src/node-agent/links/driver.ts";
import type { Step } from "../../../../src/node-agent/links/plan.ts";
import { renderBatch, renderSettings } from "../../../../src/node-agent/links/render.ts";

describe("ip -batch", () => {
  test("gets a line for each step, in their order", () => {
    const steps: Step[] = [
      { kind: "add-tap", device: "vtap0123456789a" },
      { kind: "configure-tap", device: "vtap0123456789a", alias: "vireo:uid:10.0.0.1", mtu: 1450 },
      { kind: "raise-device", device: "vtap0123456789a" },
      { kind: "set-route", device: "vtap0123456789a", address: "10.0.0.11" },
    ];
    expect(renderBatch(steps)).toBe(
      `tuntap add dev vtap0123456789a mode tap vnet_hdr user root
link set dev vtap0123456789a alias vireo:uid:10.0.0.1
link set dev vtap0123456789a address ee:ee:ee:ee:ee:ee mtu 1450 addrgenmode none
link set dev vtap0123456789a up
route replace 10.0.0.11/32 dev vtap0123456789a scope link proto static
`,
    );
  });

  test("gets no more lines and no more words than the steps have, whatever the values are", () => {
    fc.assert(
      fc.property(fc.string({ unit: "binary" }), fc.string(), (address, device) => {
        let text: string;
        try {
          text = renderBatch([{ kind: "set-route", address, device }]);
        } catch (error) {
          expect(error).toBeInstanceOf(RangeError);
          return;
        }
        expect(text.split("\n")).toHaveLength(2);
        expect(text.trim().split(/\s+/)).toHaveLength(9);
      }),
    );
  });

  test.each(["10.0.0.1\nlink delete eth0", "10.0.0.1 dev eth0", "#", '"', "", "a\\", "tap;reboot"])(
    "the value %j is refused",
    (address) => {
      expect(() => renderBatch([{ kind: "set-route", device: "vtap0123456789a", address }])).toThrow(
        RangeError,
      );
      expect(() => renderSettings([{ kind: "tap", device: address }])).toThrow(RangeError);
    },
  );
});

describe("what ip prints", () => {
  test("is read as devices with their settings, routes and neighbours", () => {
    const lines = [
      '[{},{"ifname":"vtap0123456789a","flags":["BROADCAST","UP"],"mtu":1450,"address":"ee:ee:ee:ee:ee:ee","linkinfo":{"info_kind":"tun","info_data":{"type":"tap"}},"ifalias":"vireo:x:y","addr_info":[]},{"ifname":"vireo-gw","flags":[],"mtu":1500,"linkinfo":{"info_kind":"bridge"},"addr_info":[{"family":"inet","local":"10.0.0.1","prefixlen":32},{"family":"inet6","local":"fe80::1","prefixlen":64}]}]',
      '[{"dst":"default","gateway":"192.0.2.2","dev":"eth0"},{"type":"blackhole","dst":"10.8.0.0/16"}]',
      '[{"dst":"10.0.0.11","dev":"vtap0123456789a","lladdr":"02:00:00:00:00:0b","state":["PERMANENT"]}]',
      '[{"family":"inet","interface":"vtap0123456789a","forwarding":true,"rp_filter":"strict","proxy_neigh":true},{"family":"inet","interface":"vireo-gw","forwarding":true,"rp_filter":"off","proxy_neigh":false},{"family":"inet","interface":"all","forwarding":true,"rp_filter":"off","proxy_neigh":false},{"family":"inet6","interface":"vireo-gw","forwarding":true,"proxy_neigh":true},{"family":"mpls","interface":"lo","input":false}]',
      "",
    ];
    expect(parseObservation(lines.join("\n"))).toEqual({
      forwarding: true,
      devices: [
        {
          name: "vtap0123456789a",
          kind: "tap",
          alias: "vireo:x:y",
          macAddress: "ee:ee:ee:ee:ee:ee",
          mtu: 1450,
          up: true,
          addresses: [],
          routesForGuest: true,
        },
        {
          name: "vireo-gw",
          kind: "bridge",
          alias: undefined,
          macAddress: undefined,
          mtu: 1500,
          up: false,
          addresses: ["10.0.0.1/32"],
          routesForGuest: false,
        },
      ],
      routes: [
        { destination: "default", device: "eth0" },
        { destination: "10.8.0.0/16", device: undefined },
      ],
      neighbours: [{ address: "10.0.0.11", device: "vtap0123456789a", macAddress: "02:00:00:00:00:0b" }],
    });
  });

  test.each([
    ["a list is missing", "[]\n[]\n[]\n"],
    ["there is a list too many", "[]\n[]\n[]\n[]\n[]\n"],
    ["it is cut off", '[{"ifname":'],
    ["a device has no name", '[{"mtu":1}]\n[]\n[]\n[]\n'],
  ])("is refused when %s", (_what, text) => {
    expect(() => parseObservation(text)).toThrow();
  });
});

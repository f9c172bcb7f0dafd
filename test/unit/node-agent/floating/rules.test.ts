import { describe, expect, it } from "@jest/globals";
import fc from "fast-check";

import {
  addressOfChain,
  addressOfSwitch,
  switchName,
  targetChain,
} from "../../../../src/node-agent/floating/owner.ts";
import { externalDevice, nodeAddressFor, place } from "../../../../src/node-agent/floating/plan.ts";
import { parseOutside, renderHold, renderSwitchOn } from "../../../../src/node-agent/floating/render.ts";
import { floatingRules } from "../../../../src/node-agent/floating/rules.ts";
import type { FloatingAddress, ObservedOutside } from "../../../../src/node-agent/floating/types.ts";

const www: FloatingAddress = {
  address: "192.0.2.101",
  guestAddress: "10.0.0.11",
  vni: 1,
  tap: "vtap00000000001",
};
const ftp: FloatingAddress = {
  address: "192.0.2.102",
  guestAddress: "10.0.0.11",
  vni: 2,
  tap: "vtap00000000002",
};

const HELD = 5_600_086;
const on = (device: string, cidr: string, metric?: number) => {
  const [address = "", length] = cidr.split("/");
  return { device, address, prefixLength: Number(length), metric };
};
const observed: ObservedOutside = {
  addresses: [
    on("lo", "127.0.0.1/8"),
    on("vireo-gw", "10.0.0.1/32"),
    on("eth0", "198.51.100.1/24"),
    on("eth1", "192.0.2.1/24"),
  ],
  defaultDevices: ["eth0"],
};

describe("rules for floating addresses", () => {
  it("are none when there are no addresses", () => {
    expect(floatingRules([], "")).toEqual({});
  });

  it("do not depend on the order of the addresses", () => {
    fc.assert(
      fc.property(fc.shuffledSubarray([www, ftp], { minLength: 2 }), (addresses) => {
        expect(floatingRules(addresses, "192.0.2.1")).toEqual(floatingRules([www, ftp], "192.0.2.1"));
      }),
    );
  });

  it("let a guest go on with no connection as if it were the node's, while its address is not here", () => {
    expect(floatingRules([www], "192.0.2.1").mangle?.chains.get("VIREOFIP-LEAVE")).toEqual([
      "! -o vtap+ -s 10.0.0.11 -p tcp -m mark --mark 0x56000001/0xff003fff -m set ! --match-set vireofip-192.0.2.101 src -m conntrack --ctstate NEW -m tcp ! --tcp-flags FIN,SYN,RST,ACK SYN -j DROP",
    ]);
  });

  it.each<[string, FloatingAddress]>([
    ["address", { ...www, address: "192.0.2.1 -j ACCEPT" }],
    ["guest's address", { ...www, guestAddress: "10.0.0.1\n-A" }],
    ["tap", { ...www, tap: "vtap -j ACCEPT" }],
  ])("are refused when the %s is more than a word", (_, address) => {
    expect(() => floatingRules([address], "192.0.2.1")).toThrow("not a word for a rule of iptables");
  });

  it("have names that iptables and ipset take, for the longest address, and that are known again", () => {
    const longest = "255.255.255.255";
    expect(targetChain(longest).length).toBeLessThanOrEqual(28);
    expect(switchName(longest).length).toBeLessThanOrEqual(31);
    expect(addressOfChain(targetChain(longest))).toBe(longest);
    expect(addressOfSwitch(switchName(longest))).toBe(longest);
    expect(addressOfChain("VIREOFIP-ARRIVE")).toBeUndefined();
    expect(addressOfSwitch("vireo-members")).toBeUndefined();
  });
});

describe("where a floating address goes", () => {
  it.each([
    ["the device whose network has it", "192.0.2.101", "eth1"],
    ["else the device of the default route", "203.0.113.5", "eth0"],
  ])("is %s", (_, address, device) => {
    expect(externalDevice(address, observed, {})).toBe(device);
  });

  it("is the device that is named, if one is", () => {
    expect(externalDevice("192.0.2.101", observed, { device: "bond0" })).toBe("bond0");
  });

  it("is told to be missing when the node has no way outside", () => {
    expect(() => externalDevice("203.0.113.5", { ...observed, defaultDevices: [] }, {})).toThrow(
      "no device for 203.0.113.5",
    );
  });

  it("is where it is already", () => {
    const held = { ...observed, addresses: [...observed.addresses, on("eth0", "192.0.2.101/32", HELD)] };
    expect(place(["192.0.2.101", "192.0.2.102"], held, {}).placements).toEqual([
      { address: "192.0.2.101", device: "eth0", isNew: false },
      { address: "192.0.2.102", device: "eth1", isNew: true },
    ]);
  });

  it("is nowhere when somebody else put it on the node", () => {
    const theirs = on("eth0", "192.0.2.101/32");
    const { placements, foreign } = place(
      ["192.0.2.101"],
      { ...observed, addresses: [...observed.addresses, theirs] },
      {},
    );
    expect(placements).toEqual([]);
    expect(foreign).toEqual([theirs]);
  });

  it("does not make it the address of the node", () => {
    const held = { ...observed, addresses: [on("eth1", "192.0.2.101/32", HELD), ...observed.addresses] };
    expect(nodeAddressFor(["192.0.2.101"], held, {})).toBe("192.0.2.1");
  });
});

describe("lines for ip and ipset", () => {
  it("hold an address for whole seconds with our mark", () => {
    const placement = { address: "192.0.2.101", device: "eth1", isNew: true };
    expect(renderHold([placement], 3)).toBe(
      "address replace 192.0.2.101/32 dev eth1 valid_lft 3 preferred_lft 3 metric 5600086\n",
    );
  });

  it("refuse what could begin another line", () => {
    const placement = { address: "192.0.2.101", device: "eth1\nlink delete eth0", isNew: true };
    expect(() => renderHold([placement], 3)).toThrow("not a word");
    expect(() => renderSwitchOn(["1.2.3.4 timeout 0"], 3)).toThrow("not a word");
  });

  it("are read back", () => {
    const addresses =
      '[{},{"ifname":"eth1","addr_info":[{"family":"inet","local":"192.0.2.101","prefixlen":32,"metric":5600086}]}]';
    const routes = '[{"dst":"default","dev":"eth1","metric":100},{"dst":"default","dev":"eth0"}]';
    expect(parseOutside(`${addresses}\n${routes}\n`)).toEqual({
      addresses: [on("eth1", "192.0.2.101/32", HELD)],
      defaultDevices: ["eth0", "eth1"],
    });
  });
});

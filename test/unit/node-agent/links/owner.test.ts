import { describe, expect, test } from "@jest/globals";
import fc from "fast-check";

import {
  isGuestDevice,
  isOwnVxlan,
  isTapName,
  parseTapAlias,
  tapAlias,
  tapName,
} from "../../../../src/node-agent/links/owner.ts";

const UID = "4dea22b3-1d52-48f3-a516-782e98ab3fa0";

describe("a tap's name", () => {
  test("fits Linux and is ours, whatever the network is called", () => {
    fc.assert(
      fc.property(fc.uuid(), fc.string(), (vmUid, network) => {
        const name = tapName(vmUid, network);
        expect(name).toHaveLength(15);
        expect(isTapName(name)).toBe(true);
      }),
    );
  });

  test("is the same in every release: taps of running guests are found by it", () => {
    expect(tapName(UID, "blue")).toBe("vtapee42f62cf19");
  });

  test("differs between networks of a machine and between machines of a network", () => {
    const names = [tapName(UID, "blue"), tapName(UID, "red"), tapName(UID.replace("4", "5"), "blue")];
    expect(new Set(names).size).toBe(3);
  });
});

test.each([
  ["vireo-gw", true],
  ["vtap0123456789a", true],
  ["vtap0123456789", false],
  ["vtap0123456789g", false],
  ["tap0", false],
  ["vireo-u0", false],
  ["vvx1", true],
  ["vvx16383", true],
  ["vvx16384", false],
  ["vvx01", false],
  ["eth0", false],
])("%s is made for guests: %s", (name, expected) => {
  expect(isGuestDevice(name)).toBe(expected);
});

describe("a tap's alias", () => {
  test("says what it was made of", () => {
    const owner = { vmUid: UID, gateway: "10.0.0.1", vni: 7 };
    expect(tapAlias(owner)).toBe(`vireo:${UID}:10.0.0.1:7`);
    expect(parseTapAlias(tapAlias(owner))).toEqual(owner);
  });

  test.each([
    ["", "is empty"],
    ["uplink to rack 4", "is somebody else's"],
    [`vireo:${UID}`, "lacks the gateway"],
    [`vireo:${UID}:10.0.0.1`, "lacks the Network's number"],
    [`vireo:${UID}:10.0.0.1:x`, "has a word in place of the Network's number"],
    [`vireo:${UID}:10.0.0.1:7:8`, "goes on"],
    [`vireo:${UID.toUpperCase()}:10.0.0.1:7`, "has a UID in capitals"],
    [`vireo:../../etc:10.0.0.1:7`, "has a path in place of a UID"],
    [`vireo:${UID}:10.0.0.1:7\nlink delete eth0`, "has a second line"],
  ])("%j is not ours: it %s", (alias) => {
    expect(parseTapAlias(alias)).toBeUndefined();
  });
});

test.each([
  ["one of its group", { group: 0x560007 }, true],
  ["one of its alias, whose group somebody changed", { alias: "vireo:7", group: 3 }, true],
  ["one of neither", {}, false],
  ["a bridge", { kind: "bridge", group: 0x560007 }, false],
  ["one of another Network's group", { group: 0x560008 }, false],
  ["one of another name", { name: "vxlan7", group: 0x560007 }, false],
])("a VXLAN device is known as ours: %s", (_what, changes, expected) => {
  const device = {
    name: "vvx7",
    kind: "vxlan",
    alias: undefined,
    macAddress: undefined,
    mtu: 1450,
    up: true,
    group: 0,
    addresses: [],
    vxlan: undefined,
  };
  expect(isOwnVxlan({ ...device, ...changes })).toBe(expected);
});

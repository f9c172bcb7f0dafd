import { describe, expect, test } from "@jest/globals";

import { domainName, vmUidOf } from "../../../../src/node-agent/domains/owner.ts";

const UID = "4dea22b3-1d52-48f3-a516-782e98ab3fa0";

describe("a domain is ours", () => {
  test("by a name and a UUID that agree", () => {
    expect(vmUidOf({ name: domainName(UID), uuid: UID })).toBe(UID);
  });

  test.each([
    ["another name", "web-1", UID],
    ["only our prefix", "vireo-", UID],
    ["the name of another machine", `vireo-${UID.replace("4", "5")}`, UID],
    ["a longer name", `vireo-${UID}-copy`, UID],
    ["something that is no UUID", "vireo-x", "x"],
    ["a path for a UUID", "vireo-../../etc", "../../etc"],
  ])("not with %s", (_what, name, uuid) => {
    expect(vmUidOf({ name, uuid })).toBeUndefined();
  });
});

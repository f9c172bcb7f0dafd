import { describe, expect, test } from "@jest/globals";
import { checkClusterIdentity, WrongClusterError } from "../../../src/node-agent/cluster-identity.ts";

const file = "/var/lib/vireo/cluster";

const wrong = () => checkClusterIdentity({ clusterUid: "a", remembered: "b", holdsGuests: true, file });

describe("checkClusterIdentity", () => {
  test.each([
    ["the same cluster is known", "a", true, "known"],
    ["a new node is adopted", undefined, false, "adopt"],
    ["a node whose note was deleted is adopted with its guests", undefined, true, "adopt"],
    ["an empty node of another cluster is adopted", "b", false, "adopt"],
  ])("%s", (_sentence, remembered, holdsGuests, result) => {
    expect(checkClusterIdentity({ clusterUid: "a", remembered, holdsGuests, file })).toBe(result);
  });

  test("guests of another cluster are left alone, loudly", () => {
    expect(wrong).toThrow(WrongClusterError);
    expect(wrong).toThrow(/Correct --kubeconfig/);
  });
});

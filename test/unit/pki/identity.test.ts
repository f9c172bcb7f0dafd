import { describe, expect, test } from "@jest/globals";

import { commonNameOf, identityOf, type PeerIdentity } from "../../../src/pki/index.ts";

describe("an identity is read from the common name that it has", () => {
  test.each<[PeerIdentity]>([
    [{ kind: "api-server" }],
    [{ kind: "node-agent", nodeName: "node-1" }],
    [{ kind: "node-agent", nodeName: "10.0.0.1" }],
    [{ kind: "node-agent", nodeName: "a.b.example" }],
  ])("%j", (identity) => {
    expect(identityOf(commonNameOf(identity))).toEqual(identity);
  });
});

describe("nobody is", () => {
  test.each([
    [""],
    ["vireo"],
    ["vireo:api-server:"],
    ["vireo:node-agent:"],
    ["vireo:node-agent:a/b"],
    ["vireo:node-agent:A"],
    ["vireo:node-agent:a:b"],
    [" vireo:api-server"],
    ["system:node:a"],
  ])("%j", (commonName) => {
    expect(identityOf(commonName)).toBeUndefined();
  });
});

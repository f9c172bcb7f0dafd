import { describe, expect, test } from "@jest/globals";

import { authenticate, type Caller, readFrontProxy } from "../../../src/api-server/front-proxy.ts";

const DATA = {
  "client-ca-file": "another authority",
  "requestheader-client-ca-file": "the front proxy's authority",
  "requestheader-allowed-names": '["front-proxy-client"]',
  "requestheader-username-headers": '["X-Remote-User"]',
  "requestheader-group-headers": '["X-Remote-Group"]',
  "requestheader-extra-headers-prefix": '["X-Remote-Extra-"]',
};
const proxy = readFrontProxy(DATA);

const caller = (change: Partial<Caller> = {}): Caller => ({
  verified: true,
  commonName: "front-proxy-client",
  headers: {
    "x-remote-user": ["ann"],
    "x-remote-group": ["users", "system:authenticated"],
    "x-remote-extra-authentication.kubernetes.io%2fnode-name": ["node-1"],
    "x-remote-extra-scopes": ["a", "b"],
  },
  ...change,
});

test("kube-apiserver is believed about the user", () => {
  expect(authenticate(proxy, caller())).toEqual({
    name: "ann",
    groups: ["users", "system:authenticated"],
    extra: { "authentication.kubernetes.io/node-name": ["node-1"], scopes: ["a", "b"] },
  });
});

describe("nobody is believed", () => {
  test.each<[string, Partial<Caller>]>([
    ["without a certificate", { verified: false, commonName: undefined }],
    ["with a certificate that nothing vouches for", { verified: false }],
    ["with a certificate of another name", { commonName: "kubelet" }],
    ["with a certificate without a name", { commonName: undefined }],
    ["who names no user", { headers: {} }],
    ["who names an empty user", { headers: { "x-remote-user": [""] } }],
  ])("%s", (_who, change) => {
    expect(authenticate(proxy, caller(change))).toBeUndefined();
  });
});

test("any name will do when none is prescribed, as Kubernetes has it", () => {
  const any = readFrontProxy({ ...DATA, "requestheader-allowed-names": "[]" });
  expect(authenticate(any, caller({ commonName: "aggregator" }))?.name).toBe("ann");
});

describe("a configuration is refused", () => {
  test.each([
    ["without an authority", { ...DATA, "requestheader-client-ca-file": "" }],
    ["with a list that is none", { ...DATA, "requestheader-allowed-names": "front-proxy-client" }],
    ["that is empty", {}],
    [
      "by which anybody with a certificate could be anybody",
      {
        ...DATA,
        "client-ca-file": DATA["requestheader-client-ca-file"],
        "requestheader-allowed-names": "[]",
      },
    ],
  ])("%s", (_what, data) => {
    expect(() => readFrontProxy(data)).toThrow();
  });
});

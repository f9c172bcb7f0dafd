import { describe, expect, test } from "@jest/globals";

import { decideRequest } from "../../../src/controllers/certificate/decide.ts";
import type { CertificateSigningRequest } from "../../../src/kube/index.ts";
import { encodeBase64, makeCertificateRequest, makeKey } from "../../../src/pki/index.ts";

const NOW = new Date("2026-11-23T10:00:00Z");
const AGENT = "system:serviceaccount:vireo-system:vireo-node-agent";
const API_SERVER = "system:serviceaccount:vireo-system:vireo-api-server";
const CLAIM = "authentication.kubernetes.io/node-name";

const csr = (commonName: string): string => encodeBase64(makeCertificateRequest(commonName, makeKey()));
const node1 = csr("vireo:node-agent:node-1");

interface Change {
  readonly spec?: Partial<CertificateSigningRequest["spec"]>;
  readonly conditions?: readonly string[];
  readonly certificate?: string;
  readonly ageMinutes?: number;
}

const request = ({ spec = {}, conditions = [], certificate, ageMinutes = 0 }: Change = {}) =>
  ({
    metadata: {
      name: "r",
      creationTimestamp: new Date(NOW.getTime() - ageMinutes * 60_000).toISOString(),
    },
    spec: {
      request: node1,
      signerName: "vireo.dev/node-agent",
      usages: ["client auth", "digital signature", "server auth"],
      username: AGENT,
      extra: { [CLAIM]: ["node-1"] },
      ...spec,
    },
    status: {
      conditions: conditions.map((type) => ({ type, status: "True" })),
      ...(certificate !== undefined && { certificate }),
    },
  }) as unknown as CertificateSigningRequest;

/** "deny SubjectNotRequester" */
const stepOf = (change: Change): string => {
  const step = decideRequest(request(change), NOW);
  return "refusal" in step ? `${step.kind} ${step.refusal.reason}` : step.kind;
};

describe("a request", () => {
  test.each<[string, Change, string]>([
    ["of an agent for its own node is approved", {}, "approve"],
    ["that was approved is signed", { conditions: ["Approved"] }, "sign"],
    [
      "of the api-server is approved",
      {
        spec: {
          signerName: "vireo.dev/api-server",
          username: API_SERVER,
          extra: {},
          request: csr("vireo:api-server"),
        },
      },
      "approve",
    ],
    [
      "in the name of another node is denied",
      { spec: { extra: { [CLAIM]: ["node-2"] } } },
      "deny SubjectNotRequester",
    ],
    ["of an agent of no node is denied", { spec: { extra: {} } }, "deny NoNode"],
    [
      "of an agent of two nodes is denied",
      { spec: { extra: { [CLAIM]: ["node-1", "node-2"] } } },
      "deny NoNode",
    ],
    ["of somebody else is denied", { spec: { username: "ann" } }, "deny RequesterNotAllowed"],
    [
      "of an agent at the api-server's signer is denied",
      { spec: { signerName: "vireo.dev/api-server" } },
      "deny RequesterNotAllowed",
    ],
    [
      "of an agent in the api-server's name is denied",
      { spec: { request: csr("vireo:api-server") } },
      "deny SubjectNotRequester",
    ],
    ["for fewer usages is denied", { spec: { usages: ["client auth"] } }, "deny UsagesNotAllowed"],
    [
      "for a usage of authorities is denied",
      { spec: { usages: ["digital signature", "client auth", "server auth", "cert sign"] } },
      "deny UsagesNotAllowed",
    ],
    ["that cannot be read is denied", { spec: { request: "eA==" } }, "deny RequestInvalid"],
    [
      "that somebody has approved in error is not signed",
      { spec: { username: "ann" }, conditions: ["Approved"] },
      "fail RequesterNotAllowed",
    ],
    ["that has its certificate is kept for who asked", { certificate: "x", ageMinutes: 14 }, "keep"],
    ["that has had its certificate for a while goes", { certificate: "x", ageMinutes: 16 }, "remove"],
    ["that was denied is kept for people", { conditions: ["Denied"], ageMinutes: 59 }, "keep"],
    ["that was denied long ago goes", { conditions: ["Denied"], ageMinutes: 61 }, "remove"],
    ["that has failed goes in time", { conditions: ["Approved", "Failed"], ageMinutes: 61 }, "remove"],
  ])("%s", (_what, change, step) => {
    expect(stepOf(change)).toBe(step);
  });
});

describe("a certificate is good for", () => {
  const hoursOf = (expirationSeconds: number | undefined): number => {
    const spec = expirationSeconds === undefined ? {} : { expirationSeconds };
    const step = decideRequest(request({ spec, conditions: ["Approved"] }), NOW);
    if (step.kind !== "sign") throw new Error(step.kind);
    return (step.content.notAfter.getTime() - NOW.getTime()) / 3_600_000;
  };

  test.each([
    ["a day", undefined, 24],
    ["less when less is asked for", 3600, 1],
    ["no more when more is asked for", 10 * 24 * 3600, 24],
  ])("%s", (_what, asked, hours) => {
    expect(hoursOf(asked)).toBe(hours);
  });
});

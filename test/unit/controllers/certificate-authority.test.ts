import { afterEach, beforeEach, describe, expect, test } from "@jest/globals";

import { openAuthority, trustInApiService } from "../../../src/controllers/certificate/authority.ts";
import {
  apiServices,
  configMaps,
  createKubeClient,
  type KubeClient,
  secrets,
} from "../../../src/kube/index.ts";
import {
  AUTHORITY_SECRET,
  decodeBase64,
  encodeBase64,
  makeAuthority,
  TRUST_CONFIG_MAP,
  TRUST_KEY,
} from "../../../src/pki/index.ts";
import { splitCertificates } from "../../../src/pki/pem.ts";
import { FakeKubeApiServer } from "../../fakes/kube-api-server.ts";

const NOW = new Date("2026-11-23T10:00:00Z");
const HOUR = 60 * 60_000;
const { signal } = new AbortController();

let api: FakeKubeApiServer;
let client: KubeClient;

beforeEach(async () => {
  api = new FakeKubeApiServer();
  await api.start();
  client = createKubeClient({ kubeConfig: api.kubeConfig() });
});

afterEach(async () => {
  await client.close();
  await api.stop();
});

const open = (now = NOW) => openAuthority({ client, now: () => now }, signal);
const storedBundle = async (): Promise<string | undefined> =>
  (await client.get(configMaps, TRUST_CONFIG_MAP, { signal }))?.data[TRUST_KEY];
const writes = (): number =>
  api.requests.filter(({ verb }) => ["create", "patch", "apply"].includes(verb)).length;

test("whoever comes at once, there is one authority", async () => {
  // Of those who publish it at the same moment all but one meet a conflict, and look again.
  const results = await Promise.allSettled(Array.from({ length: 8 }, () => open()));
  const opened = results.flatMap((result) => (result.status === "fulfilled" ? [result.value] : []));
  const { authority } = await open();
  expect(opened.length).toBeGreaterThan(0);
  expect(new Set(opened.map((one) => one.authority.certificate))).toEqual(new Set([authority.certificate]));
  expect(await storedBundle()).toBe(authority.certificate);
});

test("one whose making was not confirmed is found again", async () => {
  api.failNext("create", { kind: "lose-answer" });
  await expect(open()).rejects.toThrow();
  const { authority } = await open();
  const stored = await client.get(secrets, AUTHORITY_SECRET, { signal });
  expect(decodeBase64(stored?.data["tls.crt"] ?? "")).toBe(authority.certificate);
});

test("a second look writes nothing", async () => {
  await open();
  const before = writes();
  await open();
  expect(writes()).toBe(before);
});

test.each([["spoilt"], [""], ["-----BEGIN CERTIFICATE-----\neA==\n-----END CERTIFICATE-----\n"]])(
  "its bundle is mended when somebody has made it %j",
  async (text) => {
    const { bundle } = await open();
    await client.mergePatch(configMaps, TRUST_CONFIG_MAP, { data: { [TRUST_KEY]: text } }, { signal });
    await open();
    expect(await storedBundle()).toBe(bundle);
  },
);

test("when it is replaced, the old one is trusted until its certificates have ended", async () => {
  const first = await open();
  await client.delete(secrets, AUTHORITY_SECRET, { signal });
  const second = await open();
  expect(second.authority.certificate).not.toBe(first.authority.certificate);
  expect(splitCertificates((await storedBundle()) ?? "")).toEqual([
    second.authority.certificate,
    first.authority.certificate,
  ]);
  await open(new Date(NOW.getTime() + 26 * HOUR));
  expect(await storedBundle()).toBe(second.authority.certificate);
});

describe("a Secret that is no authority is not used", () => {
  const good = makeAuthority(NOW);
  test.each([
    ["without content", {}],
    ["with somebody else's key", { "tls.crt": good.certificate, "tls.key": makeAuthority(NOW).privateKey }],
  ])("%s", async (_what, data) => {
    const encoded = Object.fromEntries(
      Object.entries(data).map(([key, text]) => [key, encodeBase64(text)] as const),
    );
    await client.create(secrets, { metadata: AUTHORITY_SECRET, data: encoded }, { signal });
    await expect(open()).rejects.toThrow("Secret vireo-system/vireo-ca is no certificate authority");
    expect(await storedBundle()).toBeUndefined();
  });
});

test("a failure to make it does not quote the private key", async () => {
  api.failNext("create", { kind: "status", status: 403 });
  await expect(open()).rejects.toThrow(/create Secret vireo-system\/vireo-ca: 403 .*withheld/);
});

test("the aggregator is told once", async () => {
  const { bundle } = await open();
  const made = await client.create(apiServices, { metadata: { name: "v1" }, spec: {} }, { signal });
  await trustInApiService({ client }, made, bundle, signal);
  const told = await client.get(apiServices, { name: "v1" }, { signal });
  expect(decodeBase64(told?.spec.caBundle ?? "")).toBe(bundle);
  const before = writes();
  if (told !== undefined) await trustInApiService({ client }, told, bundle, signal);
  expect(writes()).toBe(before);
});

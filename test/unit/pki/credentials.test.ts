import { afterEach, beforeEach, describe, expect, test } from "@jest/globals";

import {
  type CertificateSigningRequest,
  certificateSigningRequests,
  configMaps,
  createKubeClient,
  createStore,
  keyOf,
  type KubeClient,
  type Store,
} from "../../../src/kube/index.ts";
import {
  type Authority,
  createPeerCredentials,
  decodeBase64,
  encodeBase64,
  type PeerCredentials,
  readCertificateRequest,
  signCertificate,
  TRUST_CONFIG_MAP,
  TRUST_KEY,
} from "../../../src/pki/index.ts";
import { FakeKubeApiServer } from "../../fakes/kube-api-server.ts";
import { testAuthority } from "../../fakes/peer-material.ts";
import { createRecordingLogger } from "../../fakes/recording-logger.ts";
import { travellingClock, type TravellingClock } from "../../fakes/travelling-clock.ts";
import { waitFor } from "../../testbed/wait.ts";

const HOUR = 60 * 60_000;

let api: FakeKubeApiServer;
let client: KubeClient;
let clock: TravellingClock;
let logger: ReturnType<typeof createRecordingLogger>;
let credentials: PeerCredentials;
let requests: Store<CertificateSigningRequest>;
let controller: AbortController;
let running: Promise<unknown>[];
let authority: Authority;
/** What the test's controller does with a request. */
let answer: "sign" | "deny" | "nothing";

const patch = (request: CertificateSigningRequest, status: object): Promise<unknown> =>
  client.mergePatch(
    certificateSigningRequests,
    keyOf(request),
    { status },
    { subresource: "status", signal: controller.signal },
  );

const respond = async (request: CertificateSigningRequest): Promise<void> => {
  if (request.status.certificate !== undefined || request.status.conditions.length > 0) return;
  if (answer === "deny")
    await patch(request, { conditions: [{ type: "Denied", status: "True", reason: "Test", message: "no" }] });
  if (answer !== "sign") return;
  const { commonName, publicKey } = readCertificateRequest(decodeBase64(request.spec.request));
  const now = clock.now();
  const certificate = signCertificate(authority, {
    commonName,
    dnsNames: [],
    publicKey,
    notBefore: new Date(now - 1000),
    notAfter: new Date(now + 24 * HOUR),
  });
  await patch(request, { certificate: encodeBase64(certificate) });
};

const publish = (bundle: string): Promise<unknown> =>
  client.apply(
    configMaps,
    { metadata: TRUST_CONFIG_MAP, data: { [TRUST_KEY]: bundle } },
    { fieldManager: "test", force: true, signal: controller.signal },
  );

beforeEach(async () => {
  api = new FakeKubeApiServer();
  await api.start();
  client = createKubeClient({ kubeConfig: api.kubeConfig() });
  clock = travellingClock();
  logger = createRecordingLogger();
  controller = new AbortController();
  authority = testAuthority();
  answer = "sign";
  requests = createStore({ client, resource: certificateSigningRequests, logger });
  requests.onChange(({ after }) => {
    if (after !== undefined) respond(after).catch(() => {});
  });
  credentials = createPeerCredentials({
    identity: { kind: "node-agent", nodeName: "node-1" },
    client,
    logger,
    clock,
    random: () => 0.5,
  });
  running = [requests.run(controller.signal), credentials.run(controller.signal)].map((run) =>
    run.catch(() => {}),
  );
  await requests.whenSynced(controller.signal);
});

afterEach(async () => {
  controller.abort();
  await Promise.all(running);
  await client.close();
  await api.stop();
});

const ready = () => credentials.whenReady(controller.signal);

/** Lets time pass until that is true. */
const travelUntil = (what: string, isTrue: () => boolean): Promise<true> =>
  waitFor(what, () => {
    clock.travel(1_000);
    return isTrue();
  });

test("nothing is asked before there is an authority", async () => {
  await travelUntil("synced", () => api.requests.some(({ path }) => path.includes("/configmaps")));
  expect([requests.list(), credentials.current()]).toEqual([[], undefined]);
  await publish(authority.certificate);
  expect((await ready()).authorities).toBe(authority.certificate);
});

test("a request that is refused is followed by one with another key", async () => {
  answer = "deny";
  await publish(authority.certificate);
  await travelUntil("refused", () => logger.lines.some(({ level }) => level === "warn"));
  answer = "sign";
  await travelUntil("a certificate", () => credentials.current() !== undefined);
  const wishes = new Set(requests.list().map(({ spec }) => spec.request));
  expect(wishes.size).toBe(requests.list().length);
  expect(wishes.size).toBeGreaterThan(1);
});

test("while nobody answers there is one request, however long it takes", async () => {
  answer = "nothing";
  await publish(authority.certificate);
  const request = await waitFor("a request", () => requests.list()[0]);
  const looks = (): number => api.requests.filter(({ path }) => path.endsWith(request.metadata.name)).length;
  await travelUntil("many looks", () => looks() > 20);
  expect(requests.list()).toHaveLength(1);
  answer = "sign";
  await respond(request);
  await travelUntil("a certificate", () => credentials.current() !== undefined);
  expect(requests.list()).toHaveLength(1);
});

test("an API server that is away in between is waited for", async () => {
  answer = "nothing";
  await publish(authority.certificate);
  const request = await waitFor("a request", () => requests.list()[0]);
  await api.stop();
  await travelUntil("a failure", () => logger.lines.some(({ message }) => message.startsWith("has no new")));
  await api.start();
  answer = "sign";
  await waitFor("signed", () => respond(request).then(() => true));
  await travelUntil("a certificate", () => credentials.current() !== undefined);
  expect(credentials.current()?.authorities).toBe(authority.certificate);
});

describe("a certificate", () => {
  test("is replaced at half of its life", async () => {
    await publish(authority.certificate);
    const first = await ready();
    clock.travel(11 * HOUR);
    expect(credentials.current()).toEqual(first);
    clock.travel(HOUR + 1_000);
    await travelUntil("another one", () => credentials.current()?.certificate !== first.certificate);
    expect(credentials.current()?.privateKey).not.toBe(first.privateKey);
  });

  test("that has ended is not used", async () => {
    await publish(authority.certificate);
    await ready();
    answer = "nothing";
    clock.travel(24 * HOUR);
    expect(credentials.current()).toBeUndefined();
  });

  test("is replaced at once when another authority signs", async () => {
    await publish(authority.certificate);
    const first = await ready();
    const older = authority.certificate;
    authority = testAuthority();
    await publish(authority.certificate + older);
    await travelUntil("another one", () => credentials.current()?.certificate !== first.certificate);
    expect(credentials.current()?.authorities).toBe(authority.certificate + older);
  });
});

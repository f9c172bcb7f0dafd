import { X509Certificate } from "node:crypto";

import { afterAll, beforeAll, describe, expect, test } from "@jest/globals";
import { z } from "zod";

import {
  type CertificateSigningRequest,
  certificateSigningRequests,
  configMaps,
  createKubeClient,
  loadKubeConfig,
  secrets,
  silentLogger,
} from "../../src/kube/index.ts";
import {
  AUTHORITY_SECRET,
  CERTIFICATE_USAGES,
  commonNameOf,
  createPeerCredentials,
  decodeBase64,
  encodeBase64,
  makeCertificateRequest,
  makeKey,
  type PeerIdentity,
  TRUST_CONFIG_MAP,
  TRUST_KEY,
} from "../../src/pki/index.ts";
import { waitFor } from "../testbed/wait.ts";
import { type ApiClient, connect, MERGE_PATCH, refusalOf, type Reply } from "./support/api-client.ts";
import { type ControllerStage, openControllerStage } from "./support/controller-stage.ts";
import { connectAgent, grantEverything, revokeEverything } from "./support/system.ts";
import { travellingClock } from "../fakes/travelling-clock.ts";

/** Agents and api-servers with real tokens, and the real controller. */

const REQUESTS = "/apis/certificates.k8s.io/v1/certificatesigningrequests";
const API_SERVER = "vireo-api-server";

let stage: ControllerStage;
let nodeName: string;
let agent: ApiClient;
let apiServer: ApiClient;

const agentIdentity = (name = nodeName): PeerIdentity => ({ kind: "node-agent", nodeName: name });

const createNode = async (name: string): Promise<void> => {
  const body = { apiVersion: "v1", kind: "Node", metadata: { name } };
  await stage.cluster.administrator.call({ method: "POST", path: "/api/v1/nodes", body });
};

beforeAll(async () => {
  stage = await openControllerStage();
  nodeName = `${stage.cluster.namespace}-a`;
  await createNode(nodeName);
  await stage.addController("one");
  agent = await connectAgent(stage.cluster, nodeName);
  const { controlPlane } = stage.cluster;
  apiServer = await connect(controlPlane, await controlPlane.issueToken(API_SERVER, "vireo-system"));
}, 180_000);

afterAll(async () => {
  await Promise.all([agent.close(), apiServer.close()]);
  await stage.stop();
});

interface Wish {
  readonly identity?: PeerIdentity;
  readonly signerName?: string;
  readonly usages?: readonly string[];
}

let count = 0;
const ask = async (
  client: ApiClient,
  { identity = agentIdentity(), signerName = "vireo.dev/node-agent", usages = CERTIFICATE_USAGES }: Wish = {},
): Promise<{ readonly name: string; readonly reply: Reply }> => {
  count += 1;
  const name = `${stage.cluster.namespace}-${count}`;
  const reply = await client.call({
    method: "POST",
    path: REQUESTS,
    body: {
      apiVersion: "certificates.k8s.io/v1",
      kind: "CertificateSigningRequest",
      metadata: { name },
      spec: {
        request: encodeBase64(makeCertificateRequest(commonNameOf(identity), makeKey())),
        signerName,
        usages,
      },
    },
  });
  return { name, reply };
};

const read = async (name: string): Promise<CertificateSigningRequest> => {
  const reply = await stage.cluster.administrator.call({ method: "GET", path: `${REQUESTS}/${name}` });
  return certificateSigningRequests.parse(reply.body);
};

/** "Denied: <reason>", or the certificate's subject. */
const untilAnswered = (name: string): Promise<string> =>
  waitFor(`${name} answered`, async () => {
    const { status } = await read(name);
    if (status.certificate !== undefined)
      return new X509Certificate(decodeBase64(status.certificate)).subject;
    const refusal = status.conditions.find(({ type }) => type !== "Approved");
    if (refusal !== undefined) return `${refusal.type}: ${refusal.reason}`;
    throw new Error(JSON.stringify(status));
  });

const readTrust = async (): Promise<string> => {
  const { namespace, name } = TRUST_CONFIG_MAP;
  const path = `/api/v1/namespaces/${namespace}/configmaps/${name}`;
  const { body } = await agent.call({ method: "GET", path });
  return configMaps.parse(body).data[TRUST_KEY] ?? "";
};

describe("the authority", () => {
  test("is made, and its public half is known to agents", async () => {
    const { namespace, name } = AUTHORITY_SECRET;
    const path = `/api/v1/namespaces/${namespace}/secrets/${name}`;
    const bundle = await waitFor("a bundle", async () => {
      const text = await readTrust().catch(() => "");
      return text === "" ? undefined : text;
    });
    const { body } = await stage.cluster.administrator.call({ method: "GET", path });
    expect(decodeBase64(secrets.parse(body).data["tls.crt"] ?? "")).toBe(bundle);
  });

  test("has a private half that agents cannot read", async () => {
    const { namespace, name } = AUTHORITY_SECRET;
    const path = `/api/v1/namespaces/${namespace}/secrets/${name}`;
    expect((await agent.call({ method: "GET", path })).code).toBe(403);
  });
});

describe("a certificate", () => {
  test("is given to an agent for its own node", async () => {
    const { name } = await ask(agent);
    expect(await untilAnswered(name)).toBe(`CN=vireo:node-agent:${nodeName}`);
    const { certificate = "" } = (await read(name)).status;
    const issued = new X509Certificate(decodeBase64(certificate));
    const authority = new X509Certificate(await readTrust());
    expect([issued.verify(authority.publicKey), issued.ca, issued.subjectAltName]).toEqual([
      true,
      false,
      `DNS:${nodeName}`,
    ]);
  });

  test("is given to the api-server, with the name that the aggregator looks for", async () => {
    const { name } = await ask(apiServer, {
      identity: { kind: "api-server" },
      signerName: "vireo.dev/api-server",
    });
    expect(await untilAnswered(name)).toBe("CN=vireo:api-server");
    const { certificate = "" } = (await read(name)).status;
    expect(new X509Certificate(decodeBase64(certificate)).subjectAltName).toBe(
      "DNS:vireo-api-server.vireo-system.svc",
    );
  });

  test.each([
    [
      "of another node",
      () => ask(agent, { identity: agentIdentity("another") }),
      "Denied: SubjectNotRequester",
    ],
    [
      "of the api-server to an agent",
      () => ask(agent, { identity: { kind: "api-server" } }),
      "Denied: SubjectNotRequester",
    ],
    [
      "for other usages",
      () => ask(agent, { usages: ["digital signature", "client auth", "server auth", "code signing"] }),
      "Denied: UsagesNotAllowed",
    ],
    ["to an administrator", () => ask(stage.cluster.administrator), "Denied: RequesterNotAllowed"],
  ])("is refused: one %s", async (_what, request, answer) => {
    const { name, reply } = await request();
    expect(reply.code).toBe(201);
    expect(await untilAnswered(name)).toBe(answer);
  });

  test("that somebody else has approved in error is not signed", async () => {
    // Who is faster is open, the controller or the person; signed it is in no case.
    const hasty = stage.cluster.administrator;
    const { reply } = await ask(hasty, { signerName: "vireo.dev/node-agent" });
    const made = certificateSigningRequests.parse(reply.body);
    const approved = await hasty.call({
      method: "PATCH",
      path: `${REQUESTS}/${made.metadata.name}/approval`,
      contentType: MERGE_PATCH,
      body: {
        status: { conditions: [{ type: "Approved", status: "True", reason: "Hasty" }] },
      },
    });
    expect([200, 422]).toContain(approved.code);
    expect(await untilAnswered(made.metadata.name)).toMatch(/^(Denied|Failed): RequesterNotAllowed$/);
    expect((await read(made.metadata.name)).status.certificate).toBeUndefined();
  });

  test.each([
    ["an agent", () => agent, "vireo.dev/api-server"],
    ["an agent", () => agent, "kubernetes.io/kube-apiserver-client"],
    ["the api-server", () => apiServer, "vireo.dev/node-agent"],
  ])("cannot even be asked for by %s of a signer that is not its own", async (_who, client, signerName) => {
    const usages = ["digital signature", "client auth"];
    const { reply } = await ask(client(), { signerName, usages });
    expect(refusalOf(reply)?.message).toContain("only");
  });

  test("cannot be asked for with a token that names no node", async () => {
    const unbound = await connectAgent(stage.cluster);
    const { reply } = await ask(unbound);
    expect(refusalOf(reply)?.message).toContain("names no node");
    await unbound.close();
  });
});

test("agents see their own requests, by name, and no list of others'", async () => {
  const { name } = await ask(agent);
  const own = await agent.call({ method: "GET", path: `${REQUESTS}/${name}` });
  const all = await agent.call({ method: "GET", path: REQUESTS });
  expect([own.code, all.code]).toEqual([200, 403]);
});

describe("the controller, whatever rights it is given,", () => {
  const CONTROLLER = "vireo-controller";
  let controller: ApiClient;

  beforeAll(async () => {
    await grantEverything(stage.cluster, CONTROLLER);
    const { controlPlane } = stage.cluster;
    controller = await connect(controlPlane, await controlPlane.issueToken(CONTROLLER, "vireo-system"));
  });

  afterAll(async () => {
    await controller.close();
    await revokeEverything(stage.cluster, CONTROLLER);
  });

  const configMap = (name: string) => ({ apiVersion: "v1", kind: "ConfigMap", metadata: { name } });
  const foreign = (): Promise<string> =>
    ask(stage.cluster.administrator, {
      signerName: "example.com/other",
    }).then(({ name }) => name);

  test.each([
    ["asks for no certificate", async () => (await ask(controller)).reply, "answers and removes"],
    [
      "removes no request of another signer",
      async () => controller.call({ method: "DELETE", path: `${REQUESTS}/${await foreign()}` }),
      "of its own signers only",
    ],
    [
      "writes no other ConfigMap",
      () =>
        controller.call({
          method: "POST",
          path: "/api/v1/namespaces/vireo-system/configmaps",
          body: configMap("other"),
        }),
      "vireo-system/vireo-ca only",
    ],
    [
      "replaces no authority",
      () =>
        controller.call({
          method: "PATCH",
          path: "/api/v1/namespaces/vireo-system/secrets/vireo-ca",
          contentType: MERGE_PATCH,
          body: { metadata: { labels: { a: "b" } } },
        }),
      "not change or delete",
    ],
  ])("%s", async (_what, attempt, why) => {
    expect(refusalOf(await attempt())?.message).toContain(why);
  });
});

const serialOf = (certificate: string): string => new X509Certificate(certificate).serialNumber;

describe("an agent's certificate", () => {
  test("is renewed at half of its life, with another key, and anew when the authority is replaced", async () => {
    const { controlPlane, administrator } = stage.cluster;
    const kubeconfig = `${stage.directory}/agent.kubeconfig`;
    const token = await controlPlane.issueToken("vireo-node-agent", "vireo-system", nodeName);
    await controlPlane.kubeconfigFor({ token }, kubeconfig);
    const clock = travellingClock();
    const client = createKubeClient({ kubeConfig: loadKubeConfig({ kubeconfig }) });
    const logger = silentLogger;
    const credentials = createPeerCredentials({ identity: agentIdentity(), client, logger, clock });
    const controller = new AbortController();
    const running = credentials.run(controller.signal).catch(() => {});
    const first = await credentials.whenReady(controller.signal);
    const seen: string[] = [];
    credentials.onChange(({ certificate }) => seen.push(serialOf(certificate)));

    clock.travel(11 * 60 * 60_000);
    expect(seen).toEqual([]);
    clock.travel(60 * 60_000 + 1_000);
    await waitFor("a second certificate", () => seen.length > 0);
    const second = credentials.current();
    expect(second?.privateKey).not.toBe(first.privateKey);
    expect(second?.certificate).not.toBe(first.certificate);

    await administrator.call({ method: "DELETE", path: "/api/v1/namespaces/vireo-system/secrets/vireo-ca" });
    // Whoever signs next finds that there is no authority, and makes one.
    const { name } = await ask(agent);
    await untilAnswered(name);
    clock.travel(10_000);
    const third = await waitFor("a certificate of the new authority", () => {
      const now = credentials.current();
      return now?.certificate === second?.certificate ? undefined : now;
    });
    const [newest = "", older = ""] = z
      .array(z.string())
      .parse(third.authorities.match(/-----BEGIN[^]*?END CERTIFICATE-----\n/g));
    const isOf = (authority: string): boolean =>
      new X509Certificate(third.certificate).verify(new X509Certificate(authority).publicKey);
    expect([isOf(newest), isOf(older)]).toEqual([true, false]);

    controller.abort();
    await running;
    await client.close();
  });
});

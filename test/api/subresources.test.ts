import { once } from "node:events";
import { mkdtemp, readFile, rm } from "node:fs/promises";
import type { IncomingMessage } from "node:http";
import { request as httpsRequest } from "node:https";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { text as textOf } from "node:stream/consumers";

import { afterAll, beforeAll, beforeEach, describe, expect, test } from "@jest/globals";
import { WebSocket } from "ws";

import { type Subresource, subresourcePath } from "../../src/api/subresources.ts";
import { virtualMachineMigrations } from "../../src/api/virtual-machine-migration.ts";
import { type VirtualMachine, virtualMachines } from "../../src/api/virtual-machine.ts";
import { ensureAuthority, issueFrontProxyCertificate } from "../testbed/certificates.ts";
import { waitFor } from "../testbed/wait.ts";
import { type ApiClient, MERGE_PATCH, refusalOf } from "./support/api-client.ts";
import { create } from "./support/cluster.ts";
import { type FakeNode, openSubresourceStage, type SubresourceStage } from "./support/subresource-stage.ts";
import {
  connectAgent,
  connectController,
  CONTROLLER,
  grantEverything,
  revokeEverything,
} from "./support/system.ts";

let stage: SubresourceStage;
let node: FakeNode;
let machine: VirtualMachine;
let editor: ApiClient & { readonly token: string };
let viewer: ApiClient & { readonly token: string };
let stranger: ApiClient & { readonly token: string };

const pathOf = (subresource: Subresource, name = "web", namespace = stage.cluster.namespace): string =>
  subresourcePath({ namespace, name }, subresource);

/** https://www.rfc-editor.org/rfc/rfc6455#section-1.3 */
const UPGRADE = {
  connection: "Upgrade",
  upgrade: "websocket",
  "sec-websocket-version": "13",
  "sec-websocket-key": "dGhlIHNhbXBsZSBub25jZQ==",
};

const get = (client: ApiClient, path: string) => client.call({ method: "GET", path });
const post = (client: ApiClient, path: string) => client.call({ method: "POST", path });

beforeAll(async () => {
  stage = await openSubresourceStage();
  const { namespace } = stage.cluster;
  node = await stage.startNode(`${namespace}-a`);
  machine = await stage.placeMachine("web", node.name);
  editor = await stage.connectUser("editor", ["vireo-view", "vireo-edit"]);
  viewer = await stage.connectUser("viewer", ["vireo-view"]);
  stranger = await stage.connectUser("stranger", []);
}, 180_000);

afterAll(() => stage.stop());

beforeEach(() => {
  node.guests.calls.length = 0;
  node.guests.off.clear();
});

/** A WebSocket through kube-apiserver. Rejects with the answer's code and message when there is none. */
const open = async (token: string, path: string): Promise<WebSocket> => {
  const { url, caFile } = stage.cluster.controlPlane;
  const ca = await readFile(caFile, "utf8");
  const socket = new WebSocket(`${url.replace("https:", "wss:")}${path}`, {
    ca,
    headers: { authorization: `Bearer ${token}` },
    perMessageDeflate: false,
  });
  const { promise, resolve, reject } = Promise.withResolvers<WebSocket>();
  socket.once("open", () => resolve(socket));
  socket.once("error", reject);
  socket.once("unexpected-response", (_request, response) => {
    textOf(response).then((text) => reject(new Error(`${response.statusCode} ${text}`)), reject);
  });
  // The greeting may be in the same packet as the answer.
  heard.set(socket, []);
  socket.on("message", (data: Buffer, isBinary: boolean) => {
    heard.get(socket)?.push(isBinary ? data : Buffer.from("a frame of text"));
  });
  return promise;
};
const heard = new WeakMap<WebSocket, Buffer[]>();

const untilHeard = (socket: WebSocket, bytes: number): Promise<Buffer> =>
  waitFor(`${bytes} bytes`, () => {
    const all = Buffer.concat(heard.get(socket) ?? []);
    if (all.length < bytes) throw new Error(`${all.length} bytes`);
    return all;
  });

const leave = async (socket: WebSocket): Promise<void> => {
  socket.close();
  await once(socket, "close");
};

describe("streams", () => {
  test.each([
    ["console", "console"],
    ["vnc", "vnc"],
    ["spice", "spice"],
    ["portforward", "tcp 22"],
  ] as const)("%s goes through to the guest, byte by byte", async (subresource, service) => {
    const query = subresource === "portforward" ? "?port=22" : "";
    const socket = await open(editor.token, pathOf(subresource) + query);
    const bytes = Buffer.from([0, 255, 13, 10, 128]);
    socket.send(bytes);
    const wanted = Buffer.concat([Buffer.from(`${service}:`), bytes]);
    expect(await untilHeard(socket, wanted.length)).toEqual(wanted);
    await leave(socket);
    expect(node.guests.calls).toEqual([
      `${service} ${machine.metadata.uid} for system:serviceaccount:${stage.cluster.namespace}:editor`,
    ]);
  });

  test("carry more than any buffer holds, unharmed", async () => {
    const socket = await open(editor.token, pathOf("vnc"));
    const block = Buffer.from(Array.from({ length: 65_536 }, (_, index) => (index * 31) % 256));
    for (let count = 0; count < 64; count += 1) socket.send(block);
    const all = await untilHeard(socket, 4 + 64 * block.length);
    expect(all.subarray(4).equals(Buffer.concat(Array.from({ length: 64 }, () => block)))).toBe(true);
    await leave(socket);
  });

  test("end when the user leaves", async () => {
    const socket = await open(editor.token, pathOf("console"));
    await leave(socket);
    const line = await waitFor("no stream open", async () => {
      const text = await (await fetch(`${stage.apiServer.metricsUrl}/metrics`)).text();
      return /^vireo_subresource_streams\{subresource="console"\} 0$/m.exec(text)?.[0];
    });
    expect(line).toContain("console");
  });

  test.each(["console", "vnc", "spice", "portforward"] as const)(
    "of %s are refused to who may only look, and to who may nothing",
    async (subresource) => {
      const path = `${pathOf(subresource)}?port=22`;
      await expect(open(viewer.token, path)).rejects.toThrow(
        new RegExp(`403 .*cannot get resource \\\\"virtualmachines/${subresource}`),
      );
      await expect(open(stranger.token, path)).rejects.toThrow(/403 /);
      expect(node.guests.calls).toEqual([]);
    },
  );

  test("are refused for a machine that does not exist", async () => {
    const asked = open(editor.token, pathOf("console", "nobody"));
    await expect(asked).rejects.toThrow(/404 .*"nobody\\" not found/);
  });

  test("are refused while the guest is off, in the agent's words", async () => {
    node.guests.off.add(machine.metadata.uid);
    await expect(open(editor.token, pathOf("console"))).rejects.toThrow(/409 .*the guest is off/);
  });

  test("are refused to a port that is none", async () => {
    await expect(open(editor.token, `${pathOf("portforward")}?port=0`)).rejects.toThrow(/400 .*port/);
  });

  test("are not given to who asks without a WebSocket", async () => {
    expect(refusalOf(await get(editor, pathOf("console")))?.message).toContain("ask for a WebSocket");
  });

  test("are refused in another namespace", async () => {
    const { controlPlane, namespace } = stage.cluster;
    const other = `${namespace}-other`;
    await controlPlane.kubectl(["create", "namespace", other]);
    await expect(open(editor.token, pathOf("console", "web", other))).rejects.toThrow(/403 /);
    await controlPlane.kubectl(["delete", "namespace", other, "--wait=false"]);
  });
});

describe("a node that does not answer", () => {
  test("is told as that", async () => {
    const silent = await stage.startNode(`${stage.cluster.namespace}-silent`);
    await stage.placeMachine("lonely", silent.name);
    await silent.stop();
    const reply = await get(editor, pathOf("log", "lonely"));
    expect([reply.code, refusalOf(reply)?.message]).toEqual([
      503,
      expect.stringMatching(/"lonely": node-agent \S+-silent at 127\.0\.0\.1:\d+ does not answer/),
    ]);
  });

  test("is not mistaken for another one that answers in its place", async () => {
    const { cluster } = stage;
    const victim = `${cluster.namespace}-victim`;
    await cluster.administrator.call({
      method: "POST",
      path: "/apis/vireo.dev/v1alpha1/hypervisors",
      body: { apiVersion: "vireo.dev/v1alpha1", kind: "Hypervisor", metadata: { name: victim }, spec: {} },
    });
    await cluster.administrator.call({
      method: "PATCH",
      path: `/apis/vireo.dev/v1alpha1/hypervisors/${victim}/status`,
      contentType: "application/merge-patch+json",
      body: { status: { agentEndpoint: node.endpoint } },
    });
    await stage.placeMachine("robbed", victim);
    const reply = await get(editor, pathOf("log", "robbed"));
    expect(refusalOf(reply)?.message).toMatch(
      /expected node-agent \S+-victim, but the certificate is that of/,
    );
    expect(node.guests.calls).toEqual([]);
  });
});

describe("documents and actions", () => {
  test("a viewer reads the log and sees the screen", async () => {
    expect((await get(viewer, pathOf("log"))).body).toBe("Linux has booted\n");
    expect((await get(viewer, pathOf("screenshot"))).code).toBe(200);
  });

  test.each(["restart", "pause", "unpause"] as const)(
    "an editor may %s, a viewer may not",
    async (action) => {
      const reply = await post(editor, pathOf(action));
      expect(reply.body).toMatchObject({ kind: "Status", status: "Success" });
      expect((await post(viewer, pathOf(action))).code).toBe(403);
      expect(node.guests.calls).toEqual([
        `${action} ${machine.metadata.uid} for system:serviceaccount:${stage.cluster.namespace}:editor`,
      ]);
    },
  );

  test("an action is not done by reading it", async () => {
    expect((await get(stage.cluster.administrator, pathOf("restart"))).code).toBe(405);
    expect(node.guests.calls).toEqual([]);
  });

  test("a machine without a node says so", async () => {
    await stage.cluster.administrator.call({
      method: "POST",
      path: stage.cluster.pathOf(virtualMachines),
      body: {
        apiVersion: "vireo.dev/v1alpha1",
        kind: "VirtualMachine",
        metadata: { name: "unplaced" },
        spec: { flavor: "none", image: "none", networks: [{ name: "none" }] },
      },
    });
    const reply = await get(editor, pathOf("log", "unplaced"));
    expect([reply.code, refusalOf(reply)?.message]).toEqual([
      409,
      expect.stringContaining("it has no node yet"),
    ]);
  });
});

describe("a seed", () => {
  beforeAll(async () => {
    const { cluster } = stage;
    await cluster.administrator.call({
      method: "POST",
      path: `/api/v1/namespaces/${cluster.namespace}/secrets`,
      body: {
        apiVersion: "v1",
        kind: "Secret",
        metadata: { name: "seed" },
        stringData: { userdata: "#cloud-config\npassword: s3cret\n", net: "version: 2\n" },
      },
    });
    await stage.placeMachine("seeded", node.name, {
      cloudInit: {
        userDataSecretRef: { name: "seed" },
        networkDataSecretRef: { name: "seed", key: "net" },
      },
    });
    await stage.placeMachine("broken", node.name, { cloudInit: { userDataSecretRef: { name: "missing" } } });
    await stage.createNode(`${cluster.namespace}-b`);
  });

  test("is given to the agent of the machine's node, with Secrets resolved", async () => {
    const agent = await connectAgent(stage.cluster, node.name);
    const { body } = await get(agent, pathOf("seed", "seeded"));
    expect(body).toMatchObject({
      kind: "Seed",
      metadata: { name: "seeded", namespace: stage.cluster.namespace },
      userData: "#cloud-config\npassword: s3cret\n",
      networkData: "version: 2\n",
    });
    await agent.close();
  });

  test.each([
    [
      "the agent of another node",
      () => connectAgent(stage.cluster, `${stage.cluster.namespace}-b`),
      "the agent of node",
    ],
    ["an agent whose token names no node", () => connectAgent(stage.cluster), "may not read its seed"],
    [
      "an administrator",
      () => Promise.resolve(stage.cluster.administrator),
      "only the agent of its own node may",
    ],
    ["an editor", () => Promise.resolve(editor), "virtualmachines/seed"],
  ])("is refused to %s", async (_who, client, why) => {
    const reply = await get(await client(), pathOf("seed", "seeded"));
    expect(reply.code).toBe(403);
    expect(refusalOf(reply)?.message).toContain(why);
  });

  test("is given to the agent of the node that the machine moves to, while it moves", async () => {
    const { cluster, controller } = stage;
    // It would have its say in the phases.
    await controller.stop();
    const target = `${cluster.namespace}-b`;
    const agent = await connectAgent(cluster, target);
    const read = async (): Promise<number> => (await get(agent, pathOf("seed", "seeded"))).code;
    const { uid } = virtualMachines.parse(
      (await get(cluster.administrator, cluster.pathOf(virtualMachines, "seeded"))).body,
    ).metadata;
    await create(cluster, virtualMachineMigrations, {
      apiVersion: "vireo.dev/v1alpha1",
      kind: "VirtualMachineMigration",
      metadata: { name: "move" },
      spec: { virtualMachine: "seeded" },
    });
    const codes: number[] = [];
    for (const phase of ["Pending", "Copying", "Failed"]) {
      await cluster.administrator.call({
        method: "PATCH",
        path: `${cluster.pathOf(virtualMachineMigrations, "move")}/status`,
        contentType: MERGE_PATCH,
        body: { status: { phase, machineUid: uid, targetNode: target } },
      });
      codes.push(await read());
    }
    expect(codes).toEqual([403, 200, 403]);
    await agent.close();
    await controller.start();
    await controller.ready();
  });

  test("whose Secret is missing is refused with its name", async () => {
    const agent = await connectAgent(stage.cluster, node.name);
    const reply = await get(agent, pathOf("seed", "broken"));
    expect([reply.code, refusalOf(reply)?.message]).toEqual([
      409,
      expect.stringMatching(/Secret ".*\/missing".* does not exist/),
    ]);
    await agent.close();
  });
});

describe("who is not kube-apiserver", () => {
  let directory: string;

  beforeAll(async () => {
    directory = await mkdtemp(join(tmpdir(), "vireo-forgery-"));
    await ensureAuthority(directory, "front-proxy-ca");
  });
  afterAll(() => rm(directory, { recursive: true }));

  /** The right name, from an authority of his own. */
  const forgedCertificate = async (): Promise<{ readonly cert: string; readonly key: string }> => {
    const { certificateFile, keyFile } = await issueFrontProxyCertificate(directory);
    return { cert: await readFile(certificateFile, "utf8"), key: await readFile(keyFile, "utf8") };
  };

  test.each([
    ["without a certificate", "log", async () => ({})],
    ["with a forged certificate", "log", forgedCertificate],
    ["with a forged certificate, from a screen", "vnc", forgedCertificate],
    ["with a forged certificate, from a seed", "seed", forgedCertificate],
  ] as const)("is refused %s, whatever user he says he is", async (_how, subresource, identity) => {
    const answer = httpsRequest({
      host: "127.0.0.1",
      port: stage.servingPort,
      path: pathOf(subresource),
      rejectUnauthorized: false,
      ...(await identity()),
      headers: {
        "x-remote-user": `system:serviceaccount:vireo-system:vireo-node-agent`,
        "x-remote-group": "system:masters",
        "x-remote-extra-authentication.kubernetes.io%2fnode-name": node.name,
        ...(subresource === "vnc" ? UPGRADE : {}),
      },
    });
    answer.end();
    const [response] = (await once(answer, "response")) as [IncomingMessage];
    response.resume();
    expect(response.statusCode).toBe(401);
    expect(node.guests.calls).toEqual([]);
  });
});

describe("kubectl", () => {
  test("finds the subresources", async () => {
    const text = await stage.cluster.controlPlane.kubectl([
      "get",
      "--raw",
      "/apis/subresources.vireo.dev/v1alpha1",
    ]);
    const { resources } = JSON.parse(text) as { readonly resources: readonly { readonly name: string }[] };
    expect(resources.map(({ name }) => name)).toContain("virtualmachines/console");
  });

  test("reads a log, and gets the server's words when there is none", async () => {
    const { controlPlane } = stage.cluster;
    expect(await controlPlane.kubectl(["get", "--raw", pathOf("log")])).toBe("Linux has booted\n");
    await expect(controlPlane.kubectl(["get", "--raw", pathOf("log", "nobody")])).rejects.toThrow(
      '"nobody" not found',
    );
  });
});

describe("the controller, whatever rights it is given,", () => {
  const PATH = "/apis/apiregistration.k8s.io/v1/apiservices/v1alpha1.subresources.vireo.dev";
  let controller: ApiClient;

  beforeAll(async () => {
    await grantEverything(stage.cluster, CONTROLLER);
    controller = await connectController(stage.cluster);
  });

  afterAll(async () => {
    await controller.close();
    await revokeEverything(stage.cluster, CONTROLLER);
  });

  test.each([
    ["sends requests for consoles nowhere else", { service: { name: "other" } }],
    ["does not make the aggregator believe anybody", { insecureSkipTLSVerify: true, caBundle: null }],
  ])("%s", async (_what, spec) => {
    const reply = await controller.call({
      method: "PATCH",
      path: PATH,
      contentType: MERGE_PATCH,
      body: { spec },
    });
    expect(refusalOf(reply)?.message).toContain(
      "may change the caBundle of an APIService, and nothing else of it",
    );
  });

  test("does not take the api-server away", async () => {
    const reply = await controller.call({ method: "DELETE", path: PATH });
    expect(refusalOf(reply)?.message).toContain("may change the APIService");
  });
});

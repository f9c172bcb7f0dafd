import { mkdir, mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { type Duplex, PassThrough, Readable } from "node:stream";

import { hypervisors } from "../../../src/api/hypervisor.ts";
import { type VirtualMachine, virtualMachines } from "../../../src/api/virtual-machine.ts";
import { createKubeClient, createMetrics, loadKubeConfig, silentLogger } from "../../../src/kube/index.ts";
import { createAgentServer } from "../../../src/node-agent/agent-server.ts";
import { type GuestCall, guestProblems, type GuestServices } from "../../../src/node-agent/server/index.ts";
import { applyManifests, registerApiService } from "../../testbed/manifests.ts";
import { findFreePort } from "../../testbed/ports.ts";
import {
  apiServerProcess,
  controllerProcess,
  SERVICE_ACCOUNTS,
  type VireoProcess,
} from "../../testbed/processes.ts";
import { waitFor } from "../../testbed/wait.ts";
import { type ApiClient, connect, MERGE_PATCH } from "./api-client.ts";
import { create, startTestCluster, type TestCluster } from "./cluster.ts";
import { type JsonObject, validManifest, validStatus } from "./manifests.ts";
import { condition } from "./system.ts";

/** The guests of a fake agent: what is said to a stream comes back, with its name before it. */
export interface FakeGuests {
  /** "console <uid> for <user>": what was asked, in order. */
  readonly calls: string[];
  /** UIDs whose guests are off. */
  readonly off: Set<string>;
}

export interface FakeNode {
  readonly name: string;
  readonly guests: FakeGuests;
  readonly endpoint: string;
  stop(): Promise<void>;
}

/** A real API server with the real controller and api-server as processes, and agents that serve no guests. */
export interface SubresourceStage {
  readonly cluster: TestCluster;
  readonly directory: string;
  readonly controller: VireoProcess;
  readonly apiServer: VireoProcess;
  readonly servingPort: number;
  /** A node whose agent has asked for its certificate and serves. */
  startNode(name: string): Promise<FakeNode>;
  /** Makes a Node, so that tokens can be bound to it. */
  createNode(name: string): Promise<void>;
  /** Makes a machine that is placed on that node. */
  placeMachine(name: string, nodeName: string, spec?: JsonObject): Promise<VirtualMachine>;
  /** Talks as a user with these roles in the test's namespace. */
  connectUser(name: string, roles: readonly string[]): Promise<ApiClient & { readonly token: string }>;
  stop(): Promise<void>;
}

const { namespace: SYSTEM } = SERVICE_ACCOUNTS;

export const openSubresourceStage = async (): Promise<SubresourceStage> => {
  const directory = await mkdtemp(join(tmpdir(), "vireo-subresources-"));
  const cluster = await startTestCluster();
  const { controlPlane, administrator, namespace } = cluster;
  await applyManifests(controlPlane);
  const accountFile = async (account: string, node?: string): Promise<string> => {
    const file = join(directory, `${account}-${node ?? "any"}.kubeconfig`);
    const token = await controlPlane.issueToken(account, SYSTEM, node);
    await controlPlane.kubeconfigFor({ token }, file);
    return file;
  };
  const processOptions = async (name: string, account: string) => {
    await mkdir(join(directory, name), { recursive: true });
    return {
      directory: join(directory, name),
      kubeconfig: await accountFile(account),
      lifetime: "owner",
      program: "source",
      metricsAddress: `127.0.0.1:${await findFreePort("127.0.0.1")}`,
    } as const;
  };
  const controller = controllerProcess({
    ...(await processOptions("controller", SERVICE_ACCOUNTS.controller)),
    flags: ["--leader-elect=false"],
  });
  const servingPort = await findFreePort("127.0.0.1");
  const apiServer = apiServerProcess({
    ...(await processOptions("api-server", SERVICE_ACCOUNTS.apiServer)),
    servingAddress: `127.0.0.1:${servingPort}`,
  });
  const nodes: FakeNode[] = [];
  const users: ApiClient[] = [];
  const createNode = async (name: string): Promise<void> => {
    const body = { apiVersion: "v1", kind: "Node", metadata: { name } };
    await administrator.call({ method: "POST", path: "/api/v1/nodes", body });
  };

  await registerApiService(controlPlane, servingPort);
  await controller.start();
  await apiServer.start();
  await controller.ready();
  await apiServer.ready();
  await untilAvailable(administrator);

  return {
    cluster,
    directory,
    controller,
    apiServer,
    servingPort,
    createNode,
    startNode: async (name) => {
      await createNode(name);
      const kubeconfig = await accountFile(SERVICE_ACCOUNTS.nodeAgent, name);
      const node = await startFakeNode(name, kubeconfig);
      nodes.push(node);
      await reportEndpoint(cluster, node);
      return node;
    },
    placeMachine: async (name, nodeName, spec = {}) => {
      const manifest = validManifest(virtualMachines, name);
      const full = { ...manifest, spec: { ...(manifest["spec"] as JsonObject), ...spec } };
      await create(cluster, virtualMachines, full);
      const { allocation = {} } = validStatus(virtualMachines);
      const status = { nodeName, allocation, conditions: [condition("Scheduled", "True")] };
      return virtualMachines.parse(await patchStatus(cluster, virtualMachines, name, status));
    },
    connectUser: async (name, roles) => {
      await controlPlane.kubectl(["create", "serviceaccount", name, `--namespace=${namespace}`]);
      for (const role of roles)
        await controlPlane.kubectl([
          "create",
          "rolebinding",
          `${name}-${role}`,
          `--clusterrole=${role}`,
          `--serviceaccount=${namespace}:${name}`,
          `--namespace=${namespace}`,
        ]);
      const token = await controlPlane.issueToken(name, namespace);
      const client = await connect(controlPlane, token);
      users.push(client);
      return { ...client, token };
    },
    stop: async () => {
      await Promise.all([...nodes.map((node) => node.stop()), ...users.map((user) => user.close())]);
      await Promise.all([controller.stop(), apiServer.stop()]);
      await cluster.stop();
      await rm(directory, { recursive: true, force: true });
    },
  };
};

const patchStatus = async (
  cluster: TestCluster,
  resource: typeof virtualMachines | typeof hypervisors,
  name: string,
  status: JsonObject,
): Promise<unknown> => {
  const path = `${cluster.pathOf(resource, name)}/status`;
  const reply = await cluster.administrator.call({
    method: "PATCH",
    path,
    contentType: MERGE_PATCH,
    body: { status },
  });
  if (reply.code !== 200) throw new Error(`status not written: ${JSON.stringify(reply.body)}`);
  return reply.body;
};

const reportEndpoint = async (cluster: TestCluster, node: FakeNode): Promise<void> => {
  await create(cluster, hypervisors, validManifest(hypervisors, node.name));
  await patchStatus(cluster, hypervisors, node.name, { agentEndpoint: node.endpoint });
};

const API_SERVICE = "/apis/apiregistration.k8s.io/v1/apiservices/v1alpha1.subresources.vireo.dev";

const untilAvailable = (administrator: ApiClient): Promise<true> =>
  waitFor("APIService Available", async () => {
    const { body } = await administrator.call({ method: "GET", path: API_SERVICE });
    const { status } = body as { readonly status?: { readonly conditions?: readonly JsonObject[] } };
    const available = status?.conditions?.find(({ type }) => type === "Available");
    if (available?.["status"] === "True") return true;
    throw new Error(JSON.stringify(available ?? body));
  });

/** The real server of an agent, with guests that only answer. */
const startFakeNode = async (name: string, kubeconfig: string): Promise<FakeNode> => {
  const guests: FakeGuests = { calls: [], off: new Set() };
  const client = createKubeClient({ kubeConfig: loadKubeConfig({ kubeconfig }) });
  const server = createAgentServer({
    config: { nodeName: name, serverAddress: "127.0.0.1", serverPort: 0 },
    client,
    logger: silentLogger,
    metrics: createMetrics(),
    tunnelAddress: () => undefined,
  });
  const controller = new AbortController();
  const tasks = server.tasks({ services: fakeServices(guests), routes: [] });
  const running = Object.values(tasks).map((task) => task(controller.signal).catch(() => {}));
  const endpoint = await waitFor(`agent of ${name} serving`, () => server.endpoint());
  return {
    name,
    guests,
    endpoint,
    stop: async () => {
      controller.abort();
      await Promise.all(running);
      await client.close();
    },
  };
};

const fakeServices = ({ calls, off }: FakeGuests): GuestServices => {
  const note = (what: string, { uid, requester }: GuestCall): void => {
    if (off.has(uid)) throw guestProblems.wrongState("the guest is off; start it first");
    calls.push(`${what} ${uid} for ${requester}`);
  };
  const echo = (what: string) => (call: GuestCall) => {
    note(what, call);
    return Promise.resolve(echoStream(`${what}:`));
  };
  const act = (what: string) => (call: GuestCall) => {
    note(what, call);
    return Promise.resolve();
  };
  return {
    console: echo("console"),
    vnc: echo("vnc"),
    spice: echo("spice"),
    tcp: (call) => echo(`tcp ${call.port}`)(call),
    log: (call) => {
      note("log", call);
      return Promise.resolve(Readable.from([Buffer.from("Linux "), Buffer.from("has booted\n")]));
    },
    screenshot: (call) => {
      note("screenshot", call);
      return Promise.resolve(Buffer.from([0x89, 0x50, 0x4e, 0x47]));
    },
    restart: act("restart"),
    pause: act("pause"),
    unpause: act("unpause"),
  };
};

/** Says its name, and then whatever is said to it. */
const echoStream = (greeting: string): Duplex => {
  const inside = new PassThrough();
  inside.write(greeting);
  return inside;
};

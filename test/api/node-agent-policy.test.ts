import { afterAll, beforeAll, describe, expect, test } from "@jest/globals";

import { addressSlices } from "../../src/api/address-slice.ts";
import { floatingLeaseName } from "../../src/api/floating-ip.ts";
import { SYSTEM_NAMESPACE, hypervisors } from "../../src/api/hypervisor.ts";
import { networks } from "../../src/api/network.ts";
import { securityGroups } from "../../src/api/security-group.ts";
import { GUEST_FINALIZER, virtualMachines } from "../../src/api/virtual-machine.ts";
import { type ApiClient, APPLY_PATCH, MERGE_PATCH, refusalOf, type Reply } from "./support/api-client.ts";
import { create, startTestCluster, type TestCluster } from "./support/cluster.ts";
import { type JsonObject, validManifest, validStatus } from "./support/manifests.ts";
import {
  applyMachineStatus,
  condition,
  connectAgent,
  connectController,
  grantEverything,
  installSystem,
  NODE_AGENT,
  placeMachine,
  placement,
  revokeEverything,
  untilRefused,
} from "./support/system.ts";

/**
 * Whoever takes over a node has its agent's token. Here the agents' account has
 * every right that RBAC knows, so that what is refused is refused by the policies.
 */

const LEASES = `/apis/coordination.k8s.io/v1/namespaces/${SYSTEM_NAMESPACE}/leases`;
const MACHINE = "guarded";

let cluster: TestCluster;
let controller: ApiClient;
/** Agents of the machine's node, of another node, and with a token that is bound to no node. */
let agents: { readonly own: ApiClient; readonly other: ApiClient; readonly unbound: ApiClient };
let ownNode: string;
let otherNode: string;

const as = (client: ApiClient) => ({ client, fieldManager: NODE_AGENT });

const guest = (nodeName: string): JsonObject => ({ nodeName, powerState: "Running", restarts: 0 });

const report = (node: string): JsonObject => ({
  guest: guest(node),
  conditions: [condition("Ready", "True")],
});

const writeStatus = (client: ApiClient, status: JsonObject): Promise<Reply> =>
  applyMachineStatus(cluster, as(client), MACHINE, status);

const patchMachine = (client: ApiClient, body: JsonObject, subresource = ""): Promise<Reply> =>
  client.call({
    method: "PATCH",
    path: `${cluster.pathOf(virtualMachines, MACHINE)}${subresource}`,
    contentType: MERGE_PATCH,
    body,
  });

const applyHypervisor = (
  client: ApiClient,
  name: string,
  more: JsonObject = {},
  subresource = "",
): Promise<Reply> =>
  client.call({
    method: "PATCH",
    path: `${cluster.pathOf(hypervisors, name)}${subresource}?fieldManager=${NODE_AGENT}&force=true`,
    contentType: APPLY_PATCH,
    body: { apiVersion: "vireo.dev/v1alpha1", kind: "Hypervisor", metadata: { name }, ...more },
  });

const lease = (name: string): JsonObject => ({
  apiVersion: "coordination.k8s.io/v1",
  kind: "Lease",
  metadata: { name },
  spec: { holderIdentity: name, leaseDurationSeconds: 40 },
});

const createLease = (client: ApiClient, name: string): Promise<Reply> =>
  client.call({ method: "POST", path: LEASES, body: lease(name) });

const renewLease = (client: ApiClient, name: string): Promise<Reply> =>
  client.call({
    method: "PATCH",
    path: `${LEASES}/${name}`,
    contentType: MERGE_PATCH,
    body: { spec: { leaseDurationSeconds: 41 } },
  });

const remove = (client: ApiClient, path: string): Promise<Reply> => client.call({ method: "DELETE", path });

const createNode = async (name: string): Promise<void> => {
  const node = { apiVersion: "v1", kind: "Node", metadata: { name } };
  await cluster.administrator.call({ method: "POST", path: "/api/v1/nodes", body: node });
};

beforeAll(async () => {
  cluster = await startTestCluster();
  await installSystem(cluster);
  await grantEverything(cluster, NODE_AGENT);
  [ownNode, otherNode] = [`${cluster.namespace}-a`, `${cluster.namespace}-b`];
  for (const node of [ownNode, otherNode]) await createNode(node);
  controller = await connectController(cluster);
  agents = {
    own: await connectAgent(cluster, ownNode),
    other: await connectAgent(cluster, otherNode),
    unbound: await connectAgent(cluster),
  };
  await placeMachine(cluster, controller, { name: MACHINE, node: ownNode });
  await patchMachine(controller, { metadata: { finalizers: [GUEST_FINALIZER] } });
  await untilRefused("a machine's status", () => writeStatus(agents.unbound, report(ownNode)));
  await untilRefused("a Hypervisor", () => applyHypervisor(agents.unbound, ownNode));
  await untilRefused("a Lease", () => createLease(agents.unbound, ownNode));
});

afterAll(async () => {
  const { administrator } = cluster;
  for (const client of [controller, ...Object.values(agents)]) await client.close();
  await revokeEverything(cluster, NODE_AGENT);
  await patchMachine(administrator, { metadata: { finalizers: [] } });
  for (const node of [ownNode, otherNode]) {
    await remove(administrator, `/api/v1/nodes/${node}`);
    await remove(administrator, cluster.pathOf(hypervisors, node));
    await remove(administrator, cluster.pathOf(networks, `${node}-net`));
    for (const name of [node, floatingLeaseName(node)]) await remove(administrator, `${LEASES}/${name}`);
  }
  await cluster.stop();
});

type Attempt = readonly [string, () => Promise<Reply>];

describe("the agent of a machine's node may", () => {
  const attempts: readonly Attempt[] = [
    ["report the guest", () => writeStatus(agents.own, report(ownNode))],
    [
      "take a condition back by not saying it again",
      () =>
        writeStatus(agents.own, { guest: guest(ownNode), conditions: [condition("StorageReady", "True")] }),
    ],
    ["make its Hypervisor", () => applyHypervisor(agents.own, ownNode)],
    [
      "label its Hypervisor",
      () => applyHypervisor(agents.own, ownNode, { metadata: { name: ownNode, labels: { a: "b" } } }),
    ],
    [
      "report in its Hypervisor",
      () => applyHypervisor(agents.own, ownNode, { status: validStatus(hypervisors) }, "/status"),
    ],
    ["make its Lease", () => createLease(agents.own, ownNode)],
    ["renew its Lease", () => renewLease(agents.own, ownNode)],
    ["make the Lease of its floating addresses", () => createLease(agents.own, floatingLeaseName(ownNode))],
    ["renew the Lease of its floating addresses", () => renewLease(agents.own, floatingLeaseName(ownNode))],
  ];

  test.each(attempts)("%s", async (_sentence, attempt) => {
    expect(refusalOf(await attempt())).toBeUndefined();
  });
});

type Refusal = readonly [string, () => Promise<Reply>, string];

const refusals: readonly Refusal[] = [
  ["the status of a machine on another node", () => writeStatus(agents.other, report(otherNode)), "not on"],
  [
    "the status of a machine on another node, in that node's name",
    () => writeStatus(agents.other, report(ownNode)),
    "not on",
  ],
  ["a machine away from another node", () => writeStatus(agents.other, placement(otherNode)), "not on"],
  [
    "its own machine to another node",
    () => writeStatus(agents.own, { nodeName: otherNode }),
    "status.nodeName",
  ],
  [
    "its own machine to no node",
    () => patchMachine(agents.own, { status: { nodeName: null } }, "/status"),
    "status.nodeName",
  ],
  [
    "an address in the allocation",
    () =>
      writeStatus(agents.own, { allocation: { interfaces: [{ network: "default", address: "10.0.0.6" }] } }),
    "status.allocation",
  ],
  [
    "the flavor in the allocation",
    () => patchMachine(agents.own, { status: { allocation: { flavor: { vcpus: 64 } } } }, "/status"),
    "status.allocation",
  ],
  [
    "the allocation away",
    () => patchMachine(agents.own, { status: { allocation: null } }, "/status"),
    "status.allocation",
  ],
  [
    "a condition of the controller",
    () => writeStatus(agents.own, { conditions: [condition("Scheduled", "False")] }),
    "status.conditions",
  ],
  ...["ImageReady", "VolumesReady", "ResizePending"].map((type): Refusal => [
    `the controller's condition ${type}, which it did not set`,
    () => writeStatus(agents.own, { conditions: [condition(type, "True")] }),
    "status.conditions",
  ]),
  [
    "all conditions away, the controller's with them",
    () => patchMachine(agents.own, { status: { conditions: [] } }, "/status"),
    "status.conditions",
  ],
  [
    "in another node's name",
    () => writeStatus(agents.own, { guest: guest(otherNode) }),
    "status.guest.nodeName",
  ],
  [
    "the spec of its own machine",
    () => patchMachine(agents.own, { spec: { runStrategy: "Halted" } }),
    "nothing else of it",
  ],
  [
    "the finalizers of its own machine",
    () => patchMachine(agents.own, { metadata: { finalizers: [] } }),
    "nothing else of it",
  ],
  [
    "the labels of its own machine",
    () => patchMachine(agents.own, { metadata: { labels: { a: "b" } } }),
    "nothing else of it",
  ],
  [
    "its own machine's end",
    () => remove(agents.own, cluster.pathOf(virtualMachines, MACHINE)),
    "nothing else of it",
  ],
  [
    "a machine",
    () =>
      agents.own.call({
        method: "POST",
        path: cluster.pathOf(virtualMachines),
        body: validManifest(virtualMachines, "new"),
      }),
    "nothing else of it",
  ],
  ["the Hypervisor of another node", () => applyHypervisor(agents.own, otherNode), "of its own node only"],
  [
    "the status of another node's Hypervisor",
    () => applyHypervisor(agents.own, otherNode, { status: validStatus(hypervisors) }, "/status"),
    "of its own node only",
  ],
  [
    "its own cordon away",
    () => applyHypervisor(agents.own, ownNode, { spec: { unschedulable: false } }),
    "administrator's decision",
  ],
  [
    "the end of a Hypervisor",
    () => remove(agents.own, cluster.pathOf(hypervisors, ownNode)),
    "may not delete a Hypervisor",
  ],
  ["another node's heartbeat", () => createLease(agents.own, otherNode), "in vireo-system only"],
  [
    "the Lease of another node's floating addresses",
    () => createLease(agents.own, floatingLeaseName(otherNode)),
    "in vireo-system only",
  ],
  [
    "a list of addresses",
    () =>
      agents.own.call({
        method: "POST",
        path: cluster.pathOf(addressSlices),
        body: validManifest(addressSlices, `${ownNode}-slice`),
      }),
    "may write no addressslices",
  ],
  [
    "a group",
    () =>
      agents.own.call({
        method: "POST",
        path: cluster.pathOf(securityGroups),
        body: validManifest(securityGroups, "opened"),
      }),
    "may write no securitygroups",
  ],
  [
    "the status of a Network",
    () =>
      agents.own.call({
        method: "PATCH",
        path: `${cluster.pathOf(networks, `${ownNode}-net`)}/status`,
        contentType: MERGE_PATCH,
        body: { status: { gateway: "10.0.0.66" } },
      }),
    "may write no networks",
  ],
  ["a later heartbeat of another node", () => renewLease(agents.own, otherNode), "in vireo-system only"],
  ["the controller's election", () => createLease(agents.own, "vireo-controller"), "in vireo-system only"],
  ["the end of its Lease", () => remove(agents.own, `${LEASES}/${ownNode}`), "may not delete a Lease"],
  [
    "a Lease elsewhere",
    () =>
      agents.own.call({
        method: "POST",
        path: `/apis/coordination.k8s.io/v1/namespaces/${cluster.namespace}/leases`,
        body: lease(ownNode),
      }),
    "in vireo-system only",
  ],
];

describe("a node agent may not write", () => {
  beforeAll(async () => {
    // What there is to attack: another node's objects, and a node that was cordoned.
    await applyHypervisor(agents.other, otherNode);
    await create(cluster, networks, validManifest(networks, `${ownNode}-net`));
    await createLease(agents.other, otherNode);
    await cluster.administrator.call({
      method: "PATCH",
      path: cluster.pathOf(hypervisors, ownNode),
      contentType: MERGE_PATCH,
      body: { spec: { unschedulable: true } },
    });
  });

  test.each(refusals)("%s", async (_sentence, attempt, why) => {
    const { message = "taken" } = refusalOf(await attempt()) ?? {};
    expect(message).toContain("ValidatingAdmissionPolicy");
    expect(message).toContain(why);
  });

  test("finalizers through the status either: the API server ignores them there", async () => {
    await patchMachine(agents.own, { metadata: { finalizers: [] } }, "/status");
    const { body } = await cluster.administrator.call({
      method: "GET",
      path: cluster.pathOf(virtualMachines, MACHINE),
    });
    expect(virtualMachines.parse(body).metadata.finalizers).toEqual([GUEST_FINALIZER]);
  });
});

describe("a token that is bound to no node may not write", () => {
  const attempts: readonly Attempt[] = [
    ["a machine's status", () => writeStatus(agents.unbound, report(ownNode))],
    ["a Hypervisor", () => applyHypervisor(agents.unbound, ownNode)],
    ["a Lease", () => renewLease(agents.unbound, ownNode)],
  ];

  test.each(attempts)("%s", async (_sentence, attempt) => {
    expect(refusalOf(await attempt())?.message).toContain("names no node");
  });
});

describe("after the machine was placed on another node", () => {
  test("the old node's late report is refused, and the new node's agent takes over", async () => {
    const moved = "moved";
    await placeMachine(cluster, controller, { name: moved, node: ownNode });
    const first = await applyMachineStatus(cluster, as(agents.own), moved, report(ownNode));
    expect(refusalOf(first)).toBeUndefined();
    const writer = { client: controller, fieldManager: "vireo-controller" };
    await applyMachineStatus(cluster, writer, moved, placement(otherNode));
    const late = await applyMachineStatus(cluster, as(agents.own), moved, report(ownNode));
    expect(refusalOf(late)?.message).toContain("not on");
    const next = await applyMachineStatus(cluster, as(agents.other), moved, report(otherNode));
    expect(virtualMachines.parse(next.body).status?.guest?.nodeName).toBe(otherNode);
  });
});

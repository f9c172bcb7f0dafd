import { afterAll, beforeAll, describe, expect, test } from "@jest/globals";

import type { CustomResource } from "../../src/api/kind.ts";
import { apiVersionOf } from "../../src/api/resource.ts";
import { virtualMachineRestores } from "../../src/api/virtual-machine-restore.ts";
import { virtualMachineSnapshots } from "../../src/api/virtual-machine-snapshot.ts";
import { volumes } from "../../src/api/volume.ts";
import { type ApiClient, APPLY_PATCH, MERGE_PATCH, refusalOf, type Reply } from "./support/api-client.ts";
import { create, startTestCluster, type TestCluster } from "./support/cluster.ts";
import { type JsonObject, validManifest } from "./support/manifests.ts";
import {
  condition,
  connectAgent,
  connectController,
  CONTROLLER,
  grantEverything,
  installSystem,
  NODE_AGENT,
  revokeEverything,
  untilRefused,
} from "./support/system.ts";

/**
 * Disks belong to nodes, and the controller says which. Here both accounts have
 * every right that RBAC knows, so that what is refused is refused by the policies.
 */

const UID = "145484f2-8d1a-4016-aef2-d8fe7e21ccff";
const NAME = "guarded";

interface DiskKind {
  readonly resource: CustomResource;
  /** What the controller gives it to a node with. */
  readonly given: JsonObject;
  /** What its agent says of it. */
  readonly report: JsonObject;
}

const kinds: readonly DiskKind[] = [
  {
    resource: volumes,
    given: { allocation: { source: { volumeUid: UID } }, attachedTo: { name: "web", uid: UID } },
    report: { phase: "InUse", sizeMiB: 1024, format: "qcow2", progressPercent: 10 },
  },
  {
    resource: virtualMachineSnapshots,
    given: { machineUid: UID },
    report: { phase: "Ready", consistency: "Offline", disks: [{ name: "root", sizeMiB: 1024 }] },
  },
  {
    resource: virtualMachineRestores,
    given: { machineUid: UID, snapshotUid: UID },
    report: { phase: "Succeeded" },
  },
];

let cluster: TestCluster;
let controller: ApiClient;
/** Agents of the disks' node, of another node, and with a token that is bound to no node. */
let agents: { readonly own: ApiClient; readonly other: ApiClient; readonly unbound: ApiClient };
let ownNode: string;
let otherNode: string;

const applyStatus = (
  client: ApiClient,
  resource: CustomResource,
  status: JsonObject,
  [name, fieldManager]: readonly [string, string] = [NAME, NODE_AGENT],
): Promise<Reply> =>
  client.call({
    method: "PATCH",
    path: `${cluster.pathOf(resource, name)}/status?fieldManager=${fieldManager}&force=true`,
    contentType: APPLY_PATCH,
    body: { apiVersion: apiVersionOf(resource), kind: resource.kind, metadata: { name }, status },
  });

const patch = (
  client: ApiClient,
  resource: CustomResource,
  body: JsonObject,
  subresource = "",
): Promise<Reply> =>
  client.call({
    method: "PATCH",
    path: `${cluster.pathOf(resource, NAME)}${subresource}`,
    contentType: MERGE_PATCH,
    body,
  });

/** As the controller: what it always says, and more. */
const give = (resource: CustomResource, given: JsonObject, more: JsonObject = {}): Promise<Reply> =>
  applyStatus(controller, resource, { nodeName: ownNode, ...given, ...more }, [NAME, CONTROLLER]);

const createNode = (name: string): Promise<Reply> =>
  cluster.administrator.call({
    method: "POST",
    path: "/api/v1/nodes",
    body: { apiVersion: "v1", kind: "Node", metadata: { name } },
  });

beforeAll(async () => {
  cluster = await startTestCluster();
  await installSystem(cluster);
  for (const account of [NODE_AGENT, CONTROLLER]) await grantEverything(cluster, account);
  [ownNode, otherNode] = [`${cluster.namespace}-a`, `${cluster.namespace}-b`];
  for (const node of [ownNode, otherNode]) await createNode(node);
  controller = await connectController(cluster);
  agents = {
    own: await connectAgent(cluster, ownNode),
    other: await connectAgent(cluster, otherNode),
    unbound: await connectAgent(cluster),
  };
  for (const { resource, given } of kinds) {
    await create(cluster, resource, validManifest(resource, NAME));
    await create(cluster, resource, validManifest(resource, "unplaced"));
    await give(resource, given);
    await untilRefused(`a ${resource.kind}`, () => applyStatus(agents.unbound, resource, {}));
  }
  await untilRefused("a spec", () => patch(controller, volumes, { spec: { size: "64Gi" } }));
});

afterAll(async () => {
  for (const client of [controller, ...Object.values(agents)]) await client.close();
  for (const account of [NODE_AGENT, CONTROLLER]) await revokeEverything(cluster, account);
  for (const node of [ownNode, otherNode])
    await cluster.administrator.call({ method: "DELETE", path: `/api/v1/nodes/${node}` });
  await cluster.stop();
});

const rows = kinds.map((kind) => [kind.resource.kind, kind] as const);

describe.each(rows)("of a %s the agent of its node may", (_kind, { resource, report }) => {
  test("say how it is", async () => {
    const status = { ...report, observedGeneration: 1, conditions: [condition("Ready", "True")] };
    expect(refusalOf(await applyStatus(agents.own, resource, status))).toBeUndefined();
  });

  test("take a condition back by not saying it again, and what the controller said stays", async () => {
    await applyStatus(agents.own, resource, { ...report, conditions: [condition("Released", "True")] });
    const { body } = await applyStatus(agents.own, resource, report);
    const { nodeName, conditions = [] } = resource.parse(body).status as {
      readonly nodeName?: string;
      readonly conditions?: readonly unknown[];
    };
    expect([nodeName, conditions]).toEqual([ownNode, []]);
  });
});

type Attempt = readonly [string, () => Promise<Reply>, string];

describe.each(rows)("of a %s no agent may write", (_kind, { resource, given, report }) => {
  const attempts: readonly Attempt[] = [
    ["the status of one on another node", () => applyStatus(agents.other, resource, report), "not on"],
    [
      "the status of one that no node has",
      () => applyStatus(agents.own, resource, report, ["unplaced", NODE_AGENT]),
      "not on",
    ],
    [
      "one of no node onto its own",
      () => applyStatus(agents.own, resource, { nodeName: ownNode }, ["unplaced", NODE_AGENT]),
      "not on",
    ],
    [
      "its own to another node",
      () => applyStatus(agents.own, resource, { nodeName: otherNode }),
      "the controller's",
    ],
    [
      "its own to no node",
      () => patch(agents.own, resource, { status: { nodeName: null } }, "/status"),
      "the controller's",
    ],
    ...Object.keys(given).map((field): Attempt => [
      `${field} away`,
      () => patch(agents.own, resource, { status: { [field]: null } }, "/status"),
      "the controller's",
    ]),
    [
      "that nobody needs it",
      () => applyStatus(agents.own, resource, { conditions: [condition("InUse", "False")] }),
      "InUse is the controller's",
    ],
    ["anything without a node", () => applyStatus(agents.unbound, resource, report), "names no node"],
    ["its labels", () => patch(agents.own, resource, { metadata: { labels: { a: "b" } } }), "nothing else"],
    ["its finalizers", () => patch(agents.own, resource, { metadata: { finalizers: [] } }), "nothing else"],
    [
      "its end",
      () => agents.own.call({ method: "DELETE", path: cluster.pathOf(resource, NAME) }),
      "nothing else",
    ],
    [
      "a new one",
      () =>
        agents.own.call({
          method: "POST",
          path: cluster.pathOf(resource),
          body: validManifest(resource, "new"),
        }),
      "nothing else",
    ],
  ];

  test.each(attempts)("%s", async (_sentence, attempt, why) => {
    const refusal = refusalOf(await attempt());
    expect(refusal?.message).toContain("ValidatingAdmissionPolicy");
    expect(refusal?.message).toContain(why);
  });
});

describe.each(rows)("of a %s the controller may", (_kind, { resource, given }) => {
  test("say that somebody needs it, and an agent does not take that away", async () => {
    await give(resource, given, { conditions: [condition("InUse", "True")] });
    const refusal = refusalOf(await patch(agents.own, resource, { status: { conditions: [] } }, "/status"));
    expect(refusal?.message).toContain("InUse is the controller's");
  });

  test("hold it", async () => {
    const held = await patch(controller, resource, { metadata: { finalizers: ["vireo.dev/test"] } });
    const released = await patch(controller, resource, { metadata: { finalizers: [] } });
    expect([held, released].map(refusalOf)).toEqual([undefined, undefined]);
  });

  test("neither make nor delete it", async () => {
    const [path, body] = [cluster.pathOf(resource), validManifest(resource, "new")];
    const made = await controller.call({ method: "POST", path, body });
    const deleted = await controller.call({ method: "DELETE", path: `${path}/${NAME}` });
    for (const reply of [made, deleted])
      expect(refusalOf(reply)?.message).toContain("neither the spec of an object nor whether it exists");
  });
});

test("the controller may not make a Volume larger", async () => {
  const refusal = refusalOf(await patch(controller, volumes, { spec: { size: "64Gi" } }));
  expect(refusal?.message).toContain("neither the spec of an object nor whether it exists");
});

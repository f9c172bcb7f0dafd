import { afterAll, beforeAll, describe, expect, test } from "@jest/globals";

import { apiVersionOf } from "../../src/api/resource.ts";
import { type MigrationPhase, virtualMachineMigrations } from "../../src/api/virtual-machine-migration.ts";
import { type ApiClient, MERGE_PATCH, refusalOf, type Reply } from "./support/api-client.ts";
import { create, startTestCluster, type TestCluster } from "./support/cluster.ts";
import type { JsonObject } from "./support/manifests.ts";
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
 * The phase of a migration decides where a guest runs. Here all accounts have
 * every right that RBAC knows, so that what is refused is refused by the policies.
 */

const UID = "145484f2-8d1a-4016-aef2-d8fe7e21ccff";
const NAME = "guarded";
const resource = virtualMachineMigrations;

let cluster: TestCluster;
let controller: ApiClient;
type Role = "source" | "target" | "other" | "unbound";
let agents: Readonly<Record<Role, ApiClient>>;
let nodes: Readonly<Record<"source" | "target" | "other", string>>;

const manifestOf = (name: string, labels: JsonObject = {}): JsonObject => ({
  apiVersion: apiVersionOf(resource),
  kind: resource.kind,
  metadata: { name, labels },
  spec: { virtualMachine: "web" },
});

const patch = (client: ApiClient, body: JsonObject, subresource = ""): Promise<Reply> =>
  client.call({
    method: "PATCH",
    path: `${cluster.pathOf(resource, NAME)}${subresource}`,
    contentType: MERGE_PATCH,
    body,
  });

const say = (client: ApiClient, status: JsonObject): Promise<Reply> => patch(client, { status }, "/status");

const ends = () => ({ machineUid: UID, sourceNode: nodes.source, targetNode: nodes.target });

const at = async (phase: MigrationPhase, live = true): Promise<void> => {
  const status = { ...ends(), live, phase, targetReady: null, conditions: [condition("Accepted", "True")] };
  expect(refusalOf(await say(cluster.administrator, status))).toBeUndefined();
};

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
  const { namespace } = cluster;
  nodes = { source: `${namespace}-a`, target: `${namespace}-b`, other: `${namespace}-c` };
  for (const node of Object.values(nodes)) await createNode(node);
  controller = await connectController(cluster);
  agents = {
    source: await connectAgent(cluster, nodes.source),
    target: await connectAgent(cluster, nodes.target),
    other: await connectAgent(cluster, nodes.other),
    unbound: await connectAgent(cluster),
  };
  await create(cluster, resource, manifestOf(NAME));
  await untilRefused("a migration", () => say(agents.unbound, { phase: "Failed" }));
  await untilRefused("one more", () =>
    controller.call({
      method: "POST",
      path: `${cluster.pathOf(resource)}?dryRun=All`,
      body: manifestOf("more"),
    }),
  );
});

afterAll(async () => {
  for (const client of [controller, ...Object.values(agents)]) await client.close();
  for (const account of [NODE_AGENT, CONTROLLER]) await revokeEverything(cluster, account);
  for (const node of Object.values(nodes))
    await cluster.administrator.call({ method: "DELETE", path: `/api/v1/nodes/${node}` });
  await cluster.stop();
});

describe("Of a live migration", () => {
  const may: Readonly<Record<string, readonly string[]>> = {
    source: ["Preparing>Copying", "Preparing>Failed", "Copying>Failed", "Copying>Cancelled"],
    target: ["Preparing>Failed", "Copying>Switching", "Switching>Succeeded", "Switching>Failed"],
    other: [],
  };
  const phases = ["Preparing", "Copying", "Switching", "Succeeded", "Failed", "Cancelled"] as const;
  const rows = (["source", "target", "other"] as const).flatMap((role) =>
    phases.map((phase) => [role, phase] as const),
  );
  test.each(rows)("the %s may change the phase %s only as its part is", async (role, phase) => {
    const allowed: string[] = [];
    for (const next of phases.filter((other) => other !== phase)) {
      await at(phase);
      if (refusalOf(await say(agents[role], { phase: next })) === undefined) allowed.push(`${phase}>${next}`);
    }
    expect(allowed.toSorted()).toEqual(may[role]?.filter((change) => change.startsWith(phase)).toSorted());
  });
});

test("Of a machine that is off the target takes over what it has prepared", async () => {
  await at("Preparing", false);
  expect(refusalOf(await say(agents.source, { phase: "Switching" }))).toBeDefined();
  expect(refusalOf(await say(agents.target, { phase: "Switching" }))).toBeUndefined();
});

describe("An agent", () => {
  test("of the source tells how far it is, and that of the target that it is ready", async () => {
    await at("Copying");
    const progress = { percent: 5, remainingMiB: 100 };
    expect(refusalOf(await say(agents.source, { progress }))).toBeUndefined();
    expect(refusalOf(await say(agents.target, { targetReady: true }))).toBeUndefined();
    expect(refusalOf(await say(agents.source, { targetReady: false }))?.message).toContain(
      "only the agent of the target",
    );
  });

  test("of the node that the machine is not on says when nothing is left there, and nobody else does", async () => {
    const conditions = [condition("Accepted", "True"), condition("Released", "True")];
    const release = (role: Role) => say(agents[role], { conditions });
    for (const [phase, may, mayNot] of [
      ["Succeeded", "source", "target"],
      ["Failed", "target", "source"],
      ["Cancelled", "target", "source"],
    ] as const) {
      await at(phase);
      expect(refusalOf(await release(mayNot))?.message).toContain("Released is said by");
      expect(refusalOf(await release(may))).toBeUndefined();
    }
    await at("Copying");
    expect(refusalOf(await release("target"))?.message).toContain("Released is said by");
  });

  const attempts: readonly (readonly [string, () => Promise<Reply>, string])[] = [
    ["another machine", () => say(agents.source, { machineUid: null }), "the controller's"],
    ["another source", () => say(agents.target, { sourceNode: nodes.target }), "the controller's"],
    ["another target", () => say(agents.source, { targetNode: nodes.source }), "the controller's"],
    ["that the guest is off", () => say(agents.target, { live: false }), "the controller's"],
    [
      "that it was not accepted",
      () => say(agents.target, { conditions: [] }),
      "Accepted is the controller's",
    ],
    [
      "what is none of its node's",
      () => say(agents.other, { progress: { percent: 1, remainingMiB: 1 } }),
      "neither is",
    ],
    ["anything without a node", () => say(agents.unbound, { phase: "Failed" }), "names no node"],
    ["its labels", () => patch(agents.source, { metadata: { labels: { a: "b" } } }), "nothing else"],
    ["its finalizers", () => patch(agents.source, { metadata: { finalizers: ["a.b/c"] } }), "nothing else"],
    [
      "its end",
      () => agents.source.call({ method: "DELETE", path: cluster.pathOf(resource, NAME) }),
      "nothing else",
    ],
  ];
  test.each(attempts)("may not write %s", async (_, attempt, why) => {
    await at("Copying");
    const refusal = refusalOf(await attempt());
    expect(refusal?.message).toContain("ValidatingAdmissionPolicy");
    expect(refusal?.message).toContain(why);
  });
});

describe("The controller", () => {
  const made = (name: string, labels: JsonObject): Promise<Reply> =>
    controller.call({ method: "POST", path: cluster.pathOf(resource), body: manifestOf(name, labels) });
  const removed = (name: string): Promise<Reply> =>
    controller.call({ method: "DELETE", path: cluster.pathOf(resource, name) });

  test("makes and removes the migrations that empty a node, and nobody else's", async () => {
    expect(refusalOf(await made("drains", { "vireo.dev/drain": nodes.source }))).toBeUndefined();
    expect(refusalOf(await removed("drains"))).toBeUndefined();
    expect(refusalOf(await made("moves", {}))).toBeDefined();
    expect(refusalOf(await removed(NAME))).toBeDefined();
  });
});

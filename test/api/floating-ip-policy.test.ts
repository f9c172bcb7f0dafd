import { afterAll, beforeAll, beforeEach, describe, expect, test } from "@jest/globals";

import { floatingIps, floatingLeaseName } from "../../src/api/floating-ip.ts";
import { SYSTEM_NAMESPACE } from "../../src/api/hypervisor.ts";
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
 * Two nodes that answer for one address would cut each other's connections. The
 * agents' account has every right here that RBAC knows, so that what is refused
 * is refused by the policy.
 */

let cluster: TestCluster;
let controller: ApiClient;
let agents: { readonly a: ApiClient; readonly b: ApiClient; readonly unbound: ApiClient };
let nodeA: string;
let nodeB: string;
let made = 0;
let name: string;

const apply = (client: ApiClient, fieldManager: string, status: JsonObject): Promise<Reply> =>
  client.call({
    method: "PATCH",
    path: `${cluster.pathOf(floatingIps, name)}/status?fieldManager=${fieldManager}&force=true`,
    contentType: APPLY_PATCH,
    body: { apiVersion: "vireo.dev/v1alpha1", kind: "FloatingIP", metadata: { name }, status },
  });

const claimFor = (nodeName: string): JsonObject => ({
  machine: "web-0",
  machineUid: "145484f2-8d1a-4016-aef2-d8fe7e21ccff",
  nodeName,
  address: "10.0.0.5",
  vni: 1,
});

/** For what a test begins with: throws when it was refused. */
const settle = async (reply: Promise<Reply>): Promise<void> => {
  const refusal = refusalOf(await reply);
  if (refusal !== undefined) throw new Error(refusal.message);
};

/** As the controller: the address is for the machine on this node, or for none. */
const claim = async (nodeName?: string): Promise<void> => {
  const status = {
    address: "203.0.113.5",
    failovers: 0,
    ...(nodeName !== undefined && { claim: claimFor(nodeName) }),
  };
  await settle(apply(controller, CONTROLLER, status));
};

const holder = (nodeName: string, since = "2026-11-23T10:20:30Z"): JsonObject => ({ nodeName, since });

const says = (client: ApiClient, status: JsonObject): Promise<Reply> => apply(client, NODE_AGENT, status);

const takes = (client: ApiClient, nodeName: string): Promise<Reply> =>
  says(client, { holder: holder(nodeName) });

/** A merge patch can also touch what another field manager owns. */
const patch = (client: ApiClient, body: JsonObject, subresource = "/status"): Promise<Reply> =>
  client.call({
    method: "PATCH",
    path: `${cluster.pathOf(floatingIps, name)}${subresource}`,
    contentType: MERGE_PATCH,
    body,
  });

beforeAll(async () => {
  cluster = await startTestCluster();
  await installSystem(cluster);
  await grantEverything(cluster, NODE_AGENT);
  [nodeA, nodeB] = [`${cluster.namespace}-a`, `${cluster.namespace}-b`];
  for (const node of [nodeA, nodeB, floatingLeaseName(nodeA)]) {
    const body = { apiVersion: "v1", kind: "Node", metadata: { name: node } };
    await cluster.administrator.call({ method: "POST", path: "/api/v1/nodes", body });
  }
  controller = await connectController(cluster);
  agents = {
    a: await connectAgent(cluster, nodeA),
    b: await connectAgent(cluster, nodeB),
    unbound: await connectAgent(cluster),
  };
  name = "first";
  await create(cluster, floatingIps, validManifest(floatingIps, name));
  await untilRefused("the status of a FloatingIP", () => takes(agents.unbound, nodeA));
});

beforeEach(async () => {
  made += 1;
  name = `address-${made}`;
  await create(cluster, floatingIps, validManifest(floatingIps, name));
});

afterAll(async () => {
  for (const client of [controller, ...Object.values(agents)]) await client.close();
  await revokeEverything(cluster, NODE_AGENT);
  for (const node of [nodeA, nodeB, floatingLeaseName(nodeA)])
    await cluster.administrator.call({ method: "DELETE", path: `/api/v1/nodes/${node}` });
  await cluster.stop();
});

describe("an agent may", () => {
  test("take an address that nobody holds and that is claimed for its node, and let it go", async () => {
    await claim(nodeA);
    const taken = await takes(agents.a, nodeA);
    expect(floatingIps.parse(taken.body).status?.holder?.nodeName).toBe(nodeA);
    const released = await says(agents.a, {});
    expect(floatingIps.parse(released.body).status?.holder).toBeUndefined();
  });

  test("say anew that it holds the address, as an agent that was started again does", async () => {
    await claim(nodeA);
    await takes(agents.a, nodeA);
    const again = await says(agents.a, { holder: holder(nodeA, "2026-11-23T11:00:00Z") });
    expect(floatingIps.parse(again.body).status?.holder?.since).toBe("2026-11-23T11:00:00Z");
  });

  test("say again that it holds the address, and how it is", async () => {
    await claim(nodeA);
    await takes(agents.a, nodeA);
    const more = { holder: holder(nodeA), conditions: [condition("Announced", "True")] };
    expect(refusalOf(await says(agents.a, more))).toBeUndefined();
  });

  test.each([
    ["another node", () => claim(nodeB)],
    ["no node", () => claim()],
  ])("let go an address that is claimed for %s by now", async (_sentence, moves) => {
    await claim(nodeA);
    await takes(agents.a, nodeA);
    await moves();
    const released = await says(agents.a, {});
    expect(floatingIps.parse(released.body).status?.holder).toBeUndefined();
  });

  test("take an address after the agent before it has let it go", async () => {
    await claim(nodeA);
    await takes(agents.a, nodeA);
    await claim(nodeB);
    expect(refusalOf(await takes(agents.b, nodeB))?.message).toContain("status.holder");
    await says(agents.a, {});
    const taken = await takes(agents.b, nodeB);
    expect(floatingIps.parse(taken.body).status?.holder?.nodeName).toBe(nodeB);
  });
});

/** The address is claimed for and held by node a, unless the attempt changes it first. */
const attacks: readonly (readonly [string, () => Promise<Reply>, string])[] = [
  ["take an address that another node holds", () => takes(agents.b, nodeB), "status.holder"],
  [
    "take an address that is claimed for its node while another node holds it",
    async () => {
      await claim(nodeB);
      return takes(agents.b, nodeB);
    },
    "status.holder",
  ],
  ["let go what another node holds", () => says(agents.b, {}), "status.holder"],
  [
    "let go what another node holds, by a merge patch",
    () => patch(agents.b, { status: { holder: null } }),
    "status.holder",
  ],
  [
    "say since when another node holds it",
    () => says(agents.b, { holder: holder(nodeA, "2026-11-23T11:00:00Z") }),
    "status.holder",
  ],
  ["give what it holds to another node", () => takes(agents.a, nodeB), "status.holder"],
  [
    "take an address that is claimed for another node",
    async () => {
      await says(agents.a, {});
      return takes(agents.b, nodeB);
    },
    "status.holder",
  ],
  [
    "take an address in another node's name",
    async () => {
      await says(agents.a, {});
      return takes(agents.b, nodeA);
    },
    "status.holder",
  ],
  [
    "take an address that is claimed for nobody",
    async () => {
      await says(agents.a, {});
      await claim();
      return takes(agents.a, nodeA);
    },
    "status.holder",
  ],
  [
    "claim an address and take it in one write",
    async () => {
      await says(agents.a, {});
      return says(agents.b, { holder: holder(nodeB), claim: claimFor(nodeB) });
    },
    "status: all but holder",
  ],
  [
    "change the address",
    () => says(agents.a, { holder: holder(nodeA), address: "203.0.113.6" }),
    "status: all but holder",
  ],
  [
    "change how often it moved",
    () => patch(agents.a, { status: { failovers: 7 } }),
    "status: all but holder",
  ],
  ["take the claim away", () => patch(agents.a, { status: { claim: null } }), "status: all but holder"],
  ["take the whole status away", () => patch(agents.b, { status: null }), "status: all but holder"],
  [
    "speak of an address that it has nothing to do with",
    () => says(agents.b, { holder: holder(nodeA), conditions: [condition("Ready", "False")] }),
    "status.conditions",
  ],
  [
    "say anew that it holds an address that is claimed for another node by now",
    async () => {
      await claim(nodeB);
      return says(agents.a, { holder: holder(nodeA, "2026-11-23T11:00:00Z") });
    },
    "status.holder",
  ],
  ["change the spec", () => patch(agents.a, { spec: { failback: "Never" } }, ""), "nothing else of it"],
  ["label it", () => patch(agents.a, { metadata: { labels: { a: "b" } } }, ""), "nothing else of it"],
  [
    "delete it",
    () => agents.a.call({ method: "DELETE", path: cluster.pathOf(floatingIps, name) }),
    "nothing else of it",
  ],
  ["write it with a token that is bound to no node", () => takes(agents.unbound, nodeA), "names no node"],
];

describe("an agent may not", () => {
  beforeEach(async () => {
    await claim(nodeA);
    await settle(takes(agents.a, nodeA));
  });

  test.each(attacks)("%s", async (_sentence, attempt, why) => {
    const { message = "taken" } = refusalOf(await attempt()) ?? {};
    expect(message).toContain("ValidatingAdmissionPolicy");
    expect(message).toContain(why);
  });

  test("renew another node's floating addresses by being called like their Lease", async () => {
    const confusing = await connectAgent(cluster, floatingLeaseName(nodeA));
    const reply = await confusing.call({
      method: "POST",
      path: `/apis/coordination.k8s.io/v1/namespaces/${SYSTEM_NAMESPACE}/leases`,
      body: {
        apiVersion: "coordination.k8s.io/v1",
        kind: "Lease",
        metadata: { name: floatingLeaseName(nodeA) },
      },
    });
    await confusing.close();
    expect(refusalOf(reply)?.message).toContain("begins with floating-");
  });
});

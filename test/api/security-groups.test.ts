import { afterAll, afterEach, beforeAll, expect, test } from "@jest/globals";

import { findCondition } from "../../src/api/condition.ts";
import { flavors } from "../../src/api/flavor.ts";
import { images } from "../../src/api/image.ts";
import { keyPairs } from "../../src/api/key-pair.ts";
import { networks } from "../../src/api/network.ts";
import { DEFAULT_GROUP, SECURITY_GROUP_FINALIZER, securityGroups } from "../../src/api/security-group.ts";
import { virtualMachines } from "../../src/api/virtual-machine.ts";
import { readAuditLog } from "../testbed/audit.ts";
import { waitFor } from "../testbed/wait.ts";
import { MERGE_PATCH } from "./support/api-client.ts";
import { create, type TestCluster } from "./support/cluster.ts";
import { type ControllerStage, messageOf, openControllerStage } from "./support/controller-stage.ts";
import { machine, manifests } from "./support/objects.ts";

/** The controller of security groups on a real API server, with agents that only say what agents say. */

/** Longer than a test: the agent is silent and not yet taken for lost. */
const PATIENT = { leaseDurationMs: 120_000 };

let stage: ControllerStage;
let cluster: TestCluster;

beforeAll(async () => {
  stage = await openControllerStage();
  ({ cluster } = stage);
  await stage.addController("controller");
  await create(cluster, flavors, manifests.flavor("small"));
  await create(cluster, images, manifests.image("tiny"));
  await create(cluster, keyPairs, manifests.keyPair("me"));
  await create(cluster, networks, manifests.network("lan", "10.1.0.0/24"));
});

afterAll(() => stage.stop());

afterEach(() => stage.clear());

const group = (name: string, spec: object = {}): object => ({
  apiVersion: "vireo.dev/v1alpha1",
  kind: "SecurityGroup",
  metadata: { name },
  spec,
});

const fromGroup = (name: string): object => ({ ingress: [{ protocol: "tcp", remote: { group: name } }] });

const patchSpec = async (
  resource: typeof securityGroups | typeof virtualMachines,
  name: string,
  spec: object,
) => {
  const path = cluster.pathOf(resource, name);
  const reply = await cluster.administrator.call({
    method: "PATCH",
    path,
    contentType: MERGE_PATCH,
    body: { spec },
  });
  expect(reply.code).toBe(200);
};

const remove = (name: string) =>
  cluster.administrator.call({ method: "DELETE", path: cluster.pathOf(securityGroups, name) });

/** Waits until the group's status is like that. */
const untilStatus = (name: string, expected: object) =>
  waitFor(`SecurityGroup ${name} as expected`, async () => {
    const found = await stage.read(securityGroups, name);
    expect(found?.status).toMatchObject(expected);
    return found;
  });

const untilGone = (name: string): Promise<boolean> =>
  waitFor(`SecurityGroup ${name} gone`, async () => {
    const found = await stage.read(securityGroups, name);
    if (found !== undefined) throw new Error(JSON.stringify(found.status));
    return true;
  });

/** Writes of the controller to a group: "patch status" or "create". */
const writesTo = async (name: string): Promise<readonly string[]> => {
  const { controlPlane, namespace } = cluster;
  const events = await readAuditLog(controlPlane.auditLogPath, {
    resource: "securitygroups",
    namespace,
    name,
  });
  return events.flatMap(({ userAgent, verb, responseStatus }) =>
    userAgent?.startsWith("vireo-controller") === true && (responseStatus?.code ?? 0) < 300 ? [verb] : [],
  );
};

test("a machine that names no group is in default, which is made for it and may be changed", async () => {
  stage.startAgent("default-1");
  await create(cluster, virtualMachines, machine("plain"));
  const made = await stage.untilCondition(securityGroups, DEFAULT_GROUP, "Ready", { status: "True" });
  expect(made.metadata.finalizers).toEqual([SECURITY_GROUP_FINALIZER]);
  expect(made.spec.ingress).toMatchObject([{ protocol: "any", remote: { group: DEFAULT_GROUP } }]);
  expect(made.spec.egress).toBeUndefined();
  await waitFor("the event", async () => (await stage.eventsOn(DEFAULT_GROUP)).includes("Created"));

  await patchSpec(securityGroups, DEFAULT_GROUP, { ingress: [] });
  await create(cluster, virtualMachines, machine("plain-too"));
  const changed = await untilStatus(DEFAULT_GROUP, {
    observedGeneration: 2,
    members: 2,
    rules: 0,
    nodes: [{ name: "default-1", generation: 2 }],
  });
  expect(changed?.spec.ingress).toEqual([]);
  expect((await writesTo(DEFAULT_GROUP)).filter((verb) => verb === "create")).toHaveLength(1);
});

test("a group is ready when the nodes of its machines have its rules", async () => {
  const agent = stage.startAgent("force-1", PATIENT);
  await create(cluster, securityGroups, group("web", { ingress: [{ protocol: "tcp", port: 80 }] }));
  await stage.untilCondition(securityGroups, "web", "Ready", { status: "True", reason: "InForce" });
  await create(cluster, virtualMachines, machine("web-0", { securityGroups: ["web"] }));
  await untilStatus("web", { members: 1, rules: 1, nodes: [{ name: "force-1", generation: 1 }] });

  await agent.stop();
  await patchSpec(securityGroups, "web", { ingress: [] });
  const programming = await stage.untilCondition(securityGroups, "web", "Reconciling", { status: "True" });
  expect(programming.status).toMatchObject({
    observedGeneration: 2,
    nodes: [{ name: "force-1", generation: 1 }],
  });
  expect(messageOf(programming, "Ready")).toBe("Being put in force on force-1.");
  agent.start();
  const done = await untilStatus("web", {
    observedGeneration: 2,
    conditions: [{ type: "Ready", status: "True", reason: "InForce" }],
    nodes: [{ name: "force-1", generation: 2 }],
  });
  expect(done?.status?.conditions).toHaveLength(1);
});

test("a node that is lost is not waited for, and is named", async () => {
  const agent = stage.startAgent("lost-1", { leaseDurationMs: 1_000 });
  await create(cluster, securityGroups, group("far"));
  await create(cluster, virtualMachines, machine("far-0", { securityGroups: ["far"] }));
  await untilStatus("far", { nodes: [{ name: "lost-1", generation: 1 }] });
  await agent.stop();
  await patchSpec(securityGroups, "far", { logRefused: true });
  const found = await waitFor("the rules to be in force where anybody answers", async () => {
    const read = await stage.untilCondition(securityGroups, "far", "Ready", { status: "True" });
    expect(read.status?.observedGeneration).toBe(2);
    return read;
  });
  expect(messageOf(found, "Ready")).toContain("No sign of life from lost-1");
});

test("a group that machines are in stays until none is, and says which", async () => {
  stage.startAgent("use-1");
  await create(cluster, securityGroups, group("used"));
  await create(cluster, securityGroups, group("other"));
  await create(cluster, virtualMachines, machine("user", { securityGroups: ["used", "other"] }));
  await untilStatus("used", { members: 1, nodes: [{ name: "use-1" }] });
  await remove("used");
  const held = await stage.untilCondition(securityGroups, "used", "InUse", { status: "True" });
  expect(held.metadata.deletionTimestamp).toBeDefined();
  expect(messageOf(held, "InUse")).toContain("1 machine is: user.");
  await waitFor("the event", async () => (await stage.eventsOn("used")).includes("InUse"));
  await patchSpec(virtualMachines, "user", { securityGroups: ["other"] });
  await untilGone("used");
});

test("a group that nobody is in goes at once, also when rules speak of it", async () => {
  await create(cluster, securityGroups, group("spoken-of"));
  await create(cluster, securityGroups, group("speaker", fromGroup("spoken-of")));
  const before = await stage.untilCondition(securityGroups, "speaker", "Ready", { status: "True" });
  expect(findCondition(before.status?.conditions, "RemoteGroupNotFound")).toBeUndefined();
  await stage.untilCondition(securityGroups, "spoken-of", "Ready", { status: "True" });
  await remove("spoken-of");
  await untilGone("spoken-of");
  const after = await stage.untilCondition(securityGroups, "speaker", "RemoteGroupNotFound", {
    status: "True",
  });
  expect(messageOf(after, "RemoteGroupNotFound")).toContain("allow nothing: spoken-of.");
  await create(cluster, securityGroups, group("spoken-of"));
  await waitFor("the rules to speak of somebody again", async () => {
    const { status } = (await stage.read(securityGroups, "speaker")) ?? {};
    return findCondition(status?.conditions, "RemoteGroupNotFound") === undefined;
  });
});

test("thirty machines that join at once cost the group a few writes", async () => {
  stage.startAgent("many-1", { cpus: 64 });
  stage.startAgent("many-2", { cpus: 64 });
  await create(cluster, securityGroups, group("crowd"));
  await stage.untilCondition(securityGroups, "crowd", "Ready", { status: "True" });
  const before = (await writesTo("crowd")).length;
  const names = Array.from({ length: 30 }, (_, index) => `crowd-${index}`);
  await Promise.all(
    names.map((name) => create(cluster, virtualMachines, machine(name, { securityGroups: ["crowd"] }))),
  );
  await untilStatus("crowd", {
    members: 30,
    nodes: [{ name: "many-1" }, { name: "many-2" }],
    conditions: [{ type: "Ready", status: "True" }],
  });
  expect((await writesTo("crowd")).length - before).toBeLessThanOrEqual(6);
});

import { join } from "node:path";

import { afterAll, beforeAll, describe, expect, test } from "@jest/globals";

import { readAuditLog } from "../../testbed/audit.ts";
import { startControlPlane, type ControlPlane } from "../../testbed/control-plane.ts";
import { applyCustomResources } from "../../testbed/manifests.ts";

let controlPlane: ControlPlane;

const apply = (object: object): Promise<string> =>
  controlPlane.kubectl(["apply", "-f", "-"], { stdin: JSON.stringify(object) });

beforeAll(async () => {
  controlPlane = await startControlPlane();
  await applyCustomResources(controlPlane);
}, 120_000);

afterAll(() => controlPlane?.stop());

const flavor = (name: string): object => ({
  apiVersion: "vireo.dev/v1alpha1",
  kind: "Flavor",
  metadata: { name },
  spec: { vcpus: 1, memory: "128Mi", disk: "1Gi" },
});

describe("the testbed's control plane", () => {
  test("knows a client by the user and groups of its certificate", async () => {
    const file = join(controlPlane.directory, "jane.kubeconfig");
    await controlPlane.kubeconfigFor({ user: "jane/doe", groups: ["a", "b+c=d"] }, file);
    const answer = await controlPlane.kubectl(["auth", "whoami", "-o", "json"], { kubeconfig: file });
    expect(JSON.parse(answer)).toMatchObject({
      status: { userInfo: { username: "jane/doe", groups: ["a", "b+c=d", "system:authenticated"] } },
    });
    await expect(controlPlane.kubectl(["get", "nodes"], { kubeconfig: file })).rejects.toThrow("forbidden");
  });

  test("issues tokens that carry the name of the node that they are bound to", async () => {
    await apply({ apiVersion: "v1", kind: "Node", metadata: { name: "node-1" } });
    await apply({ apiVersion: "v1", kind: "ServiceAccount", metadata: { name: "agent" } });
    const file = join(controlPlane.directory, "agent.kubeconfig");
    const token = await controlPlane.issueToken("agent", "default", "node-1");
    await controlPlane.kubeconfigFor({ token }, file);
    const answer = await controlPlane.kubectl(["auth", "whoami", "-o", "json"], { kubeconfig: file });
    expect(JSON.parse(answer)).toMatchObject({
      status: { userInfo: { extra: { "authentication.kubernetes.io/node-name": ["node-1"] } } },
    });
  });

  test("records writes to objects of Vireo, and only those", async () => {
    await apply(flavor("small"));
    await controlPlane.kubectl(["get", "flavors"]);
    await controlPlane.kubectl(["create", "configmap", "unrelated"]);
    await controlPlane.kubectl(["delete", "flavor", "small"]);
    const events = await readAuditLog(controlPlane.auditLogPath, { resource: "flavors" });
    expect(events.map(({ verb, objectRef }) => [verb, objectRef?.name])).toEqual([
      ["create", "small"],
      ["delete", "small"],
    ]);
    expect(await readAuditLog(controlPlane.auditLogPath, { resource: "configmaps" })).toEqual([]);
  });

  test("keeps its objects when the API server is killed and started again", async () => {
    await apply(flavor("kept"));
    await controlPlane.killApiServer("SIGKILL");
    await expect(controlPlane.kubectl(["get", "flavors"])).rejects.toThrow("refused");
    await controlPlane.startApiServer();
    expect(await controlPlane.kubectl(["get", "flavors", "-o", "name"])).toContain("flavor.vireo.dev/kept");
  }, 120_000);

  test("keeps silent while the API server is frozen", async () => {
    await controlPlane.killApiServer("SIGSTOP");
    await expect(controlPlane.kubectl(["get", "flavors"], { timeoutMs: 2_000 })).rejects.toThrow("timeout");
    await controlPlane.killApiServer("SIGCONT");
    expect(await controlPlane.kubectl(["get", "flavors", "-o", "name"])).toContain("kept");
  }, 120_000);
});

import { join } from "node:path";

import { SYSTEM_NAMESPACE } from "../../../src/api/hypervisor.ts";
import { keyPairs } from "../../../src/api/key-pair.ts";
import { type VirtualMachine, virtualMachines } from "../../../src/api/virtual-machine.ts";
import { waitFor } from "../../testbed/wait.ts";
import { type ApiClient, APPLY_PATCH, connect, type Reply } from "./api-client.ts";
import { create, ROOT, type TestCluster } from "./cluster.ts";
import { type JsonObject, validManifest, validStatus } from "./manifests.ts";

/** Field managers, as in the programs. */
export const CONTROLLER = "vireo-controller";
export const NODE_AGENT = "vireo-node-agent";

/** Installs the manifests that a cluster gets before the programs start. */
export const installSystem = async ({ controlPlane }: TestCluster): Promise<void> => {
  await controlPlane.kubectl(["apply", "--server-side", "-k", join(ROOT, "deploy/manifests")]);
};

export const connectController = async ({ controlPlane }: TestCluster): Promise<ApiClient> =>
  connect(controlPlane, await controlPlane.issueToken(CONTROLLER, SYSTEM_NAMESPACE));

/** A node agent; without a node its token is bound to none. */
export const connectAgent = async ({ controlPlane }: TestCluster, node?: string): Promise<ApiClient> =>
  connect(controlPlane, await controlPlane.issueToken(NODE_AGENT, SYSTEM_NAMESPACE, node));

/**
 * Gives a ServiceAccount of the system every right that RBAC knows, so that
 * only a policy can refuse it something.
 */
export const grantEverything = async (
  { controlPlane, namespace }: TestCluster,
  account: string,
): Promise<void> => {
  await controlPlane.kubectl([
    "create",
    "clusterrolebinding",
    `${namespace}-${account}`,
    "--clusterrole=cluster-admin",
    `--serviceaccount=${SYSTEM_NAMESPACE}:${account}`,
  ]);
};

export const revokeEverything = async (
  { controlPlane, namespace }: TestCluster,
  account: string,
): Promise<void> => {
  await controlPlane.kubectl(["delete", "clusterrolebinding", `${namespace}-${account}`]);
};

/** A policy holds some moments after it was made: waits until this request is refused by one. */
export const untilRefused = (what: string, attempt: () => Promise<Reply>): Promise<Reply> =>
  waitFor(`${what} refused by a policy`, async () => {
    const reply = await attempt();
    const text = JSON.stringify(reply.body);
    if (reply.code === 422 && text.includes("ValidatingAdmissionPolicy")) return reply;
    throw new Error(`answer ${reply.code}: ${text}`);
  });

/** Server-side apply of a machine's status, as one of its two writers. */
export const applyMachineStatus = (
  cluster: TestCluster,
  writer: { readonly client: ApiClient; readonly fieldManager: string },
  name: string,
  status: JsonObject,
): Promise<Reply> =>
  writer.client.call({
    method: "PATCH",
    path: `${cluster.pathOf(virtualMachines, name)}/status?fieldManager=${writer.fieldManager}&force=true`,
    contentType: APPLY_PATCH,
    body: { apiVersion: "vireo.dev/v1alpha1", kind: "VirtualMachine", metadata: { name }, status },
  });

/** What the controller says when it places a machine. */
export const placement = (node: string): JsonObject => {
  const { allocation = {} } = validStatus(virtualMachines);
  return {
    nodeName: node,
    allocation,
    conditions: [condition("Scheduled", "True"), condition("Ready", "False")],
  };
};

export const condition = (type: string, status: "True" | "False" | "Unknown"): JsonObject => ({
  type,
  status,
  observedGeneration: 1,
  lastTransitionTime: "2026-11-23T10:20:30Z",
  reason: "Tested",
  message: "",
});

/** Makes a machine and places it on a node. */
export const placeMachine = async (
  cluster: TestCluster,
  controller: ApiClient,
  { name, node }: { readonly name: string; readonly node: string },
): Promise<VirtualMachine> => {
  await create(cluster, virtualMachines, validManifest(virtualMachines, name));
  const writer = { client: controller, fieldManager: CONTROLLER };
  const reply = await applyMachineStatus(cluster, writer, name, placement(node));
  return virtualMachines.parse(reply.body);
};

/** The Secret that the controller makes for a KeyPair. */
export const keyPairSecret = (name: string): JsonObject => ({
  apiVersion: "v1",
  kind: "Secret",
  metadata: {
    name,
    ownerReferences: [
      {
        apiVersion: "vireo.dev/v1alpha1",
        kind: keyPairs.kind,
        name: "me",
        uid: "145484f2-8d1a-4016-aef2-d8fe7e21ccff",
      },
    ],
  },
  type: "kubernetes.io/ssh-auth",
  stringData: { "ssh-privatekey": "private", "ssh-publickey": "public" },
});

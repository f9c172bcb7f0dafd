import { randomBytes } from "node:crypto";
import { join } from "node:path";

import { kinds } from "../../../src/api/index.ts";
import { GROUP, VERSION } from "../../../src/api/kind.ts";
import type { KubernetesObject } from "../../../src/api/meta.ts";
import { apiVersionOf, type Resource } from "../../../src/api/resource.ts";
import { type ControlPlane, startControlPlane } from "../../testbed/control-plane.ts";
import { waitFor } from "../../testbed/wait.ts";
import { type ApiClient, connect } from "./api-client.ts";

export const ROOT = join(import.meta.dirname, "../../..");

/** A control plane with the kinds of Vireo, and a namespace of this test's own. */
export interface TestCluster {
  readonly controlPlane: ControlPlane;
  readonly namespace: string;
  readonly administrator: ApiClient;
  /** Path of a kind's objects in the test's namespace or in the cluster. */
  pathOf(resource: Resource, name?: string): string;
  stop(): Promise<void>;
}

const TESTER = "tester";

/** A ServiceAccount that may do everything: its token works on any cluster. */
const makeAdministrator = async (controlPlane: ControlPlane, namespace: string): Promise<string> => {
  await controlPlane.kubectl(["create", "serviceaccount", TESTER, `--namespace=${namespace}`]);
  await controlPlane.kubectl([
    "create",
    "clusterrolebinding",
    `${namespace}-${TESTER}`,
    "--clusterrole=cluster-admin",
    `--serviceaccount=${namespace}:${TESTER}`,
  ]);
  return controlPlane.issueToken(TESTER, namespace);
};

/** The server establishes a CRD some moments before it serves it. */
const untilServed = async (client: ApiClient, resource: Resource): Promise<void> => {
  const path = `/apis/${apiVersionOf(resource)}/${resource.plural}`;
  await waitFor(`${path} served`, async () => {
    const { code } = await client.call({ method: "GET", path });
    if (code !== 200) throw new Error(`it answers ${code}`);
    return true;
  });
};

/** kubectl explain and apply read the OpenAPI document, which follows a CRD after some moments. */
const untilDocumented = async (client: ApiClient): Promise<void> => {
  const path = `/openapi/v3/apis/${GROUP}/${VERSION}`;
  await waitFor(`${path} complete`, async () => {
    const { body } = await client.call({ method: "GET", path });
    const missing = kinds.filter(({ plural }) => !JSON.stringify(body).includes(`/${plural}"`));
    if (missing.length > 0) throw new Error(`without ${missing.map(({ kind }) => kind).join(", ")}`);
    return true;
  });
};

export const startTestCluster = async (): Promise<TestCluster> => {
  const controlPlane = await startControlPlane();
  const namespace = `vireo-test-${randomBytes(4).toString("hex")}`;
  await controlPlane.kubectl(["create", "namespace", namespace]);
  const administrator = await connect(controlPlane, await makeAdministrator(controlPlane, namespace));
  await controlPlane.kubectl(["apply", "--server-side", "-k", join(ROOT, "crds")]);
  for (const kind of kinds) await untilServed(administrator, kind);
  await untilDocumented(administrator);
  return {
    controlPlane,
    namespace,
    administrator,
    pathOf: (resource, name) => {
      const scope = resource.namespaced ? `/namespaces/${namespace}` : "";
      const collection = `/apis/${apiVersionOf(resource)}${scope}/${resource.plural}`;
      return name === undefined ? collection : `${collection}/${name}`;
    },
    stop: async () => {
      await administrator.close();
      await controlPlane.kubectl(["delete", "clusterrolebinding", `${namespace}-${TESTER}`]);
      await controlPlane.kubectl(["delete", "namespace", namespace, "--wait=false"]);
      await controlPlane.stop();
    },
  };
};

/** Makes an object and resolves with it as the server stored it. */
export const create = async <T extends KubernetesObject>(
  cluster: TestCluster,
  resource: Resource<T>,
  object: object,
): Promise<T> => {
  const reply = await cluster.administrator.call({
    method: "POST",
    path: `${cluster.pathOf(resource)}?fieldValidation=Strict`,
    body: object,
  });
  if (reply.code !== 201) throw new Error(`not created: ${JSON.stringify(reply.body)}`);
  return resource.parse(reply.body);
};

import { mkdir, rm, writeFile } from "node:fs/promises";
import { join } from "node:path";

import { parse } from "yaml";
import { z } from "zod";

import { writeKubeconfig } from "./kubeconfig.ts";
import { kubectlRunner, requestToken } from "./kubectl.ts";
import { makeTemporaryDirectory } from "./temporary-directory.ts";
import type { ControlPlane, ControlPlaneOptions, Identity } from "./types.ts";

/** What is read of the user's kubeconfig after `kubectl config view --minify --raw --flatten`. */
const kubeconfigSchema = z.object({
  clusters: z.tuple([
    z.object({
      name: z.string(),
      cluster: z.object({ server: z.string(), "certificate-authority-data": z.string().optional() }).loose(),
    }),
  ]),
  users: z.tuple([z.object({ name: z.string(), user: z.record(z.string(), z.unknown()) })]),
});

type Kubeconfig = z.infer<typeof kubeconfigSchema>;

const notOurs = (what: string): Promise<never> =>
  Promise.reject(
    new Error(
      `cannot ${what} of the cluster that VIREO_TEST_KUBECONFIG names: ` +
        "it is not the testbed's own; unset the variable to run this test",
    ),
  );

/** The administrator's kubeconfig, changed so that it acts as somebody else. */
const actingAs = (admin: Kubeconfig, identity: Identity): object => {
  const [cluster] = admin.clusters;
  const [{ user }] = admin.users;
  // We cannot sign certificates for a cluster that is not ours, but its administrator may impersonate.
  const acting =
    "token" in identity
      ? { token: identity.token }
      : { ...user, as: identity.user, "as-groups": identity.groups };
  return {
    apiVersion: "v1",
    kind: "Config",
    clusters: [cluster],
    users: [{ name: "vireo", user: acting }],
    contexts: [{ name: "vireo", context: { cluster: cluster.name, user: "vireo" } }],
    "current-context": "vireo",
  };
};

/** Uses a cluster that exists: the same door, except that nothing of it can be killed. */
export const connectExternalCluster = async (
  kubeconfig: string,
  options: ControlPlaneOptions,
): Promise<ControlPlane> => {
  const directory = options.directory ?? (await makeTemporaryDirectory("external-cluster"));
  await mkdir(directory, { recursive: true, mode: 0o700 });
  const kubectl = kubectlRunner({
    file: "kubectl",
    kubeconfig,
    cacheDirectory: join(directory, "kubectl-cache"),
    signal: options.signal,
  });
  const admin = kubeconfigSchema.parse(
    parse(await kubectl(["config", "view", "--minify", "--raw", "--flatten"])),
  );
  const [{ cluster }] = admin.clusters;
  const caFile = join(directory, "ca.crt");
  await writeFile(caFile, Buffer.from(cluster["certificate-authority-data"] ?? "", "base64"));
  return {
    directory,
    kubeconfig,
    url: cluster.server,
    caFile,
    auditLogPath: join(directory, "audit.log"),
    kubectlPath: "kubectl",
    kubectl,
    killApiServer: () => notOurs("kill the API server"),
    startApiServer: () => notOurs("start the API server"),
    restartApiServer: () => notOurs("restart the API server"),
    kubeconfigFor: (identity, file) => writeKubeconfig(file, actingAs(admin, identity)),
    issueToken: (serviceAccount, namespace, node) => requestToken(kubectl, serviceAccount, namespace, node),
    stop: async () => {
      if (options.directory === undefined) await rm(directory, { recursive: true, force: true });
    },
  };
};

import { connectExternalCluster } from "./external-cluster.ts";
import { startLocalCluster } from "./local-cluster.ts";
import type { ControlPlane, ControlPlaneOptions } from "./types.ts";

export type { ControlPlane, ControlPlaneOptions, Identity, KubectlOptions } from "./types.ts";

/**
 * Starts a control plane and resolves when it is ready, in about four seconds.
 * Where VIREO_TEST_KUBECONFIG names the kubeconfig of a cluster, that one is used instead.
 */
export const startControlPlane = async (options: ControlPlaneOptions = {}): Promise<ControlPlane> => {
  const external = process.env["VIREO_TEST_KUBECONFIG"];
  return external === undefined || external === ""
    ? startLocalCluster(options)
    : connectExternalCluster(external, options);
};

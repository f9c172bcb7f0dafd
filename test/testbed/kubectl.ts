import { z } from "zod";

import { run } from "./programs.ts";
import type { ControlPlane } from "./types.ts";

type Kubectl = ControlPlane["kubectl"];

const TOKEN_SECONDS = 365 * 24 * 3600;

const tokenRequestSchema = z.object({ status: z.object({ token: z.string() }) });

/** kubectl for one cluster, as its administrator unless a call says otherwise. */
export const kubectlRunner =
  (settings: {
    readonly file: string;
    readonly kubeconfig: string;
    readonly cacheDirectory: string;
    readonly signal: AbortSignal | undefined;
  }): Kubectl =>
  (args, options = {}) =>
    run(
      settings.file,
      [
        `--kubeconfig=${options.kubeconfig ?? settings.kubeconfig}`,
        // Not the user's cache: it may hold what another cluster answered on the same port.
        `--cache-dir=${settings.cacheDirectory}`,
        ...args,
      ],
      {
        ...(options.stdin === undefined ? {} : { stdin: options.stdin }),
        ...(options.timeoutMs === undefined ? {} : { timeoutMs: options.timeoutMs }),
        ...(settings.signal === undefined ? {} : { signal: settings.signal }),
      },
    );

/** Asks the API server for a token of a ServiceAccount, bound to a Node object when one is named. */
export const requestToken = async (
  kubectl: Kubectl,
  serviceAccount: string,
  namespace: string,
  node: string | undefined,
): Promise<string> => {
  const bound = node === undefined ? {} : { boundObjectRef: { apiVersion: "v1", kind: "Node", name: node } };
  const request = {
    apiVersion: "authentication.k8s.io/v1",
    kind: "TokenRequest",
    spec: { expirationSeconds: TOKEN_SECONDS, ...bound },
  };
  const path = `/api/v1/namespaces/${namespace}/serviceaccounts/${serviceAccount}/token`;
  const answer = await kubectl(["create", "--raw", path, "-f", "-"], { stdin: JSON.stringify(request) });
  return tokenRequestSchema.parse(JSON.parse(answer)).status.token;
};

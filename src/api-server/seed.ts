import { isUtf8 } from "node:buffer";
import { SUBRESOURCE_GROUP, SUBRESOURCE_VERSION } from "../api/subresources.ts";
import type { VirtualMachine } from "../api/virtual-machine.ts";
import { ApiError, type KubeClient, secrets } from "../kube/index.ts";
import { NODE_NAME_CLAIM, userNameOf } from "../pki/index.ts";
import type { User } from "./front-proxy.ts";
import { subjectOf } from "./machines.ts";
import { ApiProblem } from "./problem.ts";

/**
 * Whether this user is the agent of a node that the machine is on. RBAC says
 * "an agent"; the token's claim says which one. Throws ApiProblem when not.
 */
export const checkSeedReader = ({ metadata, status }: VirtualMachine, user: User): void => {
  const [claim, ...others] = user.extra[NODE_NAME_CLAIM] ?? [];
  const isAgent = user.name === userNameOf("node-agent") && claim !== undefined && others.length === 0;
  if (isAgent && claim === status?.nodeName) return;
  const who = isAgent ? `the agent of node "${claim}"` : `"${user.name}"`;
  throw new ApiProblem(
    "Forbidden",
    `virtualmachines.vireo.dev "${metadata.name}" is forbidden: ${who} may not read its seed; ` +
      "only the agent of its own node may",
    subjectOf(metadata.name),
  );
};

/** The seed of a machine, with Secrets of its own namespace resolved. */
export const resolveSeed = async (
  client: KubeClient,
  machine: VirtualMachine,
  signal: AbortSignal,
): Promise<object> => {
  const { cloudInit } = machine.spec;
  const userData =
    cloudInit?.userDataSecretRef === undefined
      ? cloudInit?.userData
      : await readSecret(client, machine, cloudInit.userDataSecretRef, signal);
  const networkData =
    cloudInit?.networkDataSecretRef === undefined
      ? undefined
      : await readSecret(client, machine, cloudInit.networkDataSecretRef, signal);
  const { name, namespace, uid, resourceVersion, creationTimestamp } = machine.metadata;
  return {
    apiVersion: `${SUBRESOURCE_GROUP}/${SUBRESOURCE_VERSION}`,
    kind: "Seed",
    metadata: { name, namespace, uid, resourceVersion, creationTimestamp },
    ...(userData !== undefined && { userData }),
    ...(networkData !== undefined && { networkData }),
  };
};

const readSecret = async (
  client: KubeClient,
  { metadata: { namespace, name: machine } }: VirtualMachine,
  { name, key }: { readonly name: string; readonly key: string },
  signal: AbortSignal,
): Promise<string> => {
  const where = `Secret "${namespace}/${name}", which virtual machine "${machine}" takes data from,`;
  const subject = { kind: "secrets", name };
  const secret = await client.get(secrets, { namespace, name }, { signal }).catch((error: unknown) => {
    if (error instanceof ApiError && error.status === 403)
      throw new ApiProblem(
        "Conflict",
        `${where} may not be read by the api-server: see role vireo-api-server-seeds`,
        subject,
      );
    throw error;
  });
  if (secret === undefined) throw new ApiProblem("Conflict", `${where} does not exist`, subject);
  const value = secret.data[key];
  if (value === undefined) throw new ApiProblem("Conflict", `${where} has no key "${key}"`, subject);
  const bytes = Buffer.from(value, "base64");
  if (!isUtf8(bytes)) throw new ApiProblem("Conflict", `${where} has no text under key "${key}"`, subject);
  return bytes.toString("utf8");
};

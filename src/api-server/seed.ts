import { isUtf8 } from "node:buffer";
import { SUBRESOURCE_GROUP, SUBRESOURCE_VERSION } from "../api/subresources.ts";
import type { VirtualMachine } from "../api/virtual-machine.ts";
import { ApiError, type KubeClient, secrets } from "../kube/index.ts";
import { NODE_NAME_CLAIM, userNameOf } from "../pki/index.ts";
import type { User } from "./front-proxy.ts";
import { type Machines, subjectOf } from "./machines.ts";
import { ApiProblem } from "./problem.ts";

/** The node whose agent this is, as the claim in its token says; undefined when it is no agent of a node. */
export const nodeOfAgent = ({ name, extra }: User): string | undefined => {
  const [claim, ...others] = extra[NODE_NAME_CLAIM] ?? [];
  return name === userNameOf("node-agent") && others.length === 0 ? claim : undefined;
};

/**
 * Throws ApiProblem unless this user is the agent of a node that the machine
 * belongs to. RBAC says "an agent"; the claim says which one.
 */
export const checkSeedReader = async (
  machines: Pick<Machines, "belongsTo">,
  machine: VirtualMachine,
  user: User,
  signal: AbortSignal,
): Promise<void> => {
  const node = nodeOfAgent(user);
  if (node !== undefined && (await machines.belongsTo(machine, node, signal))) return;
  const who = node === undefined ? `"${user.name}"` : `the agent of node "${node}"`;
  const { name } = machine.metadata;
  throw new ApiProblem(
    "Forbidden",
    `virtualmachines.vireo.dev "${name}" is forbidden: ${who} may not read its seed; ` +
      "only the agent of its own node may",
    subjectOf(name),
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

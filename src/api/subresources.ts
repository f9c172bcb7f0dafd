import { z } from "zod";
import { type KubernetesObject, objectMeta } from "./meta.ts";
import type { Resource } from "./resource.ts";

/**
 * What the api-server adds to VirtualMachines, in a group of its own:
 * /apis/subresources.vireo.dev/v1alpha1/namespaces/NAMESPACE/virtualmachines/NAME/SUBRESOURCE
 */
export const SUBRESOURCE_GROUP = "subresources.vireo.dev";
export const SUBRESOURCE_VERSION = "v1alpha1";

/**
 * - stream: GET as WebSocket, binary frames both ways; RBAC verb get
 * - document: GET; verb get
 * - action: POST without a body; verb create
 */
export const subresources = {
  console: "stream",
  vnc: "stream",
  spice: "stream",
  /** With ?port=22: a TCP port of the machine. */
  portforward: "stream",
  /** Text. */
  log: "document",
  /** PNG. */
  screenshot: "document",
  /** A Seed; for the node that the machine is on. */
  seed: "document",
  restart: "action",
  pause: "action",
  unpause: "action",
} as const;

export type Subresource = keyof typeof subresources;

/** The path of a machine's subresource, for any HTTP client. */
export const subresourcePath = (
  { namespace, name }: { readonly namespace: string; readonly name: string },
  subresource: Subresource,
): string =>
  `/apis/${SUBRESOURCE_GROUP}/${SUBRESOURCE_VERSION}/namespaces/${encodeURIComponent(namespace)}` +
  `/virtualmachines/${encodeURIComponent(name)}/${subresource}`;

const seed = z.object({
  apiVersion: z.string(),
  kind: z.literal("Seed"),
  /** The machine's: name, namespace, uid and resourceVersion. */
  metadata: objectMeta,
  userData: z.string().optional(),
  networkData: z.string().optional(),
});

/** What a machine is seeded with, Secrets resolved. Absent is what its owner did not give. */
export type Seed = KubernetesObject & Readonly<z.infer<typeof seed>>;

/** For `client.get(seeds, key, { subresource: "seed", signal })`. */
export const seeds: Resource<Seed> = {
  group: SUBRESOURCE_GROUP,
  version: SUBRESOURCE_VERSION,
  kind: "Seed",
  plural: "virtualmachines",
  namespaced: true,
  parse: (raw) => seed.parse(raw),
};

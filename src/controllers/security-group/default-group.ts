import { DEFAULT_GROUP, SECURITY_GROUP_FINALIZER } from "../../api/security-group.ts";
import type { WritableObject } from "../../kube/index.ts";

/**
 * The group of machines that name none: they reach each other and everything
 * outside, and nobody else reaches them. Whoever changes it keeps the change:
 * it is made when it is missing, and never written again.
 */
export const defaultGroup = (namespace: string): WritableObject => ({
  metadata: { name: DEFAULT_GROUP, namespace, finalizers: [SECURITY_GROUP_FINALIZER] },
  spec: {
    description: "Machines that name no group. Made by Vireo; you may change it.",
    ingress: [{ description: "Machines of this group reach each other.", remote: { group: DEFAULT_GROUP } }],
  },
});

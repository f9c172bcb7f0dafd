import { SUBRESOURCE_GROUP, SUBRESOURCE_VERSION, subresources } from "../api/subresources.ts";

const groupVersion = {
  groupVersion: `${SUBRESOURCE_GROUP}/${SUBRESOURCE_VERSION}`,
  version: SUBRESOURCE_VERSION,
};

const group = { name: SUBRESOURCE_GROUP, versions: [groupVersion], preferredVersion: groupVersion };

const verbs = { stream: ["get"], document: ["get"], action: ["create"] } as const;

const resources = Object.entries(subresources).map(([name, kind]) => ({
  name: `virtualmachines/${name}`,
  singularName: "",
  namespaced: true,
  kind: name === "seed" ? "Seed" : "VirtualMachine",
  verbs: verbs[kind],
}));

/**
 * What is here, for kubectl and the aggregator, by path. In the form that every
 * version of Kubernetes reads; who asks for the newer one gets a 406 and asks again.
 * https://kubernetes.io/docs/concepts/overview/kubernetes-api/#unaggregated-discovery
 */
export const discovery: Readonly<Record<string, object>> = {
  "/apis": { apiVersion: "v1", kind: "APIGroupList", groups: [group] },
  [`/apis/${SUBRESOURCE_GROUP}`]: { apiVersion: "v1", kind: "APIGroup", ...group },
  [`/apis/${groupVersion.groupVersion}`]: {
    apiVersion: "v1",
    kind: "APIResourceList",
    groupVersion: groupVersion.groupVersion,
    resources,
  },
};

/** Whether only the newer form would do (application/json;as=APIGroupDiscoveryList). */
export const wantsOtherForm = (accept: string | undefined): boolean => {
  const forms = (accept ?? "").split(",").filter((form) => form.trim() !== "");
  return forms.length > 0 && forms.every((form) => form.includes("as=APIGroupDiscoveryList"));
};

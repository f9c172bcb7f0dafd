import { z } from "zod";
import { objectMeta, type KubernetesObject } from "../api/meta.ts";
import type { Resource } from "../api/resource.ts";

/** Kubernetes' own kinds, cut down to what Vireo reads. */

const object = { apiVersion: z.string(), kind: z.string(), metadata: objectMeta };

const lease = z.object({
  ...object,
  spec: z
    .object({
      holderIdentity: z.string().optional(),
      leaseDurationSeconds: z.number().optional(),
      acquireTime: z.string().optional(),
      renewTime: z.string().optional(),
      leaseTransitions: z.number().optional(),
    })
    .default({}),
});

/** https://kubernetes.io/docs/reference/kubernetes-api/cluster-resources/lease-v1/ */
export type Lease = KubernetesObject & Readonly<z.infer<typeof lease>>;

export const leases: Resource<Lease> = {
  group: "coordination.k8s.io",
  version: "v1",
  kind: "Lease",
  plural: "leases",
  namespaced: true,
  parse: (raw) => lease.parse(raw),
};

const event = z.object({
  ...object,
  reason: z.string().optional(),
  type: z.string().optional(),
  note: z.string().optional(),
  series: z.object({ count: z.number(), lastObservedTime: z.string() }).optional(),
});

/** https://kubernetes.io/docs/reference/kubernetes-api/cluster-resources/event-v1/ */
export type Event = KubernetesObject & Readonly<z.infer<typeof event>>;

export const events: Resource<Event> = {
  group: "events.k8s.io",
  version: "v1",
  kind: "Event",
  plural: "events",
  namespaced: true,
  parse: (raw) => event.parse(raw),
};

const secret = z.object({
  ...object,
  type: z.string().optional(),
  immutable: z.boolean().optional(),
  /** Values in base64. */
  data: z.record(z.string(), z.string()).default({}),
});

/** https://kubernetes.io/docs/reference/kubernetes-api/config-and-storage-resources/secret-v1/ */
export type Secret = KubernetesObject & Readonly<z.infer<typeof secret>>;

export const secrets: Resource<Secret> = {
  group: "",
  version: "v1",
  kind: "Secret",
  plural: "secrets",
  namespaced: true,
  parse: (raw) => secret.parse(raw),
};

const namespace = z.object(object);

/** https://kubernetes.io/docs/reference/kubernetes-api/cluster-resources/namespace-v1/ */
export type Namespace = KubernetesObject & Readonly<z.infer<typeof namespace>>;

export const namespaces: Resource<Namespace> = {
  group: "",
  version: "v1",
  kind: "Namespace",
  plural: "namespaces",
  namespaced: false,
  parse: (raw) => namespace.parse(raw),
};

const configMap = z.object({
  ...object,
  data: z.record(z.string(), z.string()).default({}),
});

/** https://kubernetes.io/docs/reference/kubernetes-api/config-and-storage-resources/config-map-v1/ */
export type ConfigMap = KubernetesObject & Readonly<z.infer<typeof configMap>>;

export const configMaps: Resource<ConfigMap> = {
  group: "",
  version: "v1",
  kind: "ConfigMap",
  plural: "configmaps",
  namespaced: true,
  parse: (raw) => configMap.parse(raw),
};

const certificateSigningRequest = z.object({
  ...object,
  spec: z.object({
    /** PEM in base64. */
    request: z.string(),
    signerName: z.string(),
    expirationSeconds: z.int().optional(),
    usages: z.array(z.string()).default([]),
    /** Who asks. The API server fills it in, like extra. */
    username: z.string().default(""),
    extra: z.record(z.string(), z.array(z.string())).default({}),
  }),
  status: z
    .object({
      conditions: z
        .array(
          z.looseObject({
            type: z.string(),
            status: z.string(),
            reason: z.string().optional(),
            message: z.string().optional(),
          }),
        )
        .default([]),
      /** PEM in base64. */
      certificate: z.string().optional(),
    })
    .default({ conditions: [] }),
});

/** https://kubernetes.io/docs/reference/kubernetes-api/authentication-resources/certificate-signing-request-v1/ */
export type CertificateSigningRequest = KubernetesObject &
  Readonly<z.infer<typeof certificateSigningRequest>>;

export const certificateSigningRequests: Resource<CertificateSigningRequest> = {
  group: "certificates.k8s.io",
  version: "v1",
  kind: "CertificateSigningRequest",
  plural: "certificatesigningrequests",
  namespaced: false,
  parse: (raw) => certificateSigningRequest.parse(raw),
};

const apiService = z.object({
  ...object,
  spec: z.object({
    /** PEM in base64. */
    caBundle: z.string().optional(),
  }),
});

/** https://kubernetes.io/docs/reference/kubernetes-api/cluster-resources/api-service-v1/ */
export type ApiService = KubernetesObject & Readonly<z.infer<typeof apiService>>;

export const apiServices: Resource<ApiService> = {
  group: "apiregistration.k8s.io",
  version: "v1",
  kind: "APIService",
  plural: "apiservices",
  namespaced: false,
  parse: (raw) => apiService.parse(raw),
};

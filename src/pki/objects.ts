import { SYSTEM_NAMESPACE } from "../api/hypervisor.ts";

/** Where the authority's certificate and private key are: a Secret of type kubernetes.io/tls, the controller's alone. */
export const AUTHORITY_SECRET = { namespace: SYSTEM_NAMESPACE, name: "vireo-ca" } as const;

/** Where everybody finds the authorities to trust: a ConfigMap. */
export const TRUST_CONFIG_MAP = { namespace: SYSTEM_NAMESPACE, name: "vireo-ca" } as const;
/** Its one key. */
export const TRUST_KEY = "ca.crt";

/** What certificates are asked for, in Kubernetes' words: both ends of TLS. No other set of usages is signed. */
export const CERTIFICATE_USAGES = ["digital signature", "client auth", "server auth"] as const;

export const encodeBase64 = (text: string): string => Buffer.from(text, "utf8").toString("base64");
export const decodeBase64 = (text: string): string => Buffer.from(text, "base64").toString("utf8");

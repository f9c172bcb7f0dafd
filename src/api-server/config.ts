/** What the administrator tells an api-server. Flags of `vireo api-server` carry the same names. */
export interface ApiServerConfig {
  /** Path of a kubeconfig. Default: KUBECONFIG, ~/.kube/config, or the pod's service account. */
  readonly kubeconfig: string | undefined;
  /** Where kube-apiserver reaches it: host and port. */
  readonly address: { readonly host: string; readonly port: number };
  /** Where /metrics, /healthz and /readyz are served: host and port; port 0 takes any free one. */
  readonly metrics: { readonly host: string; readonly port: number };
}

export const DEFAULT_SERVING_PORT = 9443;

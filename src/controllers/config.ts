/** What the administrator tells a controller. Flags of `vireo controller` carry the same names. */
export interface ControllerConfig {
  /** Path of a kubeconfig. Default: KUBECONFIG, ~/.kube/config, or the pod's service account. */
  readonly kubeconfig: string | undefined;
  /** Wait for the Lease vireo-system/vireo-controller before doing anything. Off only where one process can exist. */
  readonly leaderElect: boolean;
  /** How many machines may be on their way to another node at a time, in the whole cluster. */
  readonly maxParallelMigrations: number;
  /** Where /metrics, /healthz and /readyz are served: host and port; port 0 takes any free one. */
  readonly metrics: { readonly host: string; readonly port: number };
}

export const DEFAULT_MAX_PARALLEL_MIGRATIONS = 5;

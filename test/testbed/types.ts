import type { Lifetime } from "./daemon.ts";

export interface ControlPlaneOptions {
  /**
   * Where the cluster's state, keys and logs live. A later start over the same
   * directory continues the same cluster, also after a reboot. Default: a
   * temporary directory that stop() removes.
   */
  readonly directory?: string;
  /** Whether the state survives a power cut, at the cost of slower writes. Default: when `directory` is given. */
  readonly durable?: boolean;
  /** Address that the API server listens on. Default 127.0.0.1. */
  readonly bindAddress?: string;
  /** Records writes to objects of Vireo, see audit.ts. Default true. */
  readonly auditLog?: boolean;
  /** "owner" (default): ends with this process. "detached": runs until stopped. */
  readonly lifetime?: Lifetime;
  readonly signal?: AbortSignal;
}

/** Who a kubeconfig is for. */
export type Identity =
  | { readonly user: string; readonly groups: readonly string[] }
  | { readonly token: string };

export interface KubectlOptions {
  /** Text for `-f -`. */
  readonly stdin?: string;
  /** Default 60,000. */
  readonly timeoutMs?: number;
  /** Who asks. Default: the administrator's kubeconfig. */
  readonly kubeconfig?: string;
}

/**
 * A Kubernetes API with etcd, RBAC and admission policies, and no controllers
 * of Kubernetes: nothing collects garbage, finishes a namespace's deletion or
 * schedules pods.
 */
export interface ControlPlane {
  readonly directory: string;
  /** Path of the administrator's kubeconfig (group system:masters). */
  readonly kubeconfig: string;
  readonly url: string;
  readonly caFile: string;
  /** Read it with readAuditLog of audit.ts. */
  readonly auditLogPath: string;
  /** Path of a kubectl of the server's version. */
  readonly kubectlPath: string;
  /** Runs kubectl as the administrator and resolves with its standard output. */
  readonly kubectl: (args: readonly string[], options?: KubectlOptions) => Promise<string>;
  /** SIGKILL and SIGTERM resolve when the server has ended; SIGSTOP and SIGCONT freeze and thaw it. */
  killApiServer(signal: NodeJS.Signals): Promise<void>;
  /** Resolves when the server is ready to serve. */
  startApiServer(): Promise<void>;
  /** SIGKILL, then a start. */
  restartApiServer(): Promise<void>;
  /** Writes a kubeconfig for somebody to `file`. */
  kubeconfigFor(identity: Identity, file: string): Promise<void>;
  /**
   * A token of a ServiceAccount that exists, good for a year. With `node`, the
   * name of a Node object that exists, the token is bound to it and carries the
   * claim authentication.kubernetes.io/node-name.
   */
  issueToken(serviceAccount: string, namespace: string, node?: string): Promise<string>;
  /** Ends etcd and the API server; removes the directory if it was temporary. */
  stop(): Promise<void>;
}

import { LOCAL_POOL, type WipePolicy } from "../api/storage-pool.ts";

/** A storage pool as the administrator names it: NAME=PATH[,shared][,wipe=none|zero|discard]. */
export interface StoragePoolConfig {
  readonly name: string;
  /** Absolute path of a directory of the node. */
  readonly path: string;
  /** Whether other nodes have the same files in their pool of this name. */
  readonly shared: boolean;
  /** What is done to the content of a deleted disk. */
  readonly wipe: WipePolicy;
}

/** What the administrator tells a node agent. Flags of `vireo node-agent` carry the same names. */
export interface NodeAgentConfig {
  /** Path of a kubeconfig. Default: KUBECONFIG, ~/.kube/config, or the pod's service account. */
  readonly kubeconfig: string | undefined;
  /** Name of this node: of its Hypervisor, its Lease, and in status.nodeName of its machines. */
  readonly nodeName: string;
  /** Where images, disks, seeds and console logs are kept. Absolute; a path of the node, not of a container. */
  readonly stateDirectory: string;
  /** The one directory that images with a `file` source are taken from. Without it they are refused. */
  readonly importDirectory: string | undefined;
  /** Pools beside "local", which is the state directory; or "local" itself with another wipe policy. */
  readonly storagePools: readonly StoragePoolConfig[];
  /** libvirtd's socket. */
  readonly libvirtSocket: string;
  /** Availability zone; a Kubernetes label value. */
  readonly zone: string | undefined;
  /** Labels of the Hypervisor, which a machine's nodeSelector is compared with. */
  readonly nodeLabels: Readonly<Record<string, string>>;
  /** Networks (CIDR) that images may be downloaded from although they are loopback, link-local or a node's own. */
  readonly allowedDownloadNetworks: readonly string[];
  /** Addresses of this and other nodes that guests must not reach, beside those found on this node's interfaces. */
  readonly nodeAddresses: readonly string[];
  /** Address that other nodes send guests' packets to. Default: that of the interface with the default route. */
  readonly tunnelAddress: string | undefined;
  /** UDP port of that; the same on all nodes. */
  readonly vxlanPort: number;
  /** Address that the api-server and other nodes reach this agent at. Default: the tunnel address. */
  readonly serverAddress: string | undefined;
  /** TCP port of that. */
  readonly serverPort: number;
  /** Interface that answers for floating addresses. Default: the one whose network they belong to, or with the default route. */
  readonly floatingInterface: string | undefined;
  /** Watchdog timer that resets this node when it loses the API server, or its agent dies. Default: none does. */
  readonly watchdogDevice: string | undefined;
  /** Seconds without an acknowledged heartbeat after which that timer is no longer kept alive. */
  readonly watchdogGraceSeconds: number;
  /** Memory in MiB that is kept for the node itself. */
  readonly reservedMemoryMiB: number;
  /** Largest part of the disk that unused images may keep, in bytes. */
  readonly imageCacheBytes: number | undefined;
  /** Where /metrics, /healthz and /readyz are served: host and port; port 0 takes any free one. */
  readonly metrics: { readonly host: string; readonly port: number };
}

export const DEFAULT_STATE_DIRECTORY = "/var/lib/vireo";
export const DEFAULT_LIBVIRT_SOCKET = "/run/libvirt/libvirt-sock";
export const DEFAULT_SERVER_PORT = 9403;
/** As long as others believe that a node is alive. */
export const DEFAULT_WATCHDOG_GRACE_SECONDS = 40;
export const DEFAULT_RESERVED_MEMORY_MIB = 512;

/** All pools of a node: those that were named, and "local". */
export const storagePoolsOf = ({
  stateDirectory,
  storagePools,
}: Pick<NodeAgentConfig, "stateDirectory" | "storagePools">): readonly StoragePoolConfig[] =>
  storagePools.some(({ name }) => name === LOCAL_POOL)
    ? storagePools
    : [{ name: LOCAL_POOL, path: stateDirectory, shared: false, wipe: "None" }, ...storagePools];

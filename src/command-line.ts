import { parseArgs, type ParseArgsConfig } from "node:util";
import { isIPv4 } from "node:net";
import { ipv4Cidr, objectName } from "./api/fields.ts";
import { DEFAULT_VXLAN_PORT } from "./api/network-identity.ts";
import { parseQuantity } from "./api/quantity.ts";
import { LOCAL_POOL, storagePoolName, type WipePolicy } from "./api/storage-pool.ts";
import { type ApiServerConfig, DEFAULT_SERVING_PORT } from "./api-server/config.ts";
import { type ControllerConfig, DEFAULT_MAX_PARALLEL_MIGRATIONS } from "./controllers/config.ts";
import { logLevels, type LogLevel } from "./kube/index.ts";
import {
  DEFAULT_LIBVIRT_SOCKET,
  DEFAULT_RESERVED_MEMORY_MIB,
  DEFAULT_SERVER_PORT,
  DEFAULT_STATE_DIRECTORY,
  DEFAULT_WATCHDOG_GRACE_SECONDS,
  type NodeAgentConfig,
  type StoragePoolConfig,
} from "./node-agent/config.ts";

/** What the command line asks for. */
export type Command =
  | { readonly kind: "help" }
  | { readonly kind: "controller"; readonly logLevel: LogLevel; readonly config: ControllerConfig }
  | { readonly kind: "node-agent"; readonly logLevel: LogLevel; readonly config: NodeAgentConfig }
  | { readonly kind: "api-server"; readonly logLevel: LogLevel; readonly config: ApiServerConfig };

/** The command line cannot be followed; the message says which flag and why. */
export class UsageError extends Error {
  override readonly name = "UsageError";
}

export const usage = `Usage:
  vireo controller [flags]    decides: placement, addresses, failover
  vireo node-agent [flags]    runs the machines of one node
  vireo api-server [flags]    consoles and other subresources of machines, for kube-apiserver

Flags of all:
  --kubeconfig FILE           default: KUBECONFIG, ~/.kube/config, or the pod's service account
  --metrics-address HOST:PORT serves /metrics, /healthz and /readyz; default 127.0.0.1:0 (any free port)
  --log-level LEVEL           ${logLevels.join(", ")}; default info

Flags of controller:
  --leader-elect=false        do not wait for the Lease vireo-system/vireo-controller
  --max-parallel-migrations N how many machines move to other nodes at a time; default ${DEFAULT_MAX_PARALLEL_MIGRATIONS}

Flags of node-agent:
  --node-name NAME            name of this node (required)
  --state-directory DIR       images, disks, seeds, console logs; default ${DEFAULT_STATE_DIRECTORY}
  --import-directory DIR      where images with a "file" source are taken from; without it they are refused
  --storage-pool NAME=PATH[,shared][,wipe=none|zero|discard]
                              may be given several times: a directory for disks; shared: all nodes that have the
                              pool see the same files. The pool "local" is the state directory.
  --libvirt-socket PATH       default ${DEFAULT_LIBVIRT_SOCKET}
  --zone ZONE                 availability zone
  --node-labels K=V,...       labels that a machine's nodeSelector is compared with
  --allow-download-network CIDR   may be given several times: images may come from there although it is
                              loopback, link-local or a node's own network
  --node-address IP           may be given several times: further addresses that guests must not reach
  --tunnel-address IP         other nodes send guests' packets here; default: the address beside the default route
  --vxlan-port PORT           UDP port of that, the same on all nodes; default ${DEFAULT_VXLAN_PORT}
  --server-address IP         the api-server and other nodes reach this agent here; default: the tunnel address
  --server-port PORT          TCP port of that; default ${DEFAULT_SERVER_PORT}
  --floating-interface NAME   answers for floating addresses; default: the one in their network
  --watchdog-device PATH      watchdog timer, such as /dev/watchdog, that resets this node when it loses the API
                              server or its agent, so that its machines can be started elsewhere
  --watchdog-grace SECONDS    how long it may be without the API server before that; default ${DEFAULT_WATCHDOG_GRACE_SECONDS}
  --reserved-memory QUANTITY  memory kept for the node itself; default ${DEFAULT_RESERVED_MEMORY_MIB}Mi
  --image-cache QUANTITY      disk that unused images may keep; default: a share of the disk

Flags of api-server:
  --serving-address HOST:PORT where kube-apiserver reaches it; default :${DEFAULT_SERVING_PORT}
`;

const common = {
  kubeconfig: { type: "string" },
  "metrics-address": { type: "string" },
  "log-level": { type: "string" },
} as const;

/** Reads the arguments after the program's name. Throws UsageError. */
export const parseCommandLine = (args: readonly string[]): Command => {
  const [command, ...flags] = args;
  if (command === undefined) throw new UsageError("no command given");
  if (["help", "--help", "-h"].includes(command) || flags.includes("--help")) return { kind: "help" };
  if (command === "controller") return parseController(flags);
  if (command === "node-agent") return parseNodeAgent(flags);
  if (command === "api-server") return parseApiServer(flags);
  throw new UsageError(`there is no command ${JSON.stringify(command)}`);
};

const parseController = (args: readonly string[]): Command => {
  const flags = readFlags(args, {
    ...common,
    "leader-elect": { type: "string" },
    "max-parallel-migrations": { type: "string" },
  });
  return {
    kind: "controller",
    logLevel: readLogLevel(flags["log-level"]),
    config: {
      kubeconfig: flags.kubeconfig,
      leaderElect: readBoolean("leader-elect", flags["leader-elect"] ?? "true"),
      maxParallelMigrations: readCount("max-parallel-migrations", flags["max-parallel-migrations"]),
      metrics: readAddress("metrics-address", flags["metrics-address"]),
    },
  };
};

const parseApiServer = (args: readonly string[]): Command => {
  const flags = readFlags(args, { ...common, "serving-address": { type: "string" } });
  return {
    kind: "api-server",
    logLevel: readLogLevel(flags["log-level"]),
    config: {
      kubeconfig: flags.kubeconfig,
      address: readAddress("serving-address", flags["serving-address"] ?? `:${DEFAULT_SERVING_PORT}`),
      metrics: readAddress("metrics-address", flags["metrics-address"]),
    },
  };
};

const parseNodeAgent = (args: readonly string[]): Command => {
  const flags = readFlags(args, {
    ...common,
    "node-name": { type: "string" },
    "state-directory": { type: "string" },
    "import-directory": { type: "string" },
    "storage-pool": { type: "string", multiple: true },
    "libvirt-socket": { type: "string" },
    zone: { type: "string" },
    "node-labels": { type: "string" },
    "allow-download-network": { type: "string", multiple: true },
    "node-address": { type: "string", multiple: true },
    "tunnel-address": { type: "string" },
    "vxlan-port": { type: "string" },
    "server-address": { type: "string" },
    "server-port": { type: "string" },
    "floating-interface": { type: "string" },
    "watchdog-device": { type: "string" },
    "watchdog-grace": { type: "string" },
    "reserved-memory": { type: "string" },
    "image-cache": { type: "string" },
  });
  const stateDirectory = readPath("state-directory", flags["state-directory"]) ?? DEFAULT_STATE_DIRECTORY;
  return {
    kind: "node-agent",
    logLevel: readLogLevel(flags["log-level"]),
    config: {
      kubeconfig: flags.kubeconfig,
      nodeName: readNodeName(flags["node-name"]),
      stateDirectory,
      importDirectory: readPath("import-directory", flags["import-directory"]),
      storagePools: readStoragePools(flags["storage-pool"] ?? [], stateDirectory),
      libvirtSocket: readPath("libvirt-socket", flags["libvirt-socket"]) ?? DEFAULT_LIBVIRT_SOCKET,
      zone: flags.zone === undefined ? undefined : readLabelValue("zone", flags.zone),
      nodeLabels: readLabels("node-labels", flags["node-labels"] ?? ""),
      allowedDownloadNetworks: (flags["allow-download-network"] ?? []).map(readCidr),
      nodeAddresses: (flags["node-address"] ?? []).map((text) => readIpAddress("node-address", text)),
      tunnelAddress:
        flags["tunnel-address"] === undefined
          ? undefined
          : readIpAddress("tunnel-address", flags["tunnel-address"]),
      vxlanPort: readPort("vxlan-port", flags["vxlan-port"]) ?? DEFAULT_VXLAN_PORT,
      serverAddress:
        flags["server-address"] === undefined
          ? undefined
          : readIpAddress("server-address", flags["server-address"]),
      serverPort: readPort("server-port", flags["server-port"]) ?? DEFAULT_SERVER_PORT,
      floatingInterface: readInterface("floating-interface", flags["floating-interface"]),
      watchdogDevice: readPath("watchdog-device", flags["watchdog-device"]),
      watchdogGraceSeconds: readGrace(flags["watchdog-grace"]),
      reservedMemoryMiB: readMemoryMiB(flags["reserved-memory"]),
      imageCacheBytes: readBytes("image-cache", flags["image-cache"]),
      metrics: readAddress("metrics-address", flags["metrics-address"]),
    },
  };
};

const readFlags = <const T extends NonNullable<ParseArgsConfig["options"]>>(
  args: readonly string[],
  options: T,
) => {
  try {
    return parseArgs({ args: [...args], options, strict: true, allowPositionals: false }).values;
  } catch (error) {
    throw new UsageError(error instanceof Error ? error.message : String(error));
  }
};

const refuse = (flag: string, value: string, wanted: string): never => {
  throw new UsageError(`--${flag}: ${JSON.stringify(value)} is not ${wanted}`);
};

const readLogLevel = (text = "info"): LogLevel =>
  logLevels.find((level) => level === text) ?? refuse("log-level", text, `one of ${logLevels.join(", ")}`);

const readBoolean = (flag: string, text: string): boolean => {
  if (text === "true" || text === "false") return text === "true";
  return refuse(flag, text, "true or false");
};

const readCount = (flag: string, text: string | undefined): number => {
  if (text === undefined) return DEFAULT_MAX_PARALLEL_MIGRATIONS;
  return /^[1-9][0-9]{0,2}$/.test(text) ? Number(text) : refuse(flag, text, "a number from 1 to 999");
};

/** HOST:PORT, with an IPv6 host in brackets; ":9402" is every address. */
const readAddress = (
  flag: string,
  text = "127.0.0.1:0",
): { readonly host: string; readonly port: number } => {
  const match = /^(?:\[([0-9A-Fa-f:.]+)\]|([^:[\]]*)):([0-9]{1,5})$/.exec(text);
  const port = Number(match?.[3] ?? Number.NaN);
  if (match === null || port > 65_535) return refuse(flag, text, "HOST:PORT");
  return { host: match[1] ?? (match[2] === "" ? "::" : (match[2] ?? "")), port };
};

const readNodeName = (text: string | undefined): string => {
  if (text === undefined) throw new UsageError("--node-name must be given");
  return objectName.safeParse(text).success ? text : refuse("node-name", text, "a lower-case DNS name");
};

const readPath = (flag: string, text: string | undefined): string | undefined => {
  if (text === undefined || text.startsWith("/")) return text;
  return refuse(flag, text, "an absolute path");
};

const wipes: Readonly<Record<string, WipePolicy>> = {
  "wipe=none": "None",
  "wipe=zero": "Zero",
  "wipe=discard": "Discard",
};

/** NAME=PATH[,shared][,wipe=none|zero|discard]. A comma cannot be in a path. */
const readStoragePool = (text: string): StoragePoolConfig => {
  const wrong = (): never =>
    refuse("storage-pool", text, "NAME=PATH[,shared][,wipe=none|zero|discard] with a lower-case name");
  const [definition = "", ...words] = text.split(",");
  const [name = "", ...rest] = definition.split("=");
  const path = rest.join("=");
  const wipe = words.find((word) => wipes[word] !== undefined);
  const isKnown = words.every((word) => word === "shared" || word === wipe);
  if (!storagePoolName.safeParse(name).success || !path.startsWith("/") || !isKnown) return wrong();
  return { name, path, shared: words.includes("shared"), wipe: wipes[wipe ?? ""] ?? "None" };
};

/** The pool "local" is the state directory: only how it is wiped can be said. */
const readStoragePools = (texts: readonly string[], stateDirectory: string): readonly StoragePoolConfig[] => {
  const pools = texts.map(readStoragePool);
  for (const [index, { name, path, shared }] of pools.entries()) {
    const text = texts[index] ?? name;
    if (pools.findIndex((other) => other.name === name) !== index)
      refuse("storage-pool", text, "a pool of a name of its own");
    if (name === LOCAL_POOL && (path !== stateDirectory || shared))
      refuse(
        "storage-pool",
        text,
        `the state directory, ${stateDirectory}, unshared, which the pool local is`,
      );
  }
  return pools;
};

const LABEL_VALUE = /^([A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?)?$/;
const LABEL_KEY = /^([a-z0-9]([-a-z0-9.]{0,251}[a-z0-9])?\/)?[A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?$/;

const readLabelValue = (flag: string, text: string): string =>
  text !== "" && LABEL_VALUE.test(text) ? text : refuse(flag, text, "a Kubernetes label value");

const readLabels = (flag: string, text: string): Readonly<Record<string, string>> =>
  Object.fromEntries(
    text
      .split(",")
      .filter((pair) => pair !== "")
      .map((pair) => {
        const [key = "", ...rest] = pair.split("=");
        const value = rest.join("=");
        if (rest.length === 0 || !LABEL_KEY.test(key) || !LABEL_VALUE.test(value))
          return refuse(flag, pair, "a label as KEY=VALUE");
        return [key, value] as const;
      }),
  );

const readCidr = (text: string): string =>
  ipv4Cidr.safeParse(text).success
    ? text
    : refuse("allow-download-network", text, "an IPv4 network in CIDR notation");

const readIpAddress = (flag: string, text: string): string =>
  isIPv4(text) ? text : refuse(flag, text, "an IPv4 address");

const readPort = (flag: string, text: string | undefined): number | undefined => {
  if (text === undefined) return undefined;
  const port = Number(text);
  return /^[0-9]{1,5}$/.test(text) && port >= 1 && port <= 65_535
    ? port
    : refuse(flag, text, "a port from 1 to 65535");
};

/** Two heartbeats at least, so that one may be lost. */
const readGrace = (text: string | undefined): number => {
  if (text === undefined) return DEFAULT_WATCHDOG_GRACE_SECONDS;
  const seconds = Number(text);
  return /^[0-9]{1,5}$/.test(text) && seconds >= 20 && seconds <= 86_400
    ? seconds
    : refuse("watchdog-grace", text, "seconds, from 20 to 86400");
};

/** As the kernel allows, without what has a meaning for the tools that it is given to. */
const readInterface = (flag: string, text: string | undefined): string | undefined =>
  text === undefined || /^[A-Za-z0-9][A-Za-z0-9_.-]{0,14}$/.test(text)
    ? text
    : refuse(flag, text, "the name of a network interface");

const readBytes = (flag: string, text: string | undefined): number | undefined => {
  if (text === undefined) return undefined;
  try {
    return parseQuantity(text);
  } catch {
    return refuse(flag, text, "a quantity such as 512Mi");
  }
};

/** Rounded up: what is reserved is reserved. */
const readMemoryMiB = (text: string | undefined): number => {
  const bytes = readBytes("reserved-memory", text);
  return bytes === undefined ? DEFAULT_RESERVED_MEMORY_MIB : Math.ceil(bytes / 2 ** 20);
};

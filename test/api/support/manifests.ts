import { apiVersionOf, type Resource } from "../../../src/api/resource.ts";

type Json = null | boolean | number | string | readonly Json[] | { readonly [name: string]: Json };
export type JsonObject = { readonly [name: string]: Json };

/** A spec of each kind that the API server takes, with every optional field set. */
const specs: Readonly<Record<string, JsonObject>> = {
  VirtualMachine: {
    flavor: "small",
    image: "debian",
    keyPairs: ["me"],
    networks: [{ name: "default" }],
    runStrategy: "Always",
    terminationGracePeriodSeconds: 30,
    hostname: "web",
    cloudInit: { userData: "#cloud-config\npackages: [nginx]\n" },
    firmware: "UEFI",
    availabilityZone: "north",
    nodeSelector: { "example.com/disk": "fast" },
  },
  Image: {
    source: { url: "https://images.example.com/debian.qcow2?build=1" },
    format: "qcow2",
    compression: "Xz",
    checksum: `sha256:${"0123456789abcdef".repeat(4)}`,
    minimumDisk: "2Gi",
    minimumMemory: "256Mi",
  },
  Flavor: { vcpus: 2, memory: "512Mi", disk: "10Gi" },
  KeyPair: { publicKey: "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIGk me@example.com" },
  Network: {
    cidr: "10.0.0.0/24",
    gateway: "10.0.0.1",
    dnsServers: ["9.9.9.9"],
    mtu: 1400,
    reservedAddresses: ["10.0.0.2"],
  },
  Hypervisor: { unschedulable: true, cpuOvercommitPercent: 200, memoryOvercommitPercent: 110 },
};

/** A manifest that the API server takes. */
export const validManifest = (resource: Resource, name: string): JsonObject => ({
  apiVersion: apiVersionOf(resource),
  kind: resource.kind,
  metadata: { name },
  spec: specs[resource.kind] ?? {},
});

const isObject = (value: Json | undefined): value is JsonObject =>
  typeof value === "object" && value !== null && !Array.isArray(value);

/** RFC 7386: members of the patch replace or join those of the target, null takes one away. */
export const mergePatch = (target: Json | undefined, patch: JsonObject): JsonObject => {
  const base = isObject(target) ? target : {};
  const changed = Object.entries(patch).flatMap(([name, value]) => {
    if (value === null) return [];
    return [[name, isObject(value) ? mergePatch(base[name], value) : value] as const];
  });
  const kept = Object.entries(base).filter(([name]) => !(name in patch));
  return Object.fromEntries([...kept, ...changed]);
};

import type { VirtualMachine } from "../../../src/api/virtual-machine.ts";

interface Overrides {
  readonly metadata?: Partial<VirtualMachine["metadata"]>;
  readonly spec?: Partial<VirtualMachine["spec"]>;
  readonly status?: Partial<NonNullable<VirtualMachine["status"]>>;
}

/** A placed machine as the agent gets it, for tests; with what the test needs to be different. */
export const machineWith = ({ metadata, spec, status }: Overrides = {}): VirtualMachine => ({
  apiVersion: "vireo.dev/v1alpha1",
  kind: "VirtualMachine",
  metadata: {
    name: "hello",
    namespace: "default",
    uid: "5a1d7d0e-8f0c-4c52-9f7c-3f0a4f6b8c01",
    resourceVersion: "7",
    generation: 1,
    creationTimestamp: "2026-01-01T00:00:00Z",
    ...metadata,
  },
  spec: {
    flavor: "small",
    image: "tiny",
    keyPairs: [],
    networks: [{ name: "default", allowedAddresses: [] }],
    securityGroups: [],
    runStrategy: "Always",
    terminationGracePeriodSeconds: 60,
    firmware: "BIOS",
    tpm: false,
    rootDisk: { pool: "local" },
    volumes: [],
    cdroms: [],
    graphics: ["VNC"],
    hostDevices: [],
    ...spec,
  },
  status: {
    nodeName: "node-1",
    allocation: {
      flavor: { name: "small", vcpus: 1, memoryMiB: 128, diskMiB: 1024 },
      image: {
        name: "tiny",
        uid: "b1e6e7de-2bb4-4a39-8c0f-0f7f4ad9c702",
        format: "qcow2",
        compression: "None",
        file: "tiny.qcow2",
      },
      interfaces: [
        {
          network: "default",
          macAddress: "02:00:00:00:00:01",
          address: "10.0.0.2",
          prefixLength: 24,
          gateway: "10.0.0.1",
          dnsServers: [],
          mtu: 1450,
          vni: 1,
          allowedAddresses: [],
        },
      ],
      sshPublicKeys: [],
    },
    ...status,
  },
});

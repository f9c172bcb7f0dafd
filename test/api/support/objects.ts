import { flavors } from "../../../src/api/flavor.ts";
import { images } from "../../../src/api/image.ts";
import { keyPairs } from "../../../src/api/key-pair.ts";
import { networks } from "../../../src/api/network.ts";
import { apiVersionOf, type Resource } from "../../../src/api/resource.ts";
import { virtualMachines } from "../../../src/api/virtual-machine.ts";
import { volumes } from "../../../src/api/volume.ts";

const object = (resource: Resource, name: string, spec: object): object => ({
  apiVersion: apiVersionOf(resource),
  kind: resource.kind,
  metadata: { name },
  spec,
});

export const PUBLIC_KEY =
  "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIAABAgMEBQYHCAkKCwwNDg8QERITFBUWFxgZGhscHR4f me@example.com";

/** Manifests as a user writes them. */
export const manifests = {
  flavor: (name: string, spec: object = {}) =>
    object(flavors, name, { vcpus: 1, memory: "512Mi", disk: "1Gi", ...spec }),
  image: (name: string, spec: object = {}) =>
    object(images, name, {
      source: { url: "https://images.example.com/tiny.qcow2" },
      format: "qcow2",
      ...spec,
    }),
  keyPair: (name: string, spec: object = { publicKey: PUBLIC_KEY }) => object(keyPairs, name, spec),
  network: (name: string, cidr: string, spec: object = {}) => object(networks, name, { cidr, ...spec }),
  volume: (name: string, spec: object) => object(volumes, name, spec),
  machine: (name: string, spec: object) => object(virtualMachines, name, spec),
};

/** A machine of the smallest flavor in the network "lan". */
export const machine = (name: string, spec: object = {}): object =>
  manifests.machine(name, {
    flavor: "small",
    image: "tiny",
    keyPairs: ["me"],
    networks: [{ name: "lan" }],
    ...spec,
  });

import type { Candidate, PlacementRequest } from "../../../src/controllers/scheduler/types.ts";
import { noResources } from "../../../src/controllers/scheduler/types.ts";
import { uidOf } from "./objects.ts";

/** A machine that asks for a quarter of the CPUs of the node. */
export const request = (changes: Partial<PlacementRequest> = {}): PlacementRequest => ({
  vcpus: 2,
  memoryMiB: 1024,
  disks: { local: 10_000 },
  images: [uidOf("tiny")],
  unreachableImages: [],
  pools: [],
  firmware: "BIOS",
  tpm: false,
  nodeSelector: {},
  ...changes,
});

/** An empty node that can take it. */
export const node = (changes: Partial<Candidate> = {}): Candidate => ({
  name: "node-1",
  labels: {},
  readiness: { kind: "ready" },
  zone: "north",
  acceleration: "kvm",
  firmwares: ["BIOS"],
  tpm: false,
  allocatable: { vcpus: 8, memoryMiB: 8192, disks: { local: 100_000 } },
  allocated: noResources,
  images: [],
  ...changes,
});

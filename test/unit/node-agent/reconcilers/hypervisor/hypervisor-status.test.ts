import { describe, expect, test } from "@jest/globals";
import { findCondition } from "../../../../../src/api/condition.ts";
import { type Hypervisor, hypervisors } from "../../../../../src/api/hypervisor.ts";
import {
  hypervisorAlreadySays,
  hypervisorStatus,
  type NodeFacts,
} from "../../../../../src/node-agent/reconcilers/hypervisor/hypervisor-status.ts";

const now = new Date("2026-01-01T12:00:00Z");

const facts: NodeFacts = {
  host: { cpus: 4, memoryMiB: 8192, diskMiB: 100_000, addresses: ["192.0.2.11"] },
  reservedMemoryMiB: 512,
  zone: "a",
  architecture: "x86_64",
  firmwares: ["BIOS", "UEFI"],
  acceleration: "tcg",
  libvirtConnected: true,
  versions: { libvirt: "9.0.0", hypervisor: "7.2.0", agent: "0.1.0" },
  images: [],
  exports: [],
  storagePools: [],
  retainedVolumes: [],
  tpm: true,
  tunnelAddress: "192.0.2.11",
  securityGroups: [],
};

const hypervisorWith = (status?: Hypervisor["status"]): Hypervisor =>
  hypervisors.parse({
    apiVersion: "vireo.dev/v1alpha1",
    kind: "Hypervisor",
    metadata: {
      name: "node-1",
      uid: "5a1d7d0e-8f0c-4c52-9f7c-3f0a4f6b8c01",
      resourceVersion: "1",
      generation: 1,
      creationTimestamp: "2026-01-01T00:00:00Z",
    },
    spec: {},
    ...(status === undefined ? {} : { status }),
  });

const statusOf = (given: Partial<NodeFacts>, before?: Hypervisor["status"]) =>
  hypervisorStatus(hypervisorWith(before), { ...facts, ...given }, now).status;

describe("hypervisorStatus", () => {
  test.each<[string, Partial<NodeFacts>, Hypervisor["status"], string, string]>([
    ["a node with libvirt and a known acceleration is ready", {}, undefined, "True", "AgentReady"],
    [
      "a new node is not, until it was probed",
      { acceleration: undefined },
      undefined,
      "False",
      "ProbingAcceleration",
    ],
    [
      "a restarted agent goes by what was found before",
      { acceleration: undefined },
      { acceleration: "kvm" },
      "True",
      "AgentReady",
    ],
    ["without libvirtd it is not", { libvirtConnected: false }, undefined, "False", "LibvirtUnavailable"],
  ])("%s", (_sentence, given, before, status, reason) => {
    expect(findCondition(statusOf(given, before).conditions, "Ready")).toMatchObject({ status, reason });
  });

  test("a fresh probe counts more than what was found before", () => {
    expect(statusOf({ acceleration: "tcg" }, { acceleration: "kvm" }).acceleration).toBe("tcg");
  });

  test("memory that is reserved for the node is not given to guests", () => {
    expect(statusOf({}).capacity).toEqual({ cpus: 4, memoryMiB: 7680, diskMiB: 100_000 });
  });

  test("free space is told anew when it has changed by a hundredth of the pool", () => {
    const pool = { name: "local", shared: false, wipe: "None", capacityMiB: 10_000 } as const;
    const told = (availableMiB: number, before?: Hypervisor["status"]) =>
      statusOf({ storagePools: [{ ...pool, availableMiB }] }, before);
    const said = hypervisorWith(told(5_000)).status;
    expect(told(4_901, said).storagePools).toEqual([{ ...pool, availableMiB: 5_000 }]);
    expect(told(4_900, said).storagePools).toEqual([{ ...pool, availableMiB: 4_900 }]);
  });

  test("an image counts as being made until it is in the cache", () => {
    const uid = "b1e6e7de-2bb4-4a39-8c0f-0f7f4ad9c702";
    const making = { exports: [{ uid, state: "Fetching", message: "50 %" }] } as const;
    expect(statusOf(making).images).toEqual([{ uid, state: "Fetching", message: "50 %" }]);
    const ready = { ...making, images: [{ uid, state: "Ready" }] } as const;
    expect(statusOf(ready).images).toEqual([{ uid, state: "Ready" }]);
  });

  test("saying the same again is recognised", () => {
    const said = statusOf({});
    const stored = hypervisorWith(said).status;
    expect(hypervisorAlreadySays(stored, statusOf({}, stored))).toBe(true);
    expect(hypervisorAlreadySays(stored, statusOf({ zone: "b" }, stored))).toBe(false);
  });
});

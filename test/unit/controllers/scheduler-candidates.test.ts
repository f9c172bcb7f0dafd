import { describe, expect, test } from "@jest/globals";
import { rejectionOf } from "../../../src/controllers/scheduler/filters.ts";
import { candidateOf, noResources } from "../../../src/controllers/scheduler/types.ts";
import { hypervisorWith, readyCondition } from "./objects.ts";
import { request } from "./scheduler-facts.ts";

describe("The scheduler's view of a Hypervisor", () => {
  test("counts capacity with overcommit, rounded down", () => {
    const hypervisor = hypervisorWith(
      { capacity: { cpus: 3, memoryMiB: 1001, diskMiB: 50 } },
      {},
      { cpuOvercommitPercent: 150, memoryOvercommitPercent: 50 },
    );
    expect(candidateOf(hypervisor, noResources).allocatable).toEqual({
      vcpus: 4,
      memoryMiB: 500,
      disks: { local: 50 },
    });
  });

  test("has the pool local, and those that its agent tells of; of a shared one all nodes' disks count", () => {
    const pool = { wipe: "None", capacityMiB: 1000, availableMiB: 1 } as const;
    const storagePools = [
      { ...pool, name: "local", shared: false },
      { ...pool, name: "fast", shared: false },
      { ...pool, name: "nfs", shared: true },
    ];
    const allocated = { ...noResources, disks: { local: 1, fast: 2, nfs: 3 } };
    const candidate = candidateOf(hypervisorWith({ storagePools }), allocated, () => 400);
    expect(candidate.allocatable.disks).toEqual({ local: 100_000, fast: 1000, nfs: 1000 });
    expect(candidate.allocated.disks).toEqual({ local: 1, fast: 2, nfs: 400 });
  });

  test.each([
    ["open", {}, undefined],
    ["cordoned", { unschedulable: true }, "is cordoned (spec.unschedulable)"],
    ["being emptied", { unschedulable: true, drain: true }, "is being emptied (spec.drain)"],
    ["out of service", { drain: true, outOfService: true }, "is out of service (spec.outOfService)"],
  ])("tells of a node that is %s", (_, spec, expected) => {
    expect(rejectionOf(request(), candidateOf(hypervisorWith({}, {}, spec), noResources))).toBe(expected);
  });

  test.each([
    ["is ready when its agent says so", [readyCondition("True", "AgentReady")], undefined],
    ["is not ready while the agent has said nothing", [], "its agent has not reported yet"],
    [
      "is not ready when Ready is Unknown",
      [readyCondition("Unknown", "HeartbeatLost")],
      "is not ready (HeartbeatLost)",
    ],
    [
      "is not ready when Ready is False",
      [readyCondition("False", "LibvirtUnavailable")],
      "is not ready (LibvirtUnavailable)",
    ],
  ])("%s", (_, conditions, expected) => {
    const candidate = candidateOf(hypervisorWith({ conditions }), noResources);
    expect(rejectionOf(request({ vcpus: 1 }), candidate)).toBe(expected);
  });

  test("gives out nothing while the capacity is not known", () => {
    const hypervisor = {
      ...hypervisorWith(),
      status: { conditions: [readyCondition("True", "AgentReady")] },
    };
    expect(candidateOf(hypervisor, noResources).allocatable).toEqual(noResources);
  });
});

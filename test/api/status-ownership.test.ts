import { afterAll, beforeAll, beforeEach, describe, expect, test } from "@jest/globals";
import fc from "fast-check";

import { type Condition, findCondition } from "../../src/api/condition.ts";
import { type VirtualMachine, virtualMachines } from "../../src/api/virtual-machine.ts";
import { create, startTestCluster, type TestCluster } from "./support/cluster.ts";
import { type JsonObject, validManifest } from "./support/manifests.ts";
import { applyMachineStatus, condition, CONTROLLER, NODE_AGENT, placement } from "./support/system.ts";

/**
 * One status, two writers: what the controller and the agents say of a machine
 * is merged by the API server, by field manager (docs/design/api.md).
 */

let cluster: TestCluster;
let machines = 0;
let name: string;

beforeAll(async () => {
  cluster = await startTestCluster();
});

afterAll(() => cluster.stop());

const newMachine = async (): Promise<string> => {
  machines += 1;
  const machine = await create(cluster, virtualMachines, validManifest(virtualMachines, `owned-${machines}`));
  return machine.metadata.name;
};

beforeEach(async () => {
  name = await newMachine();
});

const apply = async (fieldManager: string, status: JsonObject): Promise<VirtualMachine> => {
  const writer = { client: cluster.administrator, fieldManager };
  const reply = await applyMachineStatus(cluster, writer, name, status);
  return virtualMachines.parse(reply.body);
};

const controllerSays = (status: JsonObject): Promise<VirtualMachine> => apply(CONTROLLER, status);
const agentSays = (status: JsonObject): Promise<VirtualMachine> => apply(NODE_AGENT, status);

const guest = { nodeName: "node-a", powerState: "Running", restarts: 0 };
const running: JsonObject = {
  guest,
  printableStatus: "Running",
  observedGeneration: 1,
  conditions: [condition("Ready", "True"), condition("StorageReady", "True")],
};

const truths = (machine: VirtualMachine): Readonly<Record<string, Condition["status"]>> =>
  Object.fromEntries((machine.status?.conditions ?? []).map(({ type, status }) => [type, status]));

describe("of a machine that is placed and runs", () => {
  beforeEach(async () => {
    await controllerSays(placement("node-a"));
  });

  test("the status has what both writers say", async () => {
    const { status } = await agentSays(running);
    expect(status).toMatchObject({
      nodeName: "node-a",
      allocation: { interfaces: [{ address: "10.0.0.5" }] },
      guest,
      printableStatus: "Running",
    });
  });

  test("the agent takes Ready over from the controller, and no other condition", async () => {
    const machine = await agentSays(running);
    expect(truths(machine)).toEqual({ Scheduled: "True", Ready: "True", StorageReady: "True" });
  });

  test("Ready stays the agent's when the controller says nothing of it any more", async () => {
    await agentSays(running);
    const { nodeName, allocation } = placement("node-a");
    const machine = await controllerSays({
      nodeName: nodeName ?? "",
      allocation: allocation ?? {},
      conditions: [condition("Scheduled", "True")],
    });
    expect(truths(machine)).toEqual({ Scheduled: "True", Ready: "True", StorageReady: "True" });
    expect(machine.status?.guest).toEqual(guest);
  });

  test("the controller takes Ready back while the node is lost, and the agent again when it returns", async () => {
    await agentSays(running);
    const lost = await controllerSays({
      ...placement("node-a"),
      printableStatus: "Unknown",
      conditions: [condition("Scheduled", "True"), condition("Ready", "Unknown")],
    });
    expect([truths(lost)["Ready"], lost.status?.printableStatus]).toEqual(["Unknown", "Unknown"]);
    expect(lost.status?.guest).toEqual(guest);
    const back = await agentSays(running);
    expect([truths(back)["Ready"], back.status?.printableStatus]).toEqual(["True", "Running"]);
  });

  test("a condition that its writer leaves out is gone, whatever another had said of it before", async () => {
    await agentSays({
      ...running,
      conditions: [condition("Ready", "True"), condition("Reconciling", "True")],
    });
    const machine = await agentSays({ guest, conditions: [condition("Ready", "True")] });
    expect(truths(machine)).toEqual({ Scheduled: "True", Ready: "True" });
  });

  test("a condition that was taken over goes away as a whole, not in part", async () => {
    await agentSays(running);
    const machine = await agentSays({ guest, conditions: [condition("StorageReady", "True")] });
    expect(findCondition(machine.status?.conditions, "Ready")).toBeUndefined();
  });

  test("what only the controller has said the agent cannot take away: Reconciling must not be among it", async () => {
    await controllerSays({ ...placement("node-a"), conditions: [condition("Reconciling", "True")] });
    const machine = await agentSays(running);
    expect(truths(machine)["Reconciling"]).toBe("True");
  });

  test("saying the same again writes nothing", async () => {
    const before = await agentSays(running);
    const after = await agentSays(running);
    expect(after.metadata.resourceVersion).toBe(before.metadata.resourceVersion);
  });

  test("neither of them writes spec", async () => {
    const before = validManifest(virtualMachines, name);
    expect((await agentSays(running)).spec).toEqual(before["spec"]);
  });
});

describe("however the two writers take turns", () => {
  /** What each may say, apart from what they hand over to one another. */
  const controllerWords = fc.record({
    nodeName: fc.constantFrom("node-a", "node-b"),
    conditions: fc.subarray([condition("Scheduled", "True"), condition("ImageReady", "False")]),
  });
  const agentWords = fc.record({
    guest: fc.constantFrom(guest, { ...guest, powerState: "ShutOff", restarts: 2 }),
    conditions: fc.subarray([condition("Ready", "True"), condition("StorageReady", "Unknown")]),
  });
  const turns = fc.array(
    fc.oneof(
      controllerWords.map((status) => ({ writer: CONTROLLER, status })),
      agentWords.map((status) => ({ writer: NODE_AGENT, status })),
    ),
    { minLength: 2, maxLength: 6 },
  );

  test("the status is the last word of each", async () => {
    await fc.assert(
      fc.asyncProperty(turns, async (words) => {
        name = await newMachine();
        let machine: VirtualMachine | undefined;
        for (const { writer, status } of words) machine = await apply(writer, status);
        const last = (writer: string) => words.findLast((word) => word.writer === writer)?.status;
        const [controller, agent] = [last(CONTROLLER), last(NODE_AGENT)];
        const { conditions = [], ...rest } = machine?.status ?? {};
        const { conditions: _, ...controllerRest } = controller ?? {};
        const { conditions: __, ...agentRest } = agent ?? {};
        expect(rest).toEqual({ ...controllerRest, ...agentRest });
        expect(new Set(conditions)).toEqual(
          new Set([...(controller?.conditions ?? []), ...(agent?.conditions ?? [])]),
        );
      }),
      { numRuns: 30 },
    );
  });
});

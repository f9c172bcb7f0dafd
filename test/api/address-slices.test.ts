import { afterAll, afterEach, beforeAll, expect, test } from "@jest/globals";

import {
  addressSlices,
  MAX_SLICE_ENTRIES,
  type MachineAddress,
  type NodeAddresses,
} from "../../src/api/address-slice.ts";
import { flavors } from "../../src/api/flavor.ts";
import { hypervisors } from "../../src/api/hypervisor.ts";
import { images } from "../../src/api/image.ts";
import { keyPairs } from "../../src/api/key-pair.ts";
import { networks } from "../../src/api/network.ts";
import { securityGroups } from "../../src/api/security-group.ts";
import { virtualMachines } from "../../src/api/virtual-machine.ts";
import { readAuditLog } from "../testbed/audit.ts";
import { waitFor } from "../testbed/wait.ts";
import { create, type TestCluster } from "./support/cluster.ts";
import { type ControllerStage, openControllerStage } from "./support/controller-stage.ts";
import type { FakeAgentOptions } from "./support/fake-agent.ts";
import { machine, manifests } from "./support/objects.ts";

let stage: ControllerStage;
let cluster: TestCluster;

beforeAll(async () => {
  stage = await openControllerStage();
  ({ cluster } = stage);
  await stage.addController("controller");
  await create(cluster, flavors, manifests.flavor("small"));
  await create(cluster, images, manifests.image("tiny"));
  await create(cluster, keyPairs, manifests.keyPair("me"));
  await create(cluster, networks, manifests.network("lan", "10.1.0.0/16"));
  await stage.untilCondition(networks, "lan", "Ready", { status: "True" });
});

afterAll(() => stage.stop());

afterEach(() => stage.clear());

const listSlices = async () => {
  const { body } = await cluster.administrator.call({ method: "GET", path: cluster.pathOf(addressSlices) });
  return (body as { items: object[] }).items.map((item) =>
    addressSlices.parse({ apiVersion: "vireo.dev/v1alpha1", kind: "AddressSlice", ...item }),
  );
};

const machinesOf = async (network: string): Promise<readonly MachineAddress[]> =>
  (await listSlices())
    .filter(({ spec }) => spec.network === network)
    .flatMap(({ spec }) => spec.machines ?? []);

const nodesInSlices = async (): Promise<readonly NodeAddresses[]> =>
  (await listSlices()).flatMap(({ spec }) => spec.nodes ?? []);

const sliceWrites = async (): Promise<number> =>
  (await readAuditLog(cluster.controlPlane.auditLogPath, { resource: "addressslices" })).filter(
    ({ userAgent }) => userAgent?.startsWith("vireo-controller"),
  ).length;

const startNode = async (name: string, options: Partial<FakeAgentOptions> = {}): Promise<void> => {
  stage.startAgent(name, options);
  await stage.untilCondition(hypervisors, name, "Ready", { status: "True" });
};

const joinGroup = (name: string, group: string): Promise<unknown> =>
  cluster.administrator.call({
    method: "PATCH",
    path: cluster.pathOf(virtualMachines, name),
    contentType: "application/merge-patch+json",
    body: { spec: { securityGroups: [group] } },
  });

test("a machine is in a slice from its placement until nothing of it is left, with the node that it is on", async () => {
  await startNode("one");
  const [node] = await waitFor("the node in a slice", async () => {
    const found = await nodesInSlices();
    return found.length === 1 ? found : undefined;
  });
  await create(cluster, virtualMachines, machine("alone"));
  const [entry] = await waitFor("the machine in a slice", async () => {
    const found = await machinesOf("lan");
    return found.length === 1 ? found : undefined;
  });
  expect(entry).toMatchObject({
    address: "10.1.0.2",
    nodeName: "one",
    nodeAddress: node?.addresses[0],
    namespace: cluster.namespace,
    name: "alone",
    securityGroups: ["default"],
  });
  await cluster.controlPlane.kubectl(["delete", "vm", "alone", `--namespace=${cluster.namespace}`]);
  await waitFor("no slice of the network", async () =>
    (await listSlices()).every(({ spec }) => spec.network === undefined),
  );
});

test("slices that somebody made or changed by hand are put right", async () => {
  await startNode("one");
  await create(cluster, virtualMachines, machine("guarded"));
  const [entry] = await waitFor("the machine in a slice", async () => {
    const found = await machinesOf("lan");
    return found.length === 1 ? found : undefined;
  });
  const handMade = (name: string, spec: object): object => ({
    apiVersion: "vireo.dev/v1alpha1",
    kind: "AddressSlice",
    metadata: { name },
    spec,
  });
  await create(
    cluster,
    addressSlices,
    handMade("aaa", { network: "lan", machines: [entry, { ...entry, address: "10.1.9.9" }] }),
  );
  await create(cluster, addressSlices, handMade("bbb", { network: "gone", machines: [entry] }));
  const [left] = await waitFor("one slice of machines", async () => {
    const slices = (await listSlices()).filter(({ spec }) => spec.network !== undefined);
    return slices.length === 1 && slices[0]?.spec.machines?.length === 1 ? slices : undefined;
  });
  expect(left?.spec).toEqual({ network: "lan", machines: [entry] });
});

test("a hundred machines that are made, and then join a group, cost few writes", async () => {
  const COUNT = MAX_SLICE_ENTRIES + 5;
  await startNode("large", { cpus: 1000, memoryMiB: 200_000 });
  const names = Array.from({ length: COUNT }, (_, index) => `m${index}`);
  const before = await sliceWrites();
  await Promise.all(names.map((name) => create(cluster, virtualMachines, machine(name))));
  await waitFor("all machines in slices", async () => {
    const found = await machinesOf("lan");
    if (found.length !== COUNT) throw new Error(`${found.length} are`);
    return true;
  });
  const sizes = (await listSlices())
    .flatMap(({ spec }) => (spec.machines === undefined ? [] : [spec.machines.length]))
    .toSorted((a, b) => b - a);
  expect(Math.max(...sizes)).toBeLessThanOrEqual(MAX_SLICE_ENTRIES);
  const made = await sliceWrites();
  expect(made - before).toBeLessThan(COUNT / 2);

  await create(cluster, securityGroups, {
    apiVersion: "vireo.dev/v1alpha1",
    kind: "SecurityGroup",
    metadata: { name: "web" },
    spec: {},
  });
  await Promise.all(names.map((name) => joinGroup(name, "web")));
  await waitFor("all machines in the group", async () => {
    const found = (await machinesOf("lan")).filter(({ securityGroups: [group] }) => group === "web");
    if (found.length !== COUNT) throw new Error(`${found.length} are`);
    return true;
  });
  const joined = await sliceWrites();
  expect(joined - made).toBeLessThan(COUNT / 2);
}, 180_000);

import { join } from "node:path";

import { type Condition, findCondition } from "../../../src/api/condition.ts";
import { hypervisors } from "../../../src/api/hypervisor.ts";
import type { KubernetesObject } from "../../../src/api/meta.ts";
import type { Resource } from "../../../src/api/resource.ts";
import { type VirtualMachine, virtualMachines } from "../../../src/api/virtual-machine.ts";
import { createKubeClient, type KubeClient, loadKubeConfig } from "../../../src/kube/index.ts";
import { makeSshKey } from "../../testbed/ssh.ts";
import { startTestbed, type Testbed, type TestbedOptions } from "../../testbed/testbed.ts";
import { waitFor, type WaitOptions } from "../../testbed/wait.ts";
import { manifests } from "./manifests.ts";

/** All namespaced objects of these tests live here. */
export const NAMESPACE = "default";

/** An emulated guest starts slowly, and slower still beside others on a busy machine. */
const PATIENCE_MS = 120_000;

/** An object whose conditions can be waited for. */
export interface WithConditions extends KubernetesObject {
  readonly status?: { readonly conditions?: readonly Condition[] | undefined } | undefined;
}

/** A whole Vireo, and its objects as values: what the tests of the whole system work with. */
export interface Stage {
  readonly testbed: Testbed;
  /** The API as the administrator sees it. */
  readonly api: KubeClient;
  /** Private half of the KeyPair of `applyBasics`. */
  readonly privateKeyFile: string;
  /** `kubectl apply` of some manifests. */
  apply(...objects: readonly object[]): Promise<void>;
  /** Applies what `manifests.machine` names: a Flavor, an Image, a KeyPair and a Network, all called "test". */
  applyBasics(): Promise<void>;
  read<T extends KubernetesObject>(resource: Resource<T>, name: string): Promise<T | undefined>;
  /** Waits until the object is like that; the error says which conditions it had instead. */
  until<T extends WithConditions>(
    resource: Resource<T>,
    name: string,
    wanted: (object: T) => boolean,
    options?: WaitOptions,
  ): Promise<T>;
  machine(name: string): Promise<VirtualMachine>;
  /** Waits until the machine's printableStatus is one of these and speaks of its present spec. */
  untilStatus(name: string, ...wanted: readonly string[]): Promise<VirtualMachine>;
  patchMachine(name: string, spec: object): Promise<void>;
  /** Asks for the deletion of machines and waits until they are gone. */
  deleteMachines(...names: readonly string[]): Promise<void>;
  cordon(nodeName: string, unschedulable: boolean): Promise<void>;
  stop(): Promise<void>;
}

const describe = ({ metadata, status }: WithConditions): string => {
  const said = (status?.conditions ?? []).map(
    ({ type, status, reason, message }) => `${type}=${status} ${reason}: ${message}`,
  );
  return `${metadata.name}: ${said.join("; ") || "no conditions"}`;
};

export const conditionOf = (object: WithConditions, type: string): Condition | undefined =>
  findCondition(object.status?.conditions, type);

export const isReady = (object: WithConditions): boolean => conditionOf(object, "Ready")?.status === "True";

const clientOf = (testbed: Testbed): KubeClient =>
  createKubeClient({
    kubeConfig: loadKubeConfig({ kubeconfig: testbed.controlPlane.kubeconfig }),
    userAgent: "vireo-e2e",
  });

const { signal } = new AbortController();

const keyOf = (resource: Resource, name: string) =>
  resource.namespaced ? { namespace: NAMESPACE, name } : { name };

const readers = (api: KubeClient): Pick<Stage, "read" | "until" | "machine" | "untilStatus"> => {
  const read: Stage["read"] = (resource, name) => api.get(resource, keyOf(resource, name), { signal });
  const until: Stage["until"] = (resource, name, wanted, options = {}) =>
    waitFor(
      `${resource.kind} ${name}: ${wanted.toString()}`,
      async () => {
        const object = await read(resource, name);
        if (object === undefined) throw new Error(`there is no ${resource.kind} ${name}`);
        if (!wanted(object)) throw new Error(describe(object));
        return object;
      },
      { timeoutMs: PATIENCE_MS, intervalMs: 100, ...options },
    );
  return {
    read,
    until,
    machine: async (name) => {
      const machine = await read(virtualMachines, name);
      if (machine === undefined) throw new Error(`there is no VirtualMachine ${name}`);
      return machine;
    },
    untilStatus: (name, ...wanted) =>
      waitFor(
        `VirtualMachine ${name} ${wanted.join(" or ")}`,
        async () => {
          const machine = await read(virtualMachines, name);
          const { printableStatus = "without a status", observedGeneration } = machine?.status ?? {};
          const isCurrent = observedGeneration === machine?.metadata.generation;
          if (machine !== undefined && isCurrent && wanted.includes(printableStatus)) return machine;
          throw new Error(machine === undefined ? "it is gone" : `${printableStatus}; ${describe(machine)}`);
        },
        { timeoutMs: PATIENCE_MS, intervalMs: 100 },
      ),
  };
};

const writers = (
  testbed: Testbed,
  api: KubeClient,
): Pick<Stage, "apply" | "patchMachine" | "deleteMachines" | "cordon"> => ({
  apply: async (...objects) => {
    const list = { apiVersion: "v1", kind: "List", items: objects };
    await testbed.kubectl(["apply", "--namespace", NAMESPACE, "-f", "-"], { stdin: JSON.stringify(list) });
  },
  patchMachine: async (name, spec) => {
    await api.mergePatch(virtualMachines, keyOf(virtualMachines, name), { spec }, { signal });
  },
  deleteMachines: async (...names) => {
    const keys = names.map((name) => keyOf(virtualMachines, name));
    for (const key of keys) await api.delete(virtualMachines, key, { signal });
    for (const key of keys) {
      await waitFor(
        `the end of VirtualMachine ${key.name}`,
        async () => {
          const machine = await api.get(virtualMachines, key, { signal });
          if (machine !== undefined) throw new Error(describe(machine));
          return true;
        },
        { timeoutMs: PATIENCE_MS, intervalMs: 100 },
      );
    }
  },
  cordon: async (nodeName, unschedulable) => {
    await api.mergePatch(hypervisors, { name: nodeName }, { spec: { unschedulable } }, { signal });
  },
});

/** Starts a testbed and resolves when its controller sees all nodes. Needs root. */
export const startStage = async (options: TestbedOptions = {}): Promise<Stage> => {
  const testbed = await startTestbed(options);
  const api = clientOf(testbed);
  const stop = async (): Promise<void> => {
    await api.close();
    await testbed.stop();
  };
  try {
    const privateKeyFile = join(testbed.directory, "test-key");
    const publicKey = await makeSshKey(privateKeyFile);
    const write = writers(testbed, api);
    const look = readers(api);
    if (options.startProcesses ?? true) {
      for (const { name } of testbed.nodes) await look.until(hypervisors, name, isReady);
    }
    return {
      testbed,
      api,
      privateKeyFile,
      ...look,
      ...write,
      applyBasics: () =>
        write.apply(
          manifests.flavor("test"),
          manifests.image("test"),
          manifests.keyPair("test", { publicKey }),
          manifests.network("test"),
        ),
      stop,
    };
  } catch (error) {
    await stop();
    throw error;
  }
};

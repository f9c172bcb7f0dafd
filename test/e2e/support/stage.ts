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

/** All namespaced objects of these tests live here, but for those of Stage.inNamespace. */
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
  /** Asks for the deletion of an object and waits until it is gone. */
  remove<T extends WithConditions>(resource: Resource<T>, name: string): Promise<void>;
  /** Asks for the deletion of machines and waits until they are gone. */
  deleteMachines(...names: readonly string[]): Promise<void>;
  cordon(nodeName: string, unschedulable: boolean): Promise<void>;
  /** The same for objects of another namespace, which is made. */
  inNamespace(namespace: string): Promise<Place>;
  stop(): Promise<void>;
}

/** A stage as seen from one namespace. */
export type Place = Omit<Stage, "inNamespace" | "stop">;

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

const readers = (
  api: KubeClient,
  namespace: string,
): Pick<Stage, "read" | "until" | "machine" | "untilStatus"> => {
  const read: Stage["read"] = (resource, name) =>
    api.get(resource, resource.namespaced ? { namespace, name } : { name }, { signal });
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
  namespace: string,
): Pick<Stage, "apply" | "patchMachine" | "remove" | "deleteMachines" | "cordon"> => {
  const untilGone = async <T extends WithConditions>(resource: Resource<T>, name: string): Promise<void> => {
    await waitFor(
      `the end of ${resource.kind} ${name}`,
      async () => {
        const object = await api.get(resource, { namespace, name }, { signal });
        if (object !== undefined) throw new Error(describe(object));
        return true;
      },
      { timeoutMs: PATIENCE_MS, intervalMs: 100 },
    );
  };
  return {
    apply: async (...objects) => {
      const list = { apiVersion: "v1", kind: "List", items: objects };
      await testbed.kubectl(["apply", "--namespace", namespace, "-f", "-"], { stdin: JSON.stringify(list) });
    },
    patchMachine: async (name, spec) => {
      await api.mergePatch(virtualMachines, { namespace, name }, { spec }, { signal });
    },
    remove: async (resource, name) => {
      await api.delete(resource, { namespace, name }, { signal });
      await untilGone(resource, name);
    },
    deleteMachines: async (...names) => {
      for (const name of names) await api.delete(virtualMachines, { namespace, name }, { signal });
      for (const name of names) await untilGone(virtualMachines, name);
    },
    cordon: async (nodeName, unschedulable) => {
      await api.mergePatch(hypervisors, { name: nodeName }, { spec: { unschedulable } }, { signal });
    },
  };
};

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
    const inNamespace = (namespace: string): Place => {
      const write = writers(testbed, api, namespace);
      const applyBasics = (): Promise<void> =>
        write.apply(
          manifests.flavor("test"),
          manifests.image("test"),
          manifests.keyPair("test", { publicKey }),
          manifests.network("test"),
        );
      return { testbed, api, privateKeyFile, ...readers(api, namespace), ...write, applyBasics };
    };
    const stage = inNamespace(NAMESPACE);
    if (options.startProcesses ?? true) {
      for (const { name } of testbed.nodes) await stage.until(hypervisors, name, isReady);
    }
    return {
      ...stage,
      inNamespace: async (namespace) => {
        await testbed.kubectl(["create", "namespace", namespace]);
        return inNamespace(namespace);
      },
      stop,
    };
  } catch (error) {
    await stop();
    throw error;
  }
};

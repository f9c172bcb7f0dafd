import { virtualMachines, type VirtualMachine } from "../src/api/virtual-machine.ts";
import {
  createKubeClient,
  createStore,
  type KubeClient,
  loadKubeConfig,
  silentLogger,
  type Store,
} from "../src/kube/index.ts";
import { isTrue } from "../src/api/condition.ts";
import type { Testbed } from "../test/testbed/testbed.ts";

/** What every measurement needs: the testbed, a client of its API and a live view of the machines. */
export interface Stage {
  readonly testbed: Testbed;
  readonly client: KubeClient;
  readonly machines: Store<VirtualMachine>;
  readonly signal: AbortSignal;
  close(): Promise<void>;
}

const NAMESPACE = "default";

const PREREQUISITES = `
apiVersion: vireo.dev/v1alpha1
kind: Image
metadata: { name: tiny, namespace: ${NAMESPACE} }
spec: { source: { file: tiny.qcow2 }, format: qcow2 }
---
apiVersion: vireo.dev/v1alpha1
kind: Flavor
metadata: { name: bench }
spec: { vcpus: 1, memory: 96Mi, disk: 256Mi }
---
apiVersion: vireo.dev/v1alpha1
kind: Network
metadata: { name: bench }
spec: { cidr: 10.20.0.0/24 }
`;

export const openStage = async (testbed: Testbed): Promise<Stage> => {
  await testbed.kubectl(["apply", "-f", "-"], { stdin: PREREQUISITES });
  // Many guests of one virtual CPU on the processors of one node.
  const overcommit = { spec: { cpuOvercommitPercent: 10_000 } };
  for (const { name } of testbed.nodes) {
    await testbed.kubectl(["patch", "hypervisor", name, "--type=merge", "-p", JSON.stringify(overcommit)]);
  }
  const life = new AbortController();
  const client = createKubeClient({
    kubeConfig: loadKubeConfig({ kubeconfig: testbed.controlPlane.kubeconfig }),
  });
  const machines = createStore({ client, resource: virtualMachines, logger: silentLogger });
  const running = machines.run(life.signal).catch((error: unknown) => {
    if (!life.signal.aborted) throw error;
  });
  await machines.whenSynced(life.signal);
  return {
    testbed,
    client,
    machines,
    signal: life.signal,
    close: async () => {
      life.abort();
      await running;
      await client.close();
    },
  };
};

export const createMachine = ({ client, signal }: Stage, name: string): Promise<VirtualMachine> =>
  client.create(
    virtualMachines,
    {
      metadata: { name, namespace: NAMESPACE },
      spec: {
        flavor: "bench",
        image: "tiny",
        networks: [{ name: "bench" }],
        terminationGracePeriodSeconds: 0,
      },
    },
    { signal },
  );

/** Deletes the machines and resolves when they are gone. */
export const deleteMachines = async (stage: Stage, names: readonly string[]): Promise<void> => {
  const { client, signal } = stage;
  await Promise.all(
    names.map((name) => client.delete(virtualMachines, { namespace: NAMESPACE, name }, { signal })),
  );
  await Promise.all(names.map((name) => until(stage, name, (machine) => machine === undefined)));
};

/** Resolves, with the time, when the watch shows the machine so. */
export const until = (
  { machines, signal }: Stage,
  name: string,
  condition: (machine: VirtualMachine | undefined) => boolean,
): Promise<number> =>
  new Promise((resolve, reject) => {
    const key = { namespace: NAMESPACE, name };
    const look = (): void => {
      if (!condition(machines.get(key))) return;
      stop();
      resolve(performance.now());
    };
    const stop = machines.onChange(look);
    signal.addEventListener("abort", () => reject(signal.reason), { once: true });
    look();
  });

export const isReady = (machine: VirtualMachine | undefined): boolean =>
  isTrue(machine?.status?.conditions, "Ready");

import { mkdir, mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";

import { type Condition, findCondition } from "../../../src/api/condition.ts";
import type { KubernetesObject } from "../../../src/api/meta.ts";
import type { Resource } from "../../../src/api/resource.ts";
import { loadKubeConfig } from "../../../src/kube/index.ts";
import { readAuditLog } from "../../testbed/audit.ts";
import type { ControlPlane } from "../../testbed/control-plane.ts";
import { applyManifests } from "../../testbed/manifests.ts";
import { findFreePort } from "../../testbed/ports.ts";
import { controllerProcess, SERVICE_ACCOUNTS, type VireoProcess } from "../../testbed/processes.ts";
import { waitFor } from "../../testbed/wait.ts";
import { startTestCluster, type TestCluster } from "./cluster.ts";
import { createFakeAgent, type FakeAgent, type FakeAgentOptions } from "./fake-agent.ts";

/** An object whose conditions can be waited for. */
export interface WithConditions extends KubernetesObject {
  readonly status?: { readonly conditions?: readonly Condition[] | undefined } | undefined;
}

export const messageOf = (object: WithConditions | undefined, type: string): string =>
  findCondition(object?.status?.conditions, type)?.message ?? "";

/** A real API server with controllers as processes of their own, and agents that only write what agents write. */
export interface ControllerStage {
  readonly cluster: TestCluster;
  /** For files of the test; removed at the end. */
  readonly directory: string;
  /** Starts one more controller and resolves when it is ready: leading, or waiting for its turn. */
  addController(name: string): Promise<VireoProcess>;
  startAgent(nodeName: string, options?: Partial<FakeAgentOptions>): FakeAgent;
  read<T extends KubernetesObject>(resource: Resource<T>, name: string): Promise<T | undefined>;
  /** Waits until the condition is like that; says what it was instead when it does not come. */
  untilCondition<T extends WithConditions>(
    resource: Resource<T>,
    name: string,
    type: string,
    wanted: Pick<Condition, "status"> & Partial<Pick<Condition, "reason">>,
  ): Promise<T>;
  /** Who wrote a machine, how, and with what result: "vireo-controller patch 200". */
  writesTo(machine: string): Promise<readonly string[]>;
  /** Reasons of the events on an object of the test's namespace. */
  eventsOn(name: string): Promise<readonly string[]>;
  /** Ends the agents and removes nodes and machines. */
  clear(): Promise<void>;
  stop(): Promise<void>;
}

export const openControllerStage = async (): Promise<ControllerStage> => {
  const directory = await mkdtemp(join(tmpdir(), "vireo-controllers-"));
  const cluster = await startTestCluster();
  const { controlPlane, namespace, administrator } = cluster;
  const controllers: VireoProcess[] = [];
  const agents: FakeAgent[] = [];
  const kubeconfig = await installAsAdministrator(controlPlane, directory);

  const stopAgents = async (): Promise<void> => {
    await Promise.all(agents.splice(0).map((agent) => agent.stop()));
  };

  const read: ControllerStage["read"] = async (resource, name) => {
    const { code, body } = await administrator.call({ method: "GET", path: cluster.pathOf(resource, name) });
    return code === 404 ? undefined : resource.parse(body);
  };

  return {
    cluster,
    directory,
    read,
    addController: async (name) => {
      const controller = await controllerIn(join(directory, name), kubeconfig);
      controllers.push(controller);
      await controller.start();
      await controller.ready();
      return controller;
    },
    startAgent: (nodeName, options = {}) => {
      const kubeConfig = loadKubeConfig({ kubeconfig: controlPlane.kubeconfig });
      const agent = createFakeAgent({ kubeConfig, nodeName, ...options });
      agents.push(agent);
      agent.start();
      return agent;
    },
    untilCondition: (resource, name, type, wanted) =>
      waitFor(`${resource.kind} ${name}: ${type} is ${wanted.status}`, async () => {
        const object = await read(resource, name);
        const condition = findCondition(object?.status?.conditions, type);
        const fits =
          condition?.status === wanted.status &&
          (wanted.reason === undefined || condition.reason === wanted.reason);
        if (object !== undefined && fits) return object;
        throw new Error(JSON.stringify(condition ?? object?.status ?? "no object"));
      }),
    writesTo: async (machine) => {
      const filter = { resource: "virtualmachines", namespace, name: machine };
      const events = await readAuditLog(controlPlane.auditLogPath, filter);
      return events.map(
        ({ userAgent, verb, responseStatus }) => `${userAgent} ${verb} ${responseStatus?.code}`,
      );
    },
    eventsOn: async (name) => {
      const reasons = await controlPlane.kubectl([
        "get",
        "events",
        `--namespace=${namespace}`,
        `--field-selector=involvedObject.name=${name}`,
        "--output=jsonpath={range .items[*]}{.reason}{'\\n'}{end}",
      ]);
      return reasons.split("\n").filter((reason) => reason !== "");
    },
    clear: async () => {
      await stopAgents();
      await controlPlane.kubectl(["delete", "hypervisors", "--all", "--wait=false"]);
      await controlPlane.kubectl(["delete", "vm", "--all", `--namespace=${namespace}`]);
    },
    stop: async () => {
      await stopAgents();
      await Promise.all(controllers.map((controller) => controller.stop()));
      await cluster.stop();
      await rm(directory, { recursive: true, force: true });
    },
  };
};

/** Resolves with the path of the controller's own kubeconfig: it may do what deploy/manifests say, and no more. */
const installAsAdministrator = async (controlPlane: ControlPlane, directory: string): Promise<string> => {
  await applyManifests(controlPlane);
  const { namespace, controller } = SERVICE_ACCOUNTS;
  const file = join(directory, "controller.kubeconfig");
  await controlPlane.kubeconfigFor({ token: await controlPlane.issueToken(controller, namespace) }, file);
  return file;
};

const controllerIn = async (directory: string, kubeconfig: string): Promise<VireoProcess> => {
  await mkdir(directory);
  return controllerProcess({
    directory,
    kubeconfig,
    lifetime: "owner",
    program: "source",
    metricsAddress: `127.0.0.1:${await findFreePort("127.0.0.1")}`,
    flags: [],
  });
};

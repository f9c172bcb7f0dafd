import { loadKubeConfig, type KubeConfig } from "../../../src/kube/kube-config.ts";
import { createKubeClient } from "../../../src/kube/client.ts";
import { FakeKubeApiServer } from "../../fakes/kube-api-server.ts";
import {
  configMaps,
  customResourceDefinitions,
  namespaces,
  widgetDefinition,
  widgets,
} from "../../fakes/widgets.ts";
import { startControlPlane, type ControlPlane } from "../../testbed/control-plane.ts";
import { waitFor } from "../../testbed/wait.ts";

/** An API server that knows widgets and has the namespaces "shop" and "other". */
export interface Site {
  readonly kubeConfig: KubeConfig;
  stop(): Promise<void>;
}

const startFake = async (): Promise<Site> => {
  const server = new FakeKubeApiServer();
  await server.start();
  return { kubeConfig: server.kubeConfig(), stop: () => server.stop() };
};

const startReal = async (): Promise<Site> => {
  const controlPlane = await startControlPlane();
  const kubeConfig = await prepare(controlPlane);
  return { kubeConfig, stop: () => controlPlane.stop() };
};

/** Makes the namespaces and the kind, and waits until the server serves it. */
export const prepare = async (controlPlane: ControlPlane): Promise<KubeConfig> => {
  const kubeConfig = loadKubeConfig({ kubeconfig: controlPlane.kubeconfig });
  const client = createKubeClient({ kubeConfig });
  const { signal } = new AbortController();
  const owner = { fieldManager: "test", signal };
  for (const name of ["shop", "other"]) await client.apply(namespaces, { metadata: { name } }, owner);
  await client.apply(customResourceDefinitions, widgetDefinition, owner);
  await waitFor("widgets to be served", async () => {
    await client.list(widgets, { signal });
    await client.list(configMaps, { signal });
    return true;
  });
  await client.close();
  return kubeConfig;
};

/** The in-memory server of the unit tests, and the real one: what holds for one must hold for the other. */
export const sites: [string, () => Promise<Site>][] = [
  ["the fake", startFake],
  ["kube-apiserver", startReal],
];

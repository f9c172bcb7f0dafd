import { existsSync } from "node:fs";
import { readFile } from "node:fs/promises";
import { join } from "node:path";

import { parse } from "yaml";
import type { ControlPlane } from "./types.ts";

const REPOSITORY = join(import.meta.dirname, "../..");

const applyFolder = async (controlPlane: ControlPlane, folder: string): Promise<void> => {
  const how = existsSync(join(folder, "kustomization.yaml")) ? "--kustomize" : "--filename";
  await controlPlane.kubectl(["apply", "--server-side", "--force-conflicts", how, folder]);
};

/** Installs Vireo's kinds and resolves when the API server serves them. */
export const applyCustomResources = async (controlPlane: ControlPlane): Promise<void> => {
  await applyFolder(controlPlane, join(REPOSITORY, "crds"));
  await controlPlane.kubectl(["wait", "--for=condition=Established", "crd", "--all", "--timeout=60s"]);
};

/** Installs what an administrator would: the kinds, and the accounts, roles and policies of deploy/manifests. */
export const applyManifests = async (controlPlane: ControlPlane): Promise<void> => {
  await applyCustomResources(controlPlane);
  await applyFolder(controlPlane, join(REPOSITORY, "deploy/manifests"));
};

/**
 * Tells the API server of Vireo's own one, as deploy/api-service does. There
 * are no pods here, so the Service is a name for this machine.
 */
export const registerApiService = async (controlPlane: ControlPlane, port: number): Promise<void> => {
  const folder = join(REPOSITORY, "deploy/api-service");
  const service = {
    apiVersion: "v1",
    kind: "Service",
    metadata: { namespace: "vireo-system", name: "vireo-api-server" },
    spec: { type: "ExternalName", externalName: "localhost", ports: [{ port }] },
  };
  const apiService = parse(await readFile(join(folder, "api-service.yaml"), "utf8")) as {
    readonly spec: { readonly service: object };
  };
  const spec = { ...apiService.spec, service: { ...apiService.spec.service, port } };
  const list = { apiVersion: "v1", kind: "List", items: [service, { ...apiService, spec }] };
  await controlPlane.kubectl(["apply", "--server-side", "--force-conflicts", "-f", "-"], {
    stdin: JSON.stringify(list),
  });
};

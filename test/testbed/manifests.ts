import { existsSync } from "node:fs";
import { join } from "node:path";

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

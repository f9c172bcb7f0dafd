import { readdir, readlink, rm } from "node:fs/promises";
import { join } from "node:path";

import { cacheDirectory, exists } from "../cache.ts";
import { findDaemon } from "../daemon.ts";
import { printProgress } from "../progress.ts";
import { startUnderlay } from "../underlay.ts";
import { demoDirectory, readMemory } from "./state.ts";
import {
  CONTEXT,
  readUserKubeconfig,
  removeContext,
  userKubeconfigPath,
  writeUserKubeconfig,
} from "./user-kubeconfig.ts";

const KUBECTL_LINK = "/usr/local/bin/kubectl";

const stop = async (directory: string, name: string): Promise<void> => {
  const daemon = findDaemon(directory, name);
  if (daemon === undefined) return;
  printProgress(
    `stopping ${name}${directory === demoDirectory() ? "" : ` of ${directory.split("/").at(-1)}`}`,
  );
  await daemon.stop();
};

const leaveContext = async (): Promise<void> => {
  const path = userKubeconfigPath();
  const text = await readUserKubeconfig(path);
  if (!text.includes(CONTEXT)) return;
  await writeUserKubeconfig(path, removeContext(text, (await readMemory()).previousContext));
  printProgress(`removed context ${CONTEXT} from ${path}`);
};

const removeKubectlLink = async (): Promise<void> => {
  const target = await readlink(KUBECTL_LINK).catch(() => "");
  if (target.startsWith(cacheDirectory())) await rm(KUBECTL_LINK);
};

/** Ends the demo and removes all that it has made, except the caches. */
export const down = async (): Promise<void> => {
  const directory = demoDirectory();
  await leaveContext();
  await removeKubectlLink();
  if (!(await exists(directory))) return;
  await stop(directory, "api-server");
  await stop(directory, "controller");
  const nodes = (await readdir(directory)).filter((name) => /^node-\d+$/.test(name)).sort();
  for (const node of nodes) {
    await stop(join(directory, node), "node-agent");
    // The node's PID 1: everything in the node ends with it, guests too.
    const power = findDaemon(join(directory, node), "node");
    if (power !== undefined) printProgress(`switching ${node} off`);
    await power?.kill("SIGKILL");
  }
  await stop(join(directory, "control-plane"), "kube-apiserver");
  await stop(join(directory, "control-plane"), "etcd");
  if (findDaemon(directory, "underlay") !== undefined) {
    await (await startUnderlay({ directory, lifetime: "detached" })).stop();
  }
  await rm(directory, { recursive: true, force: true });
  printProgress(`removed ${directory}`);
};

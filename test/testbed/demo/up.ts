import { createHash } from "node:crypto";
import { symlink, readFile } from "node:fs/promises";
import { join } from "node:path";

import { parse } from "yaml";

import { printProgress, secondsSince } from "../progress.ts";
import { run } from "../programs.ts";
import { startTestbed, type Testbed } from "../testbed.ts";
import { waitFor } from "../wait.ts";
import { describeMachine, isReady, readMachine } from "./machine.ts";
import { countNodes, demoDirectory, readMemory, writeMemory } from "./state.ts";
import {
  addContext,
  CONTEXT,
  currentContext,
  readUserKubeconfig,
  userKubeconfigPath,
  writeUserKubeconfig,
} from "./user-kubeconfig.ts";

export interface UpOptions {
  /** Number of nodes; those of an earlier run stay. */
  readonly nodes: number;
  /** Shows the nodes /dev/kvm, for machines on which it works. */
  readonly kvm: boolean;
  /** Offers debian.qcow2 beside tiny.qcow2, for examples/debian.yaml. */
  readonly debian: boolean;
  readonly signal: AbortSignal;
}

const REPOSITORY = join(import.meta.dirname, "../../..");
const QUICKSTART = join(REPOSITORY, "examples/quickstart.yaml");
const KUBECTL_LINK = "/usr/local/bin/kubectl";
const READY_TIMEOUT_MS = 5 * 60_000;

/** Makes the demo's cluster the one that kubectl talks to, as kind does. */
const useContext = async (testbed: Testbed): Promise<void> => {
  const path = userKubeconfigPath();
  const before = await readUserKubeconfig(path);
  const previous = currentContext(before);
  if (previous !== undefined && previous !== CONTEXT) {
    await writeMemory({ ...(await readMemory()), previousContext: previous });
  }
  const admin: unknown = parse(await readFile(testbed.controlPlane.kubeconfig, "utf8"));
  await writeUserKubeconfig(path, addContext(before, admin));
  printProgress(`context ${CONTEXT} is current in ${path}`);
};

const provideKubectl = async (testbed: Testbed): Promise<void> => {
  const found = await run("sh", ["-c", "command -v kubectl"]).catch(() => "");
  if (found !== "") return;
  await symlink(testbed.controlPlane.kubectlPath, KUBECTL_LINK);
  printProgress(`linked kubectl into ${KUBECTL_LINK}`);
};

/** After a build of other source, the running processes are the old ones; guests do not notice their restart. */
const runCurrentProgram = async (testbed: Testbed): Promise<void> => {
  const bundle = await readFile(join(REPOSITORY, "dist/vireo.js"));
  const program = createHash("sha256").update(bundle).digest("hex");
  const memory = await readMemory();
  if (memory.program !== undefined && memory.program !== program) {
    printProgress("restarting controller, api-server and node agents, because Vireo was built anew");
    const processes = [testbed.controller, testbed.apiServer, ...testbed.agents];
    for (const process of processes) {
      await process.stop();
      await process.start();
    }
    for (const process of processes) await process.ready();
  }
  await writeMemory({ ...memory, program });
};

const awaitMachine = async (testbed: Testbed, signal: AbortSignal): Promise<void> => {
  const startedAt = Date.now();
  let last = "";
  await waitFor(
    "vm/hello Ready",
    async () => {
      const machine = await readMachine(testbed.kubectl, "hello", "default");
      const line = describeMachine(machine);
      if (line !== last) printProgress(`vm/hello after ${secondsSince(startedAt)}: ${line}`);
      last = line;
      if (!isReady(machine)) throw new Error(line);
      return true;
    },
    { timeoutMs: READY_TIMEOUT_MS, intervalMs: 500, signal },
  );
};

const show = async (testbed: Testbed): Promise<void> => {
  for (const args of [
    ["get", "hypervisors"],
    ["get", "vm", "-o", "wide"],
  ]) {
    process.stdout.write(`\n$ kubectl ${args.join(" ")}\n${await testbed.kubectl(args)}`);
  }
  process.stdout.write(`
Look around:
  make ssh VM=hello                  log in to the guest by ssh
  make console VM=hello              its serial console (Ctrl-] leaves)
  kubectl describe vm hello          conditions and events tell the story
  kubectl get vireo -A               everything
  kubectl explain virtualmachine.spec

Change something:
  kubectl patch vm hello --type=merge -p '{"spec":{"runStrategy":"Halted"}}'
  kubectl delete vm hello
  kubectl apply -f examples/quickstart.yaml

Logs and state are in ${demoDirectory()}
make down ends the demo and removes it.
`);
};

/** Starts what is missing of the demo, boots its guest and says how to look. */
export const up = async (options: UpOptions): Promise<void> => {
  const startedAt = Date.now();
  const testbed = await startTestbed({
    directory: demoDirectory(),
    lifetime: "detached",
    nodes: Math.max(options.nodes, await countNodes()),
    images: options.debian ? ["tiny", "debian"] : ["tiny"],
    program: "bundle",
    kvm: options.kvm,
    controllerFlags: [],
    progress: printProgress,
    signal: options.signal,
  });
  await runCurrentProgram(testbed);
  await useContext(testbed);
  await provideKubectl(testbed);
  printProgress("applying examples/quickstart.yaml");
  await testbed.kubectl(["apply", "-f", QUICKSTART]);
  await awaitMachine(testbed, options.signal);
  printProgress(`the demo runs, after ${secondsSince(startedAt)}`);
  await show(testbed);
};

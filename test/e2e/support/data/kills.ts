import { argumentsOf, processesInNamespaceOf } from "../../../testbed/process-table.ts";
import type { TestNode } from "../../../testbed/node.ts";
import { waitFor } from "../../../testbed/wait.ts";
import type { Stage } from "../stage.ts";
import type { Victim } from "./plan.ts";

/** The guest's QEMU on a node, if there is one. */
export const guestProcess = (node: TestNode, vmUid: string): number | undefined =>
  processesInNamespaceOf(node.pid).find(
    ({ pid, command, state }) =>
      command.startsWith("qemu-system") && state !== "Z" && argumentsOf(pid).join(" ").includes(vmUid),
  )?.pid;

const killGuest = async (nodes: readonly TestNode[], vmUid: string): Promise<boolean> => {
  for (const node of nodes) {
    const pid = guestProcess(node, vmUid);
    if (pid === undefined) continue;
    process.kill(pid, "SIGKILL");
    await waitFor(`the end of process ${pid}`, () => guestProcess(node, vmUid) !== pid, { intervalMs: 10 });
    return true;
  }
  return false;
};

const restartLibvirtd = async (node: TestNode): Promise<true> => {
  await node.killLibvirtd("SIGKILL");
  await node.startLibvirtd();
  return true;
};

/** Where the machine is when the kill is chosen, and which it is. */
export interface Scene {
  readonly nodeName: string;
  readonly vmUid: string;
}

/**
 * SIGKILL to one of those that a machine depends on, and a new start where
 * nobody else starts it. False when there was nobody to kill: a guest that just
 * changes over to another process.
 */
export const kill = async ({ testbed }: Stage, victim: Victim, scene: Scene): Promise<boolean> => {
  const here = testbed.node(scene.nodeName);
  const elsewhere = testbed.nodes.find((node) => node !== here) ?? here;
  switch (victim) {
    case "controller":
      await testbed.controller.restart();
      return true;
    case "agent":
      await testbed.agent(here.name).restart();
      return true;
    case "other agent":
      await testbed.agent(elsewhere.name).restart();
      return true;
    case "libvirtd":
      return restartLibvirtd(here);
    case "other libvirtd":
      return restartLibvirtd(elsewhere);
    case "guest":
      return killGuest([here, elsewhere], scene.vmUid);
  }
};

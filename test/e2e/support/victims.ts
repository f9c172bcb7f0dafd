import type { Testbed } from "../../testbed/testbed.ts";

/** A process of Vireo or under it that is killed at any moment and started again. */
export interface Victim {
  readonly name: string;
  /** SIGKILL, then a start that is not waited for longer than its program needs. */
  restart(): Promise<void>;
}

export const victimsOf = ({ controller, agents, controlPlane, nodes }: Testbed): readonly Victim[] => [
  { name: "controller", restart: () => controller.restart() },
  ...agents.map((agent, index) => ({
    name: `agent of ${nodes[index]?.name ?? index}`,
    restart: () => agent.restart(),
  })),
  { name: "API server", restart: () => controlPlane.restartApiServer() },
  ...nodes.map((node) => ({
    name: `libvirtd of ${node.name}`,
    restart: async () => {
      await node.killLibvirtd("SIGKILL");
      await node.startLibvirtd();
    },
  })),
];

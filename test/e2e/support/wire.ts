import type { Testbed } from "../../testbed/testbed.ts";

/** The wire between a node and the others, as the switch has it. */
export const setWire = async (testbed: Testbed, nodeName: string, state: "up" | "down"): Promise<void> => {
  const port = nodeName.replace("node-", "node");
  await testbed.underlay.runOutside(["ip", "link", "set", "dev", port, state]);
};

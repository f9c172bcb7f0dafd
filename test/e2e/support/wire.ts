import type { Testbed } from "../../testbed/testbed.ts";

/** Pulls a node's network cable, or plugs it in again. */
export const setWire = async (testbed: Testbed, nodeName: string, state: "up" | "down"): Promise<void> => {
  const port = nodeName.replace("node-", "node");
  await testbed.underlay.runOutside(["ip", "link", "set", "dev", port, state]);
};

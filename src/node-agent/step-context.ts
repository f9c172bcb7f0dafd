import type { AgentOptions } from "./agent.ts";
import type { StepContext } from "./steps.ts";

/** Rooms and the node's network; a machine that is being removed has left the rules already. */
export const createStepContext = (
  options: Pick<AgentOptions, "rooms" | "store" | "network">,
): StepContext => {
  const { rooms, network } = options;
  options.store.onChange(({ before, after }) => {
    if (after === undefined && before !== undefined) network.forget(before.metadata.uid);
  });
  return {
    ...rooms,
    syncNetwork: () => network.sync(),
    removeFromNetwork: (vmUid) => {
      network.leaveOut(vmUid);
      return network.sync();
    },
  };
};

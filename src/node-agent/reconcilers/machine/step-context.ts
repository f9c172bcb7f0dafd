import type { AgentOptions } from "../../agent.ts";
import type { StepContext } from "./steps.ts";
import type { StorageContext } from "../storage/storage.ts";

/** Rooms and the node's network; a machine that is being removed has left the rules already. */
export const createStepContext = (
  options: Pick<
    AgentOptions,
    "rooms" | "stores" | "objects" | "network" | "fetchSeed" | "confirmStart" | "migrating" | "now" | "wait"
  >,
  storage: StorageContext & Pick<StepContext, "lookAtVolume" | "lookAtDisk">,
): StepContext => {
  const { rooms, network, objects, fetchSeed, confirmStart, migrating, now, wait } = options;
  options.stores.machines.onChange(({ before, after }) => {
    if (after === undefined && before !== undefined) network.forget(before.metadata.uid);
  });
  return {
    ...rooms,
    ...storage,
    volumeObjects: objects.volumes,
    fetchSeed,
    confirmStart,
    migrating,
    now,
    wait,
    syncNetwork: () => network.sync(),
    removeFromNetwork: (vmUid) => {
      network.leaveOut(vmUid);
      return network.sync();
    },
  };
};

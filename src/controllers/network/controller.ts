import { type Network, networks } from "../../api/network.ts";
import type { VirtualMachine } from "../../api/virtual-machine.ts";
import {
  type Change,
  type Controller,
  createController,
  done,
  isMoreThanStatus,
  keyOf,
  type ObjectKey,
  requeueAfter,
} from "../../kube/index.ts";
import type { ControllerContext, Stores } from "../context.ts";
import { applyStatus } from "../status-writer.ts";
import { decideNetwork } from "./decide.ts";
import { observeNetwork } from "./observe.ts";

/** Says of each Network whether machines may use it, and how full it is. */
export const createNetworkController = (context: ControllerContext): Controller => {
  const { client, stores, events, clock, logger, metrics } = context;
  /** When this process last wrote the status of which network. */
  const writtenAt = new Map<string, number>();
  const sinceWriteMs = (uid: string): number | undefined => {
    const at = writtenAt.get(uid);
    return at === undefined ? undefined : clock.monotonic() - at;
  };
  stores.networks.onChange(({ before, after }) => {
    if (before !== undefined && before.metadata.uid !== after?.metadata.uid)
      writtenAt.delete(before.metadata.uid);
  });
  return createController({
    name: "network",
    logger,
    metrics,
    clock,
    watches: [
      { store: stores.networks, map: (change) => networksBeside(stores, change) },
      { store: stores.virtualMachines, map: networksOfMachine },
    ],
    reconcile: async (key, signal) => {
      const facts = observeNetwork(stores, key, sinceWriteMs);
      if (facts === undefined) return done;
      const decision = decideNetwork(facts, new Date(clock.now()));
      if (decision.kind === "nothing") return done;
      if (decision.kind === "later") return requeueAfter(decision.afterMs);
      writtenAt.set(facts.network.metadata.uid, clock.monotonic());
      await applyStatus(
        { client, resource: networks, store: stores.networks, signal },
        facts.network,
        decision.status,
      );
      for (const { type, reason, message } of decision.announcements)
        events.event(facts.network, type, reason, message);
      return done;
    },
  });
};

/** A network that comes or goes may overlap any other; a status concerns nobody. */
const networksBeside = (stores: Stores, change: Change<Network>): readonly ObjectKey[] =>
  isMoreThanStatus(change) ? [change.key, ...stores.networks.list().map(keyOf)] : [change.key];

/** The Networks in which the machine got or lost an address. */
const networksOfMachine = ({ before, after }: Change<VirtualMachine>): readonly ObjectKey[] => {
  const addresses = [before, after].map(addressesOf);
  if (addresses[0] === addresses[1]) return [];
  return [before, after].flatMap((machine) =>
    (machine?.status?.allocation?.interfaces ?? []).map(({ network }) => ({ name: network })),
  );
};

const addressesOf = (machine: VirtualMachine | undefined): string =>
  (machine?.status?.allocation?.interfaces ?? [])
    .map(({ network, address }) => `${network}/${address}`)
    .join();

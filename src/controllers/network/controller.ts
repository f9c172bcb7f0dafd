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
import { createNumberMemory } from "./numbers.ts";
import { observeNetwork } from "./observe.ts";

/** Numbers that could not be given out for a reason whose end nobody tells are tried again after this time, in ms. */
const NUMBER_RETRY_MS = 30_000;

/** Gives each Network its number, and says whether machines may use it and how full it is. */
export const createNetworkController = (context: ControllerContext): Controller => {
  const { client, stores, events, clock, logger, metrics } = context;
  /** When this process last wrote the status of which network. */
  const writtenAt = new Map<string, number>();
  const sinceWriteMs = (uid: string): number | undefined => {
    const at = writtenAt.get(uid);
    return at === undefined ? undefined : clock.monotonic() - at;
  };
  const numbers = createNumberMemory(() => clock.monotonic());
  stores.networks.onChange(({ before, after, unreadable }) => {
    if (unreadable || before === undefined || before.metadata.uid === after?.metadata.uid) return;
    writtenAt.delete(before.metadata.uid);
    numbers.retire(before);
  });
  return createController({
    name: "network",
    // Numbers are given out one after the other.
    workers: 1,
    logger,
    metrics,
    clock,
    watches: [
      { store: stores.networks, map: (change) => networksBeside(stores, change) },
      { store: stores.virtualMachines, map: networksOfMachine },
    ],
    reconcile: async (key, signal) => {
      const facts = observeNetwork(stores, key, { numbers, sinceWriteMs });
      if (facts === undefined) return done;
      const { uid } = facts.network.metadata;
      const decision = decideNetwork(facts, new Date(clock.now()));
      const settled = facts.number.kind === "number" ? done : requeueAfter(NUMBER_RETRY_MS);
      if (decision.kind === "nothing") return settled;
      if (decision.kind === "later") return requeueAfter(decision.afterMs);
      writtenAt.set(uid, clock.monotonic());
      if (facts.number.kind === "number") numbers.promise(uid, facts.number.vni);
      await applyStatus(
        { client, resource: networks, store: stores.networks, signal },
        facts.network,
        decision.status,
      );
      for (const { type, reason, message } of decision.announcements)
        events.event(facts.network, type, reason, message);
      return settled;
    },
  });
};

/** A network that comes or goes may overlap any other, or be its peer; of a status only the number concerns others. */
const networksBeside = (stores: Stores, change: Change<Network>): readonly ObjectKey[] =>
  isMoreThanStatus(change) || hasLostNumber(change)
    ? [change.key, ...stores.networks.list().map(keyOf)]
    : [change.key];

const hasLostNumber = ({ before, after }: Change<Network>): boolean =>
  before?.status?.vni !== undefined && before.status.vni !== after?.status?.vni;

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

import type { Hypervisor } from "../../../src/api/hypervisor.ts";
import { GUEST_FINALIZER, type VirtualMachine } from "../../../src/api/virtual-machine.ts";
import { candidateOf, noResources } from "../../../src/controllers/scheduler/types.ts";
import type { MachineDecision } from "../../../src/controllers/virtual-machine/decide.ts";
import type { PlacedFacts, UnplacedFacts } from "../../../src/controllers/virtual-machine/observe.ts";
import type { Placement } from "../../../src/controllers/virtual-machine/reservations.ts";
import { resourcesOf, takenBy } from "../../../src/controllers/virtual-machine/size.ts";
import type { MachineStatus } from "../../../src/controllers/virtual-machine/status.ts";
import {
  allocationWith,
  flavorWith,
  guestOn,
  hypervisorWith,
  imageWith,
  keyPairWith,
  machineWith,
  numberedNetwork,
  readyCondition,
} from "./objects.ts";

/** A machine that could be placed on node-1 at once. */
export const unplacedFacts = (changes: Partial<UnplacedFacts> = {}): UnplacedFacts => ({
  kind: "unplaced",
  machine: machineWith(),
  image: imageWith(),
  imageReports: [],
  source: undefined,
  flavor: flavorWith(),
  cdroms: [],
  volumes: [],
  keyPairs: [{ name: "me", keyPair: keyPairWith() }],
  networks: [
    {
      name: "lan",
      network: numberedNetwork(),
      freeAddress: "10.0.0.2",
      macAddress: "02:00:00:00:00:01",
      allowedAddresses: [],
      takenAddresses: [],
    },
  ],
  allNetworks: [numberedNetwork()],
  securityGroups: [],
  nodes: [candidateOf(hypervisorWith(), noResources)],
  reserved: undefined,
  unreadableMachines: 0,
  seenForMs: 1000,
  ...changes,
});

/** A machine on node-1, which has given out nothing beside it. */
export const placedFacts = (
  machine: VirtualMachine,
  hypervisor: Hypervisor | undefined,
  changes: Partial<PlacedFacts> = {},
): PlacedFacts => ({
  kind: "placed",
  machine,
  nodeName: "node-1",
  hypervisor,
  isUnderstood: true,
  node: hypervisor && candidateOf(hypervisor, takenBy(machine)),
  image: imageWith(),
  flavor: flavorWith(),
  cdroms: [],
  volumes: [],
  securityGroups: [],
  reserved: undefined,
  migration: undefined,
  givenVolumes: [],
  nodes: [],
  unreadableMachines: 0,
  ...changes,
});

export const placement = (address = "10.0.0.2", nodeName = "node-1"): Placement => ({
  kind: "placement",
  nodeName,
  allocation: allocationWith(address),
  resources: resourcesOf(allocationWith(address).flavor),
  explanation: `Placed on ${nodeName}.`,
});

export const statusOf = ({ steps }: MachineDecision): MachineStatus => {
  for (const step of steps)
    if (step.kind === "apply-status" && "printableStatus" in step.status) return step.status;
  throw new Error(`no status is written: ${JSON.stringify(steps)}`);
};

/** The steps in short: "add-finalizer", "apply-status", "Warning NodeLost". */
export const stepsOf = ({ steps }: MachineDecision): readonly string[] =>
  steps.map((step) =>
    step.kind === "announce" ? `${step.announcement.type} ${step.announcement.reason}` : step.kind,
  );

/** Conditions in short, in order: "Ready=False Unschedulable". */
export const conditionsOf = (decision: MachineDecision): readonly string[] =>
  statusOf(decision).conditions.map(({ type, status, reason }) => `${type}=${status} ${reason}`);

export const LEAVING = { deletionTimestamp: "2026-02-03T04:00:00Z" };

/** What the agent says of a machine that runs. */
export const agentsWords = (ready = readyCondition("True", "Running")) => ({
  guest: guestOn(),
  printableStatus: "Running" as const,
  observedGeneration: 1,
  conditions: [ready],
});

/** Conditions that stay when an apply of the controller's leaves them out. */
const agentsConditions = new Set(["Ready", "Stalled", "Reconciling", "StorageReady", "Released"]);

/** The machine after the decision was carried out. */
export const carriedOut = (
  machine: VirtualMachine,
  { steps }: Pick<MachineDecision, "steps">,
): VirtualMachine => {
  let { metadata, status } = machine;
  for (const step of steps) {
    if (step.kind === "add-finalizer")
      metadata = { ...metadata, finalizers: [...(metadata.finalizers ?? []), GUEST_FINALIZER] };
    if (step.kind === "remove-finalizer") metadata = { ...metadata, finalizers: [] };
    if (step.kind === "apply-status") {
      const said = new Set(step.status.conditions.map(({ type }) => type));
      const kept = (status?.conditions ?? []).filter(
        ({ type }) => !said.has(type) && agentsConditions.has(type) && status?.guest !== undefined,
      );
      status = { ...status, ...step.status, conditions: [...step.status.conditions, ...kept] };
    }
  }
  return { ...machine, metadata, ...(status !== undefined && { status }) };
};

import { type Hypervisor, hypervisors } from "../../api/hypervisor.ts";
import { apiVersionOf } from "../../api/resource.ts";
import { virtualMachineMigrations } from "../../api/virtual-machine-migration.ts";
import { virtualMachines } from "../../api/virtual-machine.ts";
import { isNotFound, keyOf } from "../../kube/index.ts";
import type { ControllerContext } from "../context.ts";
import type { DrainStep } from "./decide.ts";
import { DRAIN_LABEL, drainLabelOf } from "./names.ts";

/** Who says Drained: another than who says Ready, so that neither takes the other's word away. */
const FIELD_MANAGER = "vireo-controller-drain";

type DrainEffects = Pick<ControllerContext, "client" | "stores" | "events">;

/** Carries one step out, and resolves when the store shows it. */
export const applyDrainStep = async (
  effects: DrainEffects,
  hypervisor: Hypervisor,
  step: DrainStep,
  signal: AbortSignal,
): Promise<void> => {
  switch (step.kind) {
    case "create":
      return create(effects, hypervisor, step, signal);
    case "delete": {
      const { uid, resourceVersion } = step.migration.metadata;
      const options = { signal, uid, resourceVersion };
      return effects.client.delete(virtualMachineMigrations, keyOf(step.migration), options);
    }
    case "say":
      return say(effects, hypervisor, step, signal);
  }
};

const create = async (
  { client, stores, events }: DrainEffects,
  hypervisor: Hypervisor,
  { machine, name }: Extract<DrainStep, { kind: "create" }>,
  signal: AbortSignal,
): Promise<void> => {
  const { namespace = "", uid } = machine.metadata;
  const owner = {
    apiVersion: apiVersionOf(virtualMachines),
    kind: virtualMachines.kind,
    name: machine.metadata.name,
    uid,
  };
  const body = {
    metadata: {
      name,
      namespace,
      labels: { [DRAIN_LABEL]: drainLabelOf(hypervisor.metadata.name) },
      ownerReferences: [owner],
    },
    spec: { virtualMachine: machine.metadata.name },
  };
  try {
    const made = await client.create(virtualMachineMigrations, body, { signal });
    await stores.virtualMachineMigrations.whenSeen(made.metadata.resourceVersion, signal);
    events.event(
      machine,
      "Normal",
      "Draining",
      `Moves away from node ${hypervisor.metadata.name}, which is being emptied.`,
    );
  } catch (error) {
    // The namespace is being deleted. One that exists by now is a conflict, upon which everything is looked at anew.
    if (!isNotFound(error)) throw error;
  }
};

const say = async (
  { client, stores }: DrainEffects,
  { metadata: { name, resourceVersion } }: Hypervisor,
  { conditions }: Extract<DrainStep, { kind: "say" }>,
  signal: AbortSignal,
): Promise<void> => {
  const body = { metadata: { name, resourceVersion }, status: conditions.length === 0 ? {} : { conditions } };
  try {
    const options = { fieldManager: FIELD_MANAGER, force: true, signal };
    const written = await client.applyStatus(hypervisors, body, options);
    await stores.hypervisors.whenSeen(written.metadata.resourceVersion, signal);
  } catch (error) {
    if (!isNotFound(error)) throw error;
  }
};

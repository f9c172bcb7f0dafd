import { virtualMachineMigrations } from "../../../../src/api/virtual-machine-migration.ts";
import { virtualMachineRestores } from "../../../../src/api/virtual-machine-restore.ts";
import { virtualMachineSnapshots } from "../../../../src/api/virtual-machine-snapshot.ts";
import { virtualMachines } from "../../../../src/api/virtual-machine.ts";
import { volumes } from "../../../../src/api/volume.ts";
import { waitFor } from "../../../testbed/wait.ts";
import { manifests } from "../manifests.ts";
import { conditionOf, isReady, NAMESPACE, type Stage, type WithConditions } from "../stage.ts";
import type { Operation } from "./plan.ts";

/** What became of an operation that may fail when somebody is killed: taking a snapshot, going back, moving. */
export interface Outcome {
  readonly succeeded: boolean;
  /** What its object says. */
  readonly said: string;
}

export const MACHINE = "main";
const PATIENCE = { timeoutMs: 180_000 } as const;
const DONE: Outcome = { succeeded: true, said: "done" };
const { signal } = new AbortController();

const outcomeOf = (object: WithConditions): Outcome => {
  const ready = conditionOf(object, "Ready");
  return { succeeded: isReady(object), said: `${ready?.reason}: ${ready?.message}` };
};

const isOver = (object: WithConditions): boolean =>
  isReady(object) || conditionOf(object, "Stalled")?.status === "True";

/** Carries an operation out and waits for its end. `name` is that of the object that it makes, if it makes one. */
export const perform = async (
  stage: Stage,
  operation: Operation,
  name: string,
  attached: readonly string[],
): Promise<Outcome> => {
  const haveVolumes = async (names: readonly string[]): Promise<Outcome> => {
    await stage.patchMachine(MACHINE, { volumes: names.map((volume) => ({ name: volume })) });
    return DONE;
  };
  switch (operation.kind) {
    case "snapshot":
      await stage.apply(
        manifests.snapshot(name, MACHINE, { includeMemory: operation.memory, quiesce: "Never" }),
      );
      return outcomeOf(await stage.until(virtualMachineSnapshots, name, isOver, PATIENCE));
    case "deleteSnapshot":
      await removeSnapshots(stage, operation.snapshot);
      return DONE;
    case "restore": {
      const spec = { virtualMachine: MACHINE, snapshot: operation.snapshot, powerState: "Running" };
      await stage.apply(manifests.restore(name, spec));
      return outcomeOf(await stage.until(virtualMachineRestores, name, isOver, PATIENCE));
    }
    case "attach":
      return haveVolumes([...attached, operation.volume]);
    case "detach":
      return haveVolumes(attached.filter((volume) => volume !== operation.volume));
    case "grow": {
      const key = { namespace: NAMESPACE, name: operation.volume };
      await stage.api.mergePatch(volumes, key, { spec: { size: `${operation.sizeMiB}Mi` } }, { signal });
      return DONE;
    }
    case "resize":
      await stage.patchMachine(MACHINE, { vcpus: operation.vcpus, memory: `${operation.memoryMiB}Mi` });
      return DONE;
    case "migrate":
      await stage.apply(manifests.migration(name, MACHINE, { targetNode: operation.targetNode }));
      return outcomeOf(await stage.until(virtualMachineMigrations, name, isOver, PATIENCE));
  }
};

/** Deletes snapshots and waits until what only they needed is merged and gone. */
export const removeSnapshots = async (stage: Stage, ...names: readonly string[]): Promise<void> => {
  for (const name of names) {
    await stage.api.delete(virtualMachineSnapshots, { namespace: NAMESPACE, name }, { signal });
  }
  for (const name of names) {
    await waitFor(
      `the end of snapshot ${name}`,
      async () => {
        const snapshot = await stage.read(virtualMachineSnapshots, name);
        if (snapshot !== undefined) throw new Error(JSON.stringify(snapshot.status));
        return true;
      },
      PATIENCE,
    );
  }
};

/** Asks for a restart, as kubectl vireo does. */
const askForRestart = ({ testbed }: Stage): Promise<string> => {
  const path = `/apis/subresources.vireo.dev/v1alpha1/namespaces/${NAMESPACE}/virtualmachines/${MACHINE}/restart`;
  return testbed.kubectl(["create", "--raw", path, "-f", "-"], { stdin: "{}" });
};

/**
 * Waits until a guest that was killed runs again. One that ends again and again
 * is started later each time, up to five minutes; its owner need not wait so long.
 */
export const untilStartedAgain = async (stage: Stage, isOn: () => boolean): Promise<void> => {
  let hasAsked = false;
  await waitFor(
    "the guest to be started again",
    async () => {
      if (isOn()) return true;
      const ready = conditionOf(await stage.machine(MACHINE), "Ready");
      if (ready?.reason === "CrashLoopBackOff" && !hasAsked) {
        await askForRestart(stage);
        hasAsked = true;
      }
      throw new Error(`${ready?.reason}: ${ready?.message}`);
    },
    PATIENCE,
  );
};

/** Waits until the machine is as declared: it runs, with these volumes, which have these sizes. */
export const untilSettled = async (
  stage: Stage,
  wanted: readonly { readonly name: string; readonly sizeMiB: number; readonly attached: boolean }[],
): Promise<void> => {
  const names = wanted.filter(({ attached }) => attached).map(({ name }) => name);
  await stage.until(
    virtualMachines,
    MACHINE,
    (machine) => {
      const { guest, observedGeneration, allocation } = machine.status ?? {};
      const given = new Set(
        (guest?.volumes ?? []).filter(({ state }) => state === "Attached").map(({ name }) => name),
      );
      return (
        isReady(machine) &&
        observedGeneration === machine.metadata.generation &&
        guest?.powerState === "Running" &&
        guest.volumes?.length === (names.length === 0 ? undefined : names.length) &&
        (allocation?.volumes ?? []).length === names.length &&
        names.every((name) => given.has(name))
      );
    },
    PATIENCE,
  );
  for (const { name, sizeMiB } of wanted) {
    await stage.until(
      volumes,
      name,
      (volume) => isReady(volume) && volume.status?.sizeMiB === sizeMiB,
      PATIENCE,
    );
  }
};

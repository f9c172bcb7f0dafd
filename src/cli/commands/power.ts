import { runStrategies, virtualMachines, type VirtualMachine } from "../../api/virtual-machine.ts";
import type { Found } from "../cluster.ts";
import {
  dryRunFlag,
  machinesArgument,
  outputFlag,
  waitFlags,
  type Command,
  type Flag,
  type Invocation,
} from "../command.ts";
import { done, judgeReady, waiting, type Judge } from "../judge.ts";
import { awaitObject, changeMachine, machineName, report, requireMachine } from "../machines.ts";
import { readMachineName } from "../names.ts";
import type { Session } from "../session.ts";

const flags: readonly Flag[] = [dryRunFlag, ...waitFlags, outputFlag];

/** What a command does with each of the machines that it names. */
interface MachineAction {
  /** Resolves with the machine as it is after the request. */
  readonly act: (found: Found<VirtualMachine>) => Promise<Found<VirtualMachine>>;
  readonly judge: (before: VirtualMachine) => Judge<VirtualMachine>;
  /** "is started" */
  readonly done: string;
  /** "is to be started" */
  readonly asked: string;
}

/** Everything is asked for first and awaited then, so that machines do not wait for each other. */
const forEachMachine = async (
  session: Session,
  invocation: Invocation,
  action: MachineAction,
): Promise<undefined> => {
  const names = [...new Set(invocation.words("VM").map(readMachineName))];
  const before: Found<VirtualMachine>[] = [];
  for (const name of names) before.push(await requireMachine(session, name));
  const asked: Found<VirtualMachine>[] = [];
  for (const found of before) asked.push(await action.act(found));
  const results = await Promise.all(
    asked.map((found, index) =>
      awaitObject(session, invocation, {
        resource: virtualMachines,
        found,
        judge: action.judge(before[index]?.object ?? found.object),
      }),
    ),
  );
  const waits = invocation.isOn("wait") && !invocation.isOn("dry-run");
  await report(
    session,
    invocation,
    results.map(({ raw, object }) => ({
      raw,
      sentence: `${machineName(object)} ${waits ? action.done : action.asked}`,
    })),
  );
};

const setRunStrategy =
  (session: Session, invocation: Invocation, runStrategy: string): MachineAction["act"] =>
  async (found) => {
    // Writing what is there already would change nothing but who owns the field.
    if (found.object.spec.runStrategy === runStrategy) {
      session.say.progress(`${machineName(found.object)} has runStrategy ${runStrategy} already`);
      return found;
    }
    return changeMachine(session, invocation, {
      found,
      patch: { spec: { runStrategy } },
      changes: [{ path: "spec.runStrategy", value: runStrategy }],
    });
  };

export const start: Command = {
  name: "start",
  summary: "Starts machines that are halted",
  description: [
    "Sets spec.runStrategy, as a manifest would. A machine that is not Halted keeps its strategy, unless --run-strategy says otherwise; one that has ended by itself is started again by restart.",
  ],
  arguments: [machinesArgument],
  flags: [
    {
      name: "run-strategy",
      kind: "text",
      placeholder: "STRATEGY",
      choices: runStrategies.filter((strategy) => strategy !== "Halted"),
      description: "Always (default of a machine that was Halted), RerunOnFailure or Once",
    },
    ...flags,
  ],
  examples: [
    { comment: "and wait until it is ready", command: "kubectl vireo start web" },
    { comment: "not again when it ends", command: "kubectl vireo start build --run-strategy Once --no-wait" },
  ],
  run: (invocation, session) =>
    forEachMachine(session, invocation, {
      act: (found) => {
        const { runStrategy: present } = found.object.spec;
        const wanted = invocation.text("run-strategy") ?? (present === "Halted" ? "Always" : present);
        return setRunStrategy(session, invocation, wanted)(found);
      },
      judge: () => judgeReady,
      done: "is started",
      asked: "is to be started",
    }),
};

export const stop: Command = {
  name: "stop",
  summary: "Shuts machines down, and keeps them off",
  description: [
    "Sets spec.runStrategy to Halted, as a manifest would: the guest's power button is pressed, and its power is cut after spec.terminationGracePeriodSeconds. The machine keeps its disks and addresses.",
  ],
  arguments: [machinesArgument],
  flags,
  examples: [{ comment: "two at once", command: "kubectl vireo stop web-0 web-1" }],
  run: (invocation, session) =>
    forEachMachine(session, invocation, {
      act: setRunStrategy(session, invocation, "Halted"),
      judge: () => judgeReady,
      done: "is stopped",
      asked: "is to be stopped",
    }),
};

/** The guest has been switched on since, and what was asked of it is done. */
export const judgeRestarted =
  (before: VirtualMachine): Judge<VirtualMachine> =>
  (machine) => {
    const { guest } = machine.status ?? {};
    if (guest?.startedAt === undefined || guest.startedAt === before.status?.guest?.startedAt)
      return waiting(guest?.restartRequestedAt === undefined ? "waiting for the restart" : "shutting down");
    if (guest.restartRequestedAt !== undefined) return waiting("starting");
    return judgeReady(machine);
  };

const judgePowerState =
  (wanted: string): Judge<VirtualMachine> =>
  ({ status }) => {
    const state = status?.guest?.powerState ?? "not started";
    return state === wanted ? done(state) : waiting(`the guest is ${state}, and is to be ${wanted}`);
  };

/** A request to the machine's node, which no manifest can make; there is nothing to try it out with. */
const ask =
  (
    session: Session,
    invocation: Invocation,
    subresource: "restart" | "pause" | "unpause",
  ): MachineAction["act"] =>
  async (found) => {
    const { name } = found.object.metadata;
    const cluster = await session.cluster();
    if (!invocation.isOn("dry-run")) await cluster.post(name, subresource, session.signal);
    return found;
  };

const requestDryRun: Flag = {
  ...dryRunFlag,
  description: "look whether the machine is there, and ask nothing of it",
};

export const restart: Command = {
  name: "restart",
  summary: "Shuts guests down and starts them again",
  description: [
    "The guest's power button is pressed, its power is cut after spec.terminationGracePeriodSeconds, and it is started again whatever its runStrategy. What waits for a restart (condition RestartRequired) is applied. Nothing in spec changes.",
  ],
  arguments: [machinesArgument],
  flags: [requestDryRun, ...waitFlags, outputFlag],
  examples: [{ comment: "and wait until it is ready again", command: "kubectl vireo restart web" }],
  run: (invocation, session) =>
    forEachMachine(session, invocation, {
      act: ask(session, invocation, "restart"),
      judge: judgeRestarted,
      done: "is started again",
      asked: "is to be started again",
    }),
};

export const pause: Command = {
  name: "pause",
  summary: "Holds guests still, with their memory as it is",
  description: ["The guest's processors stop until unpause. Nothing in spec changes."],
  arguments: [machinesArgument],
  flags: [requestDryRun, ...waitFlags, outputFlag],
  examples: [{ comment: "hold it", command: "kubectl vireo pause web" }],
  run: (invocation, session) =>
    forEachMachine(session, invocation, {
      act: ask(session, invocation, "pause"),
      judge: () => judgePowerState("Paused"),
      done: "is paused",
      asked: "is to be paused",
    }),
};

export const unpause: Command = {
  name: "unpause",
  summary: "Lets paused guests go on",
  description: ["The guest goes on where pause, or a restore with power state Paused, has left it."],
  arguments: [machinesArgument],
  flags: [requestDryRun, ...waitFlags, outputFlag],
  examples: [{ comment: "let it go on", command: "kubectl vireo unpause web" }],
  run: (invocation, session) =>
    forEachMachine(session, invocation, {
      act: ask(session, invocation, "unpause"),
      judge: () => judgePowerState("Running"),
      done: "goes on",
      asked: "is to go on",
    }),
};

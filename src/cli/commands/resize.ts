import { findCondition } from "../../api/condition.ts";
import { virtualMachines, type VirtualMachine } from "../../api/virtual-machine.ts";
import {
  dryRunFlag,
  machineArgument,
  outputFlag,
  waitFlags,
  type Command,
  type Invocation,
} from "../command.ts";
import { UsageError } from "../errors.ts";
import { failed, judgeReady, textOf, waiting, type Judge } from "../judge.ts";
import { sizeFlags } from "../machine-flags.ts";
import { sizeOf } from "../machine-spec.ts";
import { awaitObject, changeMachine, machineName, report, requireMachine } from "../machines.ts";
import { readMachineName } from "../names.ts";
import type { Session } from "../session.ts";

/** Stands for "no longer a value of its own". */
const OF_FLAVOR = "flavor";

/** Members of spec that are in place of the flavor's, by their flags. */
const overrides = {
  vcpus: "vcpus",
  "max-vcpus": "maxVcpus",
  memory: "memory",
  "max-memory": "maxMemory",
  disk: "disk",
} as const;

export const resize: Command = {
  name: "resize",
  summary: "Changes processors, memory and root disk",
  description: [
    "Changes spec, as a manifest would. More virtual CPUs and more memory, up to the machine's maxima, come while the guest runs, and so does a larger root disk; what needs a restart is listed then, and waits for one.",
    "A value of the machine's own is in place of the flavor's; --memory flavor gives it up again. A root disk never shrinks.",
  ],
  arguments: [machineArgument],
  flags: [...sizeFlags, dryRunFlag, ...waitFlags, outputFlag],
  examples: [
    { comment: "another flavor", command: "kubectl vireo resize web --flavor large" },
    { comment: "more memory than the flavor has", command: "kubectl vireo resize web --memory 6Gi" },
    { comment: "the flavor's memory again", command: "kubectl vireo resize web --memory flavor" },
  ],
  run: async (invocation, session) => {
    const spec = patchOf(invocation);
    if (Object.keys(spec).length === 0)
      throw new UsageError(
        "resize needs what to change: --flavor, --vcpus, --memory, --disk or one of the maxima",
      );
    const found = await requireMachine(session, readMachineName(invocation.word("VM")));
    sayWhatStays(session, found.object, spec);
    const changed = await changeMachine(session, invocation, {
      found,
      patch: { spec },
      changes: Object.entries(spec).map(([member, value]) => ({ path: `spec.${member}`, value })),
    });
    const resized = await awaitObject(session, invocation, {
      resource: virtualMachines,
      found: changed,
      judge: judgeResized,
    });
    sayWhatWaits(session, resized.object);
    const isOver = invocation.isOn("wait") && !invocation.isOn("dry-run");
    const sentence = `${machineName(resized.object)} ${isOver ? "is resized" : "is to be resized"}`;
    await report(session, invocation, [{ raw: resized.raw, sentence }]);
    return undefined;
  },
};

/** null takes a member away. */
const patchOf = (invocation: Invocation): Readonly<Record<string, unknown>> => {
  const isGivenUp = (flag: string): boolean => invocation.text(flag) === OF_FLAVOR;
  const given = sizeOf({
    ...invocation,
    text: (flag) => (isOverride(flag) && isGivenUp(flag) ? undefined : invocation.text(flag)),
  });
  const givenUp = Object.entries(overrides).filter(([flag]) => isGivenUp(flag));
  return { ...given, ...Object.fromEntries(givenUp.map(([, member]) => [member, null])) };
};

const isOverride = (flag: string): boolean => flag in overrides;

/** A new flavor changes nothing of what the machine has values of its own for. */
const sayWhatStays = (
  session: Session,
  { spec }: VirtualMachine,
  patch: Readonly<Record<string, unknown>>,
): void => {
  if (patch["flavor"] === undefined) return;
  for (const [flag, member] of Object.entries(overrides)) {
    const own = spec[member];
    if (own === undefined || member in patch) continue;
    session.say.warning(
      `spec.${member} stays ${own}, in place of the flavor's; --${flag} ${OF_FLAVOR} gives it up`,
    );
  }
};

/** There is no room on the node: that may change, but not soon enough to wait for it. */
const judgeResized: Judge<VirtualMachine> = (machine) => {
  const verdict = judgeReady(machine);
  if (machine.status?.observedGeneration !== machine.metadata.generation)
    return waiting("waiting to be noticed");
  const pending = findCondition(machine.status?.conditions, "ResizePending");
  return pending?.status === "True" ? failed(textOf(pending)) : verdict;
};

const sayWhatWaits = (session: Session, machine: VirtualMachine): void => {
  const { pendingChanges = [] } = machine.status ?? {};
  for (const { path, current, desired } of pendingChanges)
    session.say.warning(`${path} is ${current} until the next start, and ${desired} then`);
  if (pendingChanges.length > 0)
    session.say.progress(`"kubectl vireo restart ${machine.metadata.name}" applies it now`);
};

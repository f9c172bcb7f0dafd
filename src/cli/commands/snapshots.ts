import {
  quiescePolicies,
  virtualMachineSnapshots,
  type VirtualMachineSnapshot,
} from "../../api/virtual-machine-snapshot.ts";
import { restorePowerStates, virtualMachineRestores } from "../../api/virtual-machine-restore.ts";
import type { KubernetesObject } from "../../api/meta.ts";
import type { Resource } from "../../api/resource.ts";
import { nameOf, type Found } from "../cluster.ts";
import {
  dryRunFlag,
  machineArgument,
  outputFlag,
  waitFlags,
  type Command,
  type Invocation,
} from "../command.ts";
import { CommandFailedError } from "../errors.ts";
import { judgeReady, type Conditioned, type Judge } from "../judge.ts";
import { awaitObject, machineName, report, requireMachine, requireObject } from "../machines.ts";
import { readMachineName, readName, readObjectName } from "../names.ts";
import type { Session } from "../session.ts";

/** "web-20261123-081500": sorts by time, and says of what. */
export const stampedName = (base: string, now: number): string => {
  const stamp = new Date(now).toISOString().slice(0, 19).replaceAll(/[-:]/gu, "").replace("T", "-");
  return `${base.slice(0, 253 - stamp.length - 1).replace(/[^a-z0-9]+$/u, "")}-${stamp}`;
};

/** Makes a one-shot object and follows it. */
export const requestAndWait = async <T extends KubernetesObject & Conditioned>(
  session: Session,
  invocation: Invocation,
  resource: Resource<T>,
  body: { readonly metadata: { readonly name: string }; readonly spec: object },
  judge: Judge<T> = judgeReady,
): Promise<Found<T>> => {
  const cluster = await session.cluster();
  const { signal } = session;
  const raw = await cluster.create(resource, body, { dryRun: invocation.isOn("dry-run"), signal });
  session.say.progress(`${nameOf(resource, cluster.namespace, body.metadata.name)} was asked for`);
  return awaitObject(session, invocation, {
    resource,
    found: { raw, object: resource.parse(raw) },
    judge,
  });
};

export const snapshot: Command = {
  name: "snapshot",
  summary: "Takes a snapshot of a machine's disks",
  description: [
    "Creates a VirtualMachineSnapshot, as a manifest would: all disks of the machine at one moment, with --memory also the guest's memory.",
  ],
  arguments: [
    machineArgument,
    {
      name: "NAME",
      description: "name of the snapshot; default: the machine's name and the time",
      count: "optional",
    },
  ],
  flags: [
    { name: "memory", kind: "switch", description: "keep the memory of the running guest, too" },
    {
      name: "quiesce",
      kind: "text",
      placeholder: "POLICY",
      choices: quiescePolicies,
      description:
        "whether the guest agent freezes the file systems: IfPossible (default), Required or Never",
    },
    dryRunFlag,
    ...waitFlags,
    outputFlag,
  ],
  examples: [{ comment: "before an upgrade", command: "kubectl vireo snapshot web before-upgrade" }],
  run: async (invocation, session) => {
    const machine = await requireMachine(session, readMachineName(invocation.word("VM")));
    const { name: machineName_ } = machine.object.metadata;
    const [given] = invocation.words("NAME");
    const name =
      given === undefined ? stampedName(machineName_, session.clock.now()) : readName("NAME", given);
    const quiesce = invocation.text("quiesce");
    const taken = await requestAndWait(session, invocation, virtualMachineSnapshots, {
      metadata: { name },
      spec: {
        virtualMachine: machineName_,
        ...(invocation.isOn("memory") && { includeMemory: true }),
        ...(quiesce !== undefined && { quiesce }),
      },
    });
    const sentence = `VirtualMachineSnapshot ${name} of ${machineName(machine.object)} ${howTaken(taken.object)}`;
    await report(session, invocation, [{ raw: taken.raw, sentence }]);
    return undefined;
  },
};

const howTaken = ({ status }: VirtualMachineSnapshot): string => {
  if (status?.consistency === undefined) return "is to be taken";
  return `is taken (${status.consistency}${status.memory === true ? ", with memory" : ""})`;
};

export const restore: Command = {
  name: "restore",
  summary: "Puts a machine back to a snapshot",
  description: [
    "Creates a VirtualMachineRestore, as a manifest would. The machine keeps its name, addresses and spec; what was written to its disks since the snapshot is lost. A restore that fails leaves the machine as it was.",
  ],
  arguments: [
    machineArgument,
    {
      name: "SNAPSHOT",
      description: "name of a VirtualMachineSnapshot of this machine",
      completes: "snapshot",
    },
  ],
  flags: [
    {
      name: "power-state",
      kind: "text",
      placeholder: "STATE",
      choices: restorePowerStates,
      description: "what the machine does afterwards; default: Halted when its runStrategy is, else Running",
    },
    dryRunFlag,
    ...waitFlags,
    outputFlag,
  ],
  examples: [{ comment: "as if nothing had happened", command: "kubectl vireo restore web before-upgrade" }],
  run: async (invocation, session) => {
    const machine = await requireMachine(session, readMachineName(invocation.word("VM")));
    const { name: snapshotName } = readObjectName("SNAPSHOT", qualified(invocation.word("SNAPSHOT")), [
      "snapshot",
    ]);
    const source = await requireObject(session, virtualMachineSnapshots, snapshotName);
    refuseForeign(machine.object.metadata, source.object);
    const halted = machine.object.spec.runStrategy === "Halted";
    const powerState = invocation.text("power-state") ?? (halted ? "Halted" : "Running");
    const virtualMachine = machine.object.metadata.name;
    const restored = await requestAndWait(session, invocation, virtualMachineRestores, {
      metadata: { name: stampedName(virtualMachine, session.clock.now()) },
      spec: { virtualMachine, snapshot: snapshotName, powerState },
    });
    const isOver = restored.object.status?.phase === "Succeeded";
    const sentence = `${machineName(machine.object)} ${isOver ? "is" : "is to be"} put back to VirtualMachineSnapshot ${snapshotName}`;
    await report(session, invocation, [{ raw: restored.raw, sentence }]);
    return undefined;
  },
};

const qualified = (text: string): string => (text.includes("/") ? text : `snapshot/${text}`);

/** The controller refuses it as well, but later. */
const refuseForeign = (
  { name, uid }: { readonly name: string; readonly uid: string },
  { metadata, spec, status }: VirtualMachineSnapshot,
): void => {
  if (spec.virtualMachine !== name)
    throw new CommandFailedError(
      `VirtualMachineSnapshot ${metadata.name} is one of ${spec.virtualMachine}, not of ${name}; "kubectl vireo clone snapshot/${metadata.name} NAME" makes a new machine of it`,
    );
  if (status?.machineUid !== undefined && status.machineUid !== uid)
    throw new CommandFailedError(
      `VirtualMachineSnapshot ${metadata.name} is one of an earlier machine named ${name}; "kubectl vireo clone snapshot/${metadata.name} NAME" makes a new machine of it`,
    );
};

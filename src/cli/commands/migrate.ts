import {
  virtualMachineMigrations,
  type VirtualMachineMigration,
} from "../../api/virtual-machine-migration.ts";
import { dryRunFlag, machineArgument, outputFlag, waitFlags, type Command } from "../command.ts";
import { failed, judgeReady, waiting, type Judge } from "../judge.ts";
import { wholeNumber } from "../machine-spec.ts";
import { machineName, report, requireMachine } from "../machines.ts";
import { readMachineName, readName } from "../names.ts";
import { requestAndWait, stampedName } from "./snapshots.ts";

/** As judgeReady, with what is told of the progress. */
export const judgeMigrated: Judge<VirtualMachineMigration> = (migration) => {
  const { phase, progress } = migration.status ?? {};
  const verdict = judgeReady(migration);
  if (phase === "Cancelled" && verdict.kind !== "failed")
    return failed("it was cancelled; the machine is where it was");
  if (verdict.kind !== "waiting" || phase === undefined) return verdict;
  return progress === undefined
    ? waiting(`${phase}: ${verdict.message}`)
    : waiting(`${phase}: ${progress.percent} %, ${progress.remainingMiB} MiB left`);
};

export const migrate: Command = {
  name: "migrate",
  summary: "Moves a machine to another node",
  description: [
    "Creates a VirtualMachineMigration, as a manifest would: a running guest goes on while its memory and local disks are copied, one that is off has its disks moved. Addresses, security groups, floating IPs and open connections stay.",
    "Deleting the VirtualMachineMigration cancels it; the machine then stays where it is.",
  ],
  arguments: [machineArgument],
  flags: [
    {
      name: "node",
      kind: "text",
      placeholder: "NAME",
      description: "the node to move to; default: the scheduler chooses one",
      completes: "node",
    },
    {
      name: "bandwidth",
      kind: "text",
      placeholder: "MIB",
      description: "most MiB that are sent in a second",
    },
    {
      name: "max-downtime",
      kind: "text",
      placeholder: "MILLISECONDS",
      description: "how long the guest may stand still at the end; default 300",
    },
    {
      name: "auto-converge",
      kind: "switch",
      on: true,
      description: "slow a guest down that writes its memory faster than it can be sent",
    },
    dryRunFlag,
    ...waitFlags,
    outputFlag,
  ],
  examples: [
    { comment: "to wherever there is room", command: "kubectl vireo migrate web" },
    {
      comment: "to this node, and see it through",
      command: "kubectl vireo migrate web --node node-2 --timeout 1h",
    },
  ],
  run: async (invocation, session) => {
    const { object } = await requireMachine(session, readMachineName(invocation.word("VM")));
    const { name } = object.metadata;
    const node = invocation.text("node");
    const bandwidthMiBps = wholeNumber("bandwidth", invocation.text("bandwidth"));
    const maxDowntimeMilliseconds = wholeNumber("max-downtime", invocation.text("max-downtime"));
    const body = {
      metadata: { name: stampedName(name, session.clock.now()) },
      spec: {
        virtualMachine: name,
        ...(node !== undefined && { targetNode: readName("--node", node) }),
        ...(bandwidthMiBps !== undefined && { bandwidthMiBps }),
        ...(maxDowntimeMilliseconds !== undefined && { maxDowntimeMilliseconds }),
        ...(!invocation.isOn("auto-converge") && { autoConverge: false }),
      },
    };
    const moved = await requestAndWait(session, invocation, virtualMachineMigrations, body, judgeMigrated);
    const sentence = `${machineName(object)} ${howMoved(moved.object)}`;
    await report(session, invocation, [{ raw: moved.raw, sentence }]);
    return undefined;
  },
};

const howMoved = ({ metadata, status }: VirtualMachineMigration): string => {
  if (status?.phase !== "Succeeded") return `is to be moved by VirtualMachineMigration ${metadata.name}`;
  const { targetNode = "another node", downtimeMilliseconds } = status;
  const pause = downtimeMilliseconds === undefined ? "" : `, and stood still for ${downtimeMilliseconds} ms`;
  return `is on ${targetNode}${pause}`;
};

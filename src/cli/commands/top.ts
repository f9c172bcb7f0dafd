import { hypervisors, type Hypervisor } from "../../api/hypervisor.ts";
import { virtualMachines, type VirtualMachine } from "../../api/virtual-machine.ts";
import { outputFlag, type Command } from "../command.ts";
import { formatOf, requireMachine } from "../machines.ts";
import { readMachineName } from "../names.ts";
import { render, table, write } from "../print.ts";
import type { Session } from "../session.ts";

/** A guest's processors and memory. */
export interface GuestLoad {
  readonly namespace: string;
  readonly name: string;
  readonly node: string | undefined;
  readonly state: string;
  /** What the guest has at this moment, as its node says; what it was granted when that says nothing. 0: it is off. */
  readonly vcpus: number;
  readonly memoryMiB: number;
  /** Share of the node's processors and memory for guests, in percent. */
  readonly cpuPercent: number | undefined;
  readonly memoryPercent: number | undefined;
}

/** A node's processors and memory, and what its guests have of them. */
export interface NodeLoad {
  readonly name: string;
  readonly guests: number;
  readonly cpus: number;
  readonly vcpus: number;
  readonly cpuPercent: number | undefined;
  readonly memoryMiB: number;
  readonly guestMemoryMiB: number;
  readonly memoryPercent: number | undefined;
}

const percent = (part: number, whole: number | undefined): number | undefined =>
  whole === undefined || whole === 0 ? undefined : Math.round((part / whole) * 100);

const isOn = (state: string): boolean => state === "Running" || state === "Paused";

export const guestLoad = (
  { metadata, status }: VirtualMachine,
  nodes: ReadonlyMap<string, Hypervisor>,
): GuestLoad => {
  const { guest, allocation, nodeName } = status ?? {};
  const state = guest?.powerState ?? "Pending";
  const vcpus = isOn(state) ? (guest?.vcpus ?? allocation?.flavor.vcpus ?? 0) : 0;
  const memoryMiB = isOn(state) ? (guest?.memoryMiB ?? allocation?.flavor.memoryMiB ?? 0) : 0;
  const capacity = nodeName === undefined ? undefined : nodes.get(nodeName)?.status?.capacity;
  return {
    namespace: metadata.namespace ?? "",
    name: metadata.name,
    node: nodeName,
    state,
    vcpus,
    memoryMiB,
    cpuPercent: percent(vcpus, capacity?.cpus),
    memoryPercent: percent(memoryMiB, capacity?.memoryMiB),
  };
};

export const nodeLoad = ({ metadata, status }: Hypervisor, guests: readonly GuestLoad[]): NodeLoad => {
  const here = guests.filter(({ node, state }) => node === metadata.name && isOn(state));
  const sum = (member: "vcpus" | "memoryMiB"): number =>
    here.reduce((total, guest) => total + guest[member], 0);
  const { cpus = 0, memoryMiB = 0 } = status?.capacity ?? {};
  return {
    name: metadata.name,
    guests: here.length,
    cpus,
    vcpus: sum("vcpus"),
    cpuPercent: percent(sum("vcpus"), cpus),
    memoryMiB,
    guestMemoryMiB: sum("memoryMiB"),
    memoryPercent: percent(sum("memoryMiB"), memoryMiB),
  };
};

export const top: Command = {
  name: "top",
  summary: "Shows the processors and memory that guests have",
  description: [
    "What each running guest has at this moment, plugged and unplugged parts included, and its share of its node. It is what guests were given, not how busy they are: that only the guest knows. The largest come first.",
  ],
  arguments: [
    {
      name: "VM",
      description: "names of VirtualMachines; default: all",
      count: "optional",
      completes: "machine",
    },
  ],
  flags: [
    { name: "all-namespaces", short: "A", kind: "switch", description: "the machines of all namespaces" },
    {
      name: "nodes",
      kind: "switch",
      description: "nodes instead, with the sum of their guests in all namespaces",
    },
    outputFlag,
  ],
  examples: [
    { comment: "where there is room", command: "kubectl vireo top --nodes" },
    { comment: "who has the memory", command: "kubectl vireo top -A" },
  ],
  run: async (invocation, session) => {
    const [name] = invocation.words("VM");
    const ofNodes = invocation.isOn("nodes");
    const nodes = await nodesByName(session, ofNodes);
    const machines =
      name === undefined
        ? await allMachines(session, ofNodes || invocation.isOn("all-namespaces"))
        : [(await requireMachine(session, readMachineName(name))).object];
    const guests = machines
      .map((machine) => guestLoad(machine, nodes))
      .toSorted((one, other) => other.memoryMiB - one.memoryMiB || other.vcpus - one.vcpus);
    const loads = ofNodes ? [...nodes.values()].map((node) => nodeLoad(node, guests)) : guests;
    const draw = (): string =>
      ofNodes
        ? nodeTable(loads as readonly NodeLoad[])
        : guestTable(guests, invocation.isOn("all-namespaces"));
    await write(session.host.stdout, render(formatOf(invocation), loads, draw));
    return undefined;
  },
};

const allMachines = async (session: Session, allNamespaces: boolean): Promise<readonly VirtualMachine[]> => {
  const cluster = await session.cluster();
  const { items } = await cluster.list(virtualMachines, { signal: session.signal, allNamespaces });
  return items.map(({ object }) => object);
};

/** Nodes are the cluster's: who works in one namespace may not see them, and sees no shares then. */
const nodesByName = async (session: Session, required: boolean): Promise<ReadonlyMap<string, Hypervisor>> => {
  const cluster = await session.cluster();
  try {
    const { items } = await cluster.list(hypervisors, { signal: session.signal });
    return new Map(items.map(({ object }) => [object.metadata.name, object]));
  } catch (error) {
    if (required || session.signal.aborted) throw error;
    return new Map();
  }
};

const share = (value: number | undefined): string => (value === undefined ? "-" : `${value}%`);

const guestTable = (guests: readonly GuestLoad[], withNamespace: boolean): string =>
  table(
    [...(withNamespace ? ["NAMESPACE"] : []), "NAME", "STATE", "NODE", "VCPUS", "CPU%", "MEMORY", "MEMORY%"],
    guests.map((guest) => [
      ...(withNamespace ? [guest.namespace] : []),
      guest.name,
      guest.state,
      guest.node ?? "-",
      String(guest.vcpus),
      share(guest.cpuPercent),
      `${guest.memoryMiB}Mi`,
      share(guest.memoryPercent),
    ]),
  );

const nodeTable = (nodes: readonly NodeLoad[]): string =>
  table(
    ["NODE", "GUESTS", "CPUS", "VCPUS", "CPU%", "MEMORY", "GUESTS' MEMORY", "MEMORY%"],
    nodes.map((node) => [
      node.name,
      String(node.guests),
      String(node.cpus),
      String(node.vcpus),
      share(node.cpuPercent),
      `${node.memoryMiB}Mi`,
      `${node.guestMemoryMiB}Mi`,
      share(node.memoryPercent),
    ]),
  );

import { readdir } from "node:fs/promises";
import { join } from "node:path";

import type { TestNode } from "./node.ts";
import { argumentsOf, processesInNamespaceOf } from "./process-table.ts";

/** Folders below /var/lib/vireo with one entry per machine. The image cache is meant to stay. */
const MACHINE_DIRECTORIES = ["disks", "seeds", "consoles", "migrations"];
/** Where libvirt keeps the boot variables of guests with UEFI, in a node's directory. */
const NVRAM_DIRECTORY = "lib-libvirt/qemu/nvram";
/** Devices that are there for some machine or its Network; `vireo-gw` stays. */
const DEVICE = /^(vtap|vvx)\w+/;
/** The addresses of all nodes: part of the frame. */
const NODES_SET = "vireo-nodes";
/** What our routes and rules say of their maker; see src/api/network-identity.ts. */
const OURS = / proto(col)? 86\b/;

const linesOf = (text: string): readonly string[] =>
  text
    .split("\n")
    .map((line) => line.trim())
    .filter((line) => line !== "");

const domains = async (node: TestNode): Promise<readonly string[]> =>
  linesOf(await node.virsh(["list", "--all", "--name"])).map((name) => `domain ${name}`);

const guestProcesses = (node: TestNode): readonly string[] =>
  processesInNamespaceOf(node.pid)
    .filter((entry) => entry.command.startsWith("qemu-system") && entry.state !== "Z")
    .map((entry) => {
      const args = argumentsOf(entry.pid);
      return `process ${args[args.indexOf("-name") + 1] ?? entry.command}`;
    });

/** `ip -o link`, whose lines are "INDEX: NAME[@PEER]: …". */
const devices = async (node: TestNode): Promise<readonly string[]> =>
  linesOf(await node.run(["ip", "-o", "link", "show"])).flatMap((line) => {
    const [, name = ""] = /^\d+: ([^:@]+)/.exec(line) ?? [];
    return DEVICE.test(name) ? [`device ${name}`] : [];
  });

const routes = async (node: TestNode): Promise<readonly string[]> => [
  ...linesOf(await node.run(["ip", "-o", "-N", "route", "show", "table", "all"]))
    .filter((line) => OURS.test(line) || / dev (vtap|vvx)/.test(line))
    .map((line) => `route ${line}`),
  ...linesOf(await node.run(["ip", "-o", "-N", "rule", "show"]))
    .filter((line) => OURS.test(line))
    .map((line) => `rule ${line}`),
  ...linesOf(await node.run(["ip", "-o", "neighbour", "show"]))
    .filter((line) => / dev (vtap|vvx)/.test(line))
    .map((line) => `neighbour ${line}`),
];

/**
 * What there is in iptables for a machine, a Network, a group or a floating
 * address. The frame that every node has names none of them: neither their
 * chains (VIREO-NET-1, but not VIREO-FORWARD), nor their marks.
 */
const OF_SOMEBODY =
  /VIREO-[A-Z]+-|VIREOFIP|vtap[0-9a-f]|devgroup|0x5[67][0-9a-f]*[1-9a-f][0-9a-f]*|match-set vireo-(?!nodes)/;

/** Rules and chains of all tables. */
const rules = async (node: TestNode): Promise<readonly string[]> =>
  linesOf(await node.run(["iptables-save"]))
    .filter((line) => OF_SOMEBODY.test(line))
    .map((line) => `iptables ${line.replace(/\[\d+:\d+\]/, "").trim()}`);

const sets = async (node: TestNode): Promise<readonly string[]> =>
  linesOf(await node.run(["ipset", "list", "-name"]))
    .filter((name) => name !== NODES_SET)
    .map((name) => `ipset ${name}`);

/** Connections that were begun by a guest: their mark is that of its Network. */
const connections = async (node: TestNode): Promise<readonly string[]> =>
  linesOf(await node.run(["conntrack", "-L"])).flatMap((line) => {
    const [, mark = "0"] = / mark=(\d+)/.exec(line) ?? [];
    return Number(mark) >>> 24 === 0x56 ? [`connection ${line}`] : [];
  });

const entriesOf = (directory: string): Promise<readonly string[]> =>
  readdir(directory).catch((error: NodeJS.ErrnoException) => {
    // Made with its first entry.
    if (error.code === "ENOENT") return [];
    throw error;
  });

const files = async (node: TestNode): Promise<readonly string[]> => {
  const found = (await entriesOf(join(node.directory, NVRAM_DIRECTORY))).map((name) => `file nvram/${name}`);
  for (const directory of MACHINE_DIRECTORIES) {
    const entries = await entriesOf(join(node.stateDirectory, directory));
    found.push(...entries.map((name) => `file ${directory}/${name}`));
  }
  return found;
};

/**
 * All that a node holds for virtual machines, one sentence each, sorted:
 * domains, QEMU processes, taps, routes, rules, sets, files. A test takes it
 * before and after, and expects the same.
 */
export const leftovers = async (node: TestNode): Promise<readonly string[]> => {
  const parts = [
    await domains(node),
    guestProcesses(node),
    await devices(node),
    await routes(node),
    await rules(node),
    await sets(node),
    await connections(node),
    await files(node),
  ];
  return parts.flat().sort();
};

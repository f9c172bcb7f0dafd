import type { KubernetesObject } from "../../api/meta.ts";
import type { Resource } from "../../api/resource.ts";
import { flavors } from "../../api/flavor.ts";
import { hypervisors } from "../../api/hypervisor.ts";
import { images } from "../../api/image.ts";
import { keyPairs } from "../../api/key-pair.ts";
import { networks } from "../../api/network.ts";
import { securityGroups } from "../../api/security-group.ts";
import { virtualMachineSnapshots } from "../../api/virtual-machine-snapshot.ts";
import { virtualMachines } from "../../api/virtual-machine.ts";
import { volumes } from "../../api/volume.ts";
import { loadKubeConfig, namespaces } from "../../kube/index.ts";
import type { Command, Completer } from "../command.ts";
import type { MakeSession } from "../program.ts";
import { write } from "../print.ts";
import { whatIsNext, type Next } from "./next.ts";

/** The hidden command that shells ask: its arguments are the words of the line, the last one being typed. */
export const COMPLETE = "__complete";

/** What the shell does with the answer, as Cobra's programs say it to kubectl. */
const NO_FILES = 4;
const FILES = 0;

/** A shell waits for the answer with the prompt frozen. */
const PATIENCE_MS = 3_000;

const kinds: Readonly<Record<Exclude<Completer, "context" | "file" | "disk">, Resource>> = {
  machine: virtualMachines,
  snapshot: virtualMachineSnapshots,
  node: hypervisors,
  flavor: flavors,
  image: images,
  "key-pair": keyPairs,
  network: networks,
  "security-group": securityGroups,
  volume: volumes,
  namespace: namespaces,
};

/**
 * Prints one candidate a line, with its description after a tab, and then ":4",
 * or ":0" where files fit: the protocol by which kubectl asks its plugins too.
 * Whatever goes wrong, there are just no candidates: nothing may disturb a prompt.
 */
export const completeHidden = async (
  commands: readonly Command[],
  words: readonly string[],
  makeSession: MakeSession,
): Promise<number> => {
  const next = whatIsNext(commands, words);
  const { session, close } = makeSession({ text: (flag) => next.globals.get(flag) });
  const signal = AbortSignal.any([session.signal, AbortSignal.timeout(PATIENCE_MS)]);
  const lines = await candidates(next, { ...session, signal }).catch(() => []);
  const fitting = lines.filter(({ value }) => value.startsWith(next.typed));
  const text = fitting.map(
    ({ value, description }) => `${value}${description === undefined ? "" : `\t${description}`}\n`,
  );
  await write(session.host.stdout, `${text.join("")}:${next.completes === "file" ? FILES : NO_FILES}\n`);
  await close();
  return 0;
};

interface Candidate {
  readonly value: string;
  readonly description?: string | undefined;
}

type CompletionSession = ReturnType<MakeSession>["session"];

const candidates = async (next: Next, session: CompletionSession): Promise<readonly Candidate[]> => {
  const { completes, prefix } = next;
  if (completes === undefined || completes === "file") return next.candidates;
  const names = await namesOf(completes, next, session);
  return [...next.candidates, ...names.map((value) => ({ value: `${prefix}${value}` }))];
};

const namesOf = async (
  completer: Exclude<Completer, "file">,
  next: Next,
  session: CompletionSession,
): Promise<readonly string[]> => {
  if (completer === "context") {
    const kubeConfig = loadKubeConfig({ kubeconfig: next.globals.get("kubeconfig") });
    return kubeConfig.getContexts().map(({ name }) => name);
  }
  if (completer !== "disk") return namesOfKind(kinds[completer], session);
  const prefixes: readonly (readonly [string, Resource])[] = [
    ["vm/", virtualMachines],
    ["snapshot/", virtualMachineSnapshots],
    ["volume/", volumes],
  ];
  const lists = prefixes.map(async ([prefix, kind]) =>
    (await namesOfKind(kind, session).catch(() => [])).map((name) => prefix + name),
  );
  return (await Promise.all(lists)).flat();
};

/** Names only: an object that this program cannot read has one, too. */
const namesOfKind = async (kind: Resource, session: CompletionSession): Promise<readonly string[]> => {
  const cluster = await session.cluster();
  const named: Resource = { ...kind, parse: (raw) => raw as KubernetesObject };
  const { items } = await cluster.list(named, { signal: session.signal });
  return items.map(({ object }) => object.metadata.name);
};

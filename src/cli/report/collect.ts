import { createHash } from "node:crypto";
import type { Resource } from "../../api/resource.ts";
import { virtualMachines, type VirtualMachine } from "../../api/virtual-machine.ts";
import type { Found } from "../cluster.ts";
import { eventsOf } from "../commands/events.ts";
import { eventTable } from "../event-list.ts";
import { json, yaml } from "../print.ts";
import { namedBy, namingIt, type Reference } from "../related.ts";
import type { Session } from "../session.ts";
import { redactObject } from "./redact.ts";
import type { ArchiveFile } from "./tar.ts";

export interface CollectOptions {
  /** Whether the console log is part of it. */
  readonly console: boolean;
}

/** What a bundle has. */
export interface Bundle {
  readonly files: readonly ArchiveFile[];
  /** What could not be had, and why. */
  readonly missing: readonly string[];
}

/** Longest path that an archive takes, in bytes. */
const MAX_PATH = 100;

/** Files that are collected together, and lost together when they may not be read. */
interface Part {
  readonly what: string;
  readonly files: () => Promise<readonly ArchiveFile[]>;
}

/**
 * Everything about one machine that helps to find out what is wrong with it.
 * What may not be read is noted, and the rest collected all the same. Secrets
 * are not asked for.
 */
export const collect = async (
  session: Session,
  machine: Found<VirtualMachine>,
  options: CollectOptions,
): Promise<Bundle> => {
  const files: ArchiveFile[] = [];
  const missing: string[] = [];
  const miss = (what: string, error: unknown): void => {
    if (session.signal.aborted) throw error;
    missing.push(`${what}: ${error instanceof Error ? error.message : String(error)}`);
  };
  const parts = [
    ...objectParts(session, machine),
    namingPart(session, machine, miss),
    eventPart(session, machine),
  ];
  for (const part of options.console ? [...parts, consolePart(session, machine)] : parts) {
    try {
      files.push(...(await part.files()));
    } catch (error) {
      miss(part.what, error);
    }
  }
  files.push(await aboutFile(session, missing));
  return { files, missing };
};

/** The machine, and each of the objects that it names. */
const objectParts = (session: Session, { raw, object }: Found<VirtualMachine>): readonly Part[] => [
  {
    what: "the machine",
    files: async () => [objectFile(virtualMachines, object.metadata.name, raw)],
  },
  ...namedBy(object).map((reference) => ({
    what: `${reference.resource.kind} ${reference.name}`,
    files: async () => [
      objectFile(reference.resource, reference.name, await readReference(session, reference)),
    ],
  })),
];

const namingPart = (
  session: Session,
  { object }: Found<VirtualMachine>,
  miss: (what: string, error: unknown) => void,
): Part => ({
  what: "objects that name the machine",
  files: async () => {
    const found = await namingIt(session, object.metadata.name, ({ plural }, error) => miss(plural, error));
    return found.map(({ resource, raw, object: { metadata } }) => objectFile(resource, metadata.name, raw));
  },
});

const eventPart = (session: Session, { object }: Found<VirtualMachine>): Part => ({
  what: "events",
  files: async () => {
    const { events } = await eventsOf(session, object);
    const text = eventTable(
      events.map((event) => event.object),
      session.clock.now(),
    );
    return [
      textFile("events.txt", text),
      textFile("events.json", json(events.map(({ raw }) => redactObject(raw)))),
    ];
  },
});

const consolePart = (session: Session, { object }: Found<VirtualMachine>): Part => ({
  what: "console log",
  files: async () => {
    const cluster = await session.cluster();
    return [
      { path: "console.log", content: await cluster.read(object.metadata.name, "log", session.signal) },
    ];
  },
});

const textFile = (path: string, text: string): ArchiveFile => ({ path, content: Buffer.from(text) });

const objectFile = (resource: Resource, name: string, raw: Readonly<Record<string, unknown>>): ArchiveFile =>
  textFile(objectPathOf(resource, name), yaml(redactObject(raw)));

/** A name that is too long for an archive is cut, and its digest tells it from others. */
const objectPathOf = ({ kind }: Resource, name: string): string => {
  const path = `objects/${kind}-${name}.yaml`;
  if (path.length <= MAX_PATH) return path;
  const ending = `-${createHash("sha256").update(name).digest("hex").slice(0, 12)}.yaml`;
  return path.slice(0, MAX_PATH - ending.length) + ending;
};

const aboutFile = async (session: Session, missing: readonly string[]): Promise<ArchiveFile> => {
  const { client } = await session.cluster();
  const about = {
    program: `kubectl-vireo ${session.version}`,
    server: client.server.origin,
    at: new Date(session.clock.now()).toISOString(),
    missing,
  };
  return textFile("about.json", json(about));
};

const readReference = async (
  session: Session,
  { resource, name, namespace }: Reference,
): Promise<Readonly<Record<string, unknown>>> => {
  const cluster = await session.cluster();
  const found = await cluster.get(resource, name, session.signal, namespace);
  if (found === undefined) throw new Error("there is none");
  return found.raw;
};

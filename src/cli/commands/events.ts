import { virtualMachines, type VirtualMachine } from "../../api/virtual-machine.ts";
import { volumes } from "../../api/volume.ts";
import { backoffDelay, collectionPath, sleep, withQuery } from "../../kube/index.ts";
import { machineArgument, outputFlag, type Command, type Invocation } from "../command.ts";
import { isFinal } from "../explain.ts";
import { eventTable, shownEvents, type ShownEvent } from "../event-list.ts";
import { formatOf, requireMachine } from "../machines.ts";
import { readMachineName } from "../names.ts";
import { render, withoutManagedFields, write } from "../print.ts";
import { namingIt, volumeNames } from "../related.ts";
import type { Session } from "../session.ts";
import type { Found } from "../cluster.ts";

const WATCH_SECONDS = 300;
const IDLE_MS = 120_000;
const BACKOFF = { initialMs: 250, maxMs: 5_000 };

export const eventsCommand: Command = {
  name: "events",
  summary: "Lists what happened to a machine and what belongs to it",
  description: [
    "Events of the machine, its volumes, snapshots, restores, migrations and floating addresses; the newest last. The cluster forgets them after an hour or so.",
  ],
  arguments: [machineArgument],
  flags: [
    { name: "watch", short: "w", kind: "switch", description: "go on with what happens from now on" },
    outputFlag,
  ],
  examples: [{ comment: "follow a machine", command: "kubectl vireo events web --watch" }],
  runsUntilInterrupted: true,
  run: async (invocation, session) => {
    const { object } = await requireMachine(session, readMachineName(invocation.word("VM")));
    if (invocation.isOn("watch")) await follow(session, invocation, object);
    else await print(session, invocation, (await eventsOf(session, object)).events, "all");
    return undefined;
  },
};

/** Which objects' events belong to the machine. */
type Belongs = (event: ShownEvent) => boolean;

const belongingTo = async (session: Session, machine: VirtualMachine): Promise<Belongs> => {
  const { name, uid } = machine.metadata;
  const others = await namingIt(session, name, () => {});
  const keys = new Set([
    ...volumeNames(machine).map((volume) => `${volumes.kind}/${volume}`),
    ...others.map(({ resource, object }) => `${resource.kind}/${object.metadata.name}`),
  ]);
  return ({ regarding }) => {
    if (regarding.kind === virtualMachines.kind && regarding.name === name)
      return regarding.uid === "" || regarding.uid === uid;
    return keys.has(`${regarding.kind}/${regarding.name}`);
  };
};

/** The events of a machine and of what belongs to it, and the moment of the list. */
export const eventsOf = async (
  session: Session,
  machine: VirtualMachine,
): Promise<{
  readonly events: readonly Found<ShownEvent>[];
  readonly resourceVersion: string | undefined;
}> => {
  const cluster = await session.cluster();
  const { items, resourceVersion } = await cluster.list(shownEvents, { signal: session.signal });
  const belongs = await belongingTo(session, machine);
  return { events: items.filter(({ object }) => belongs(object)), resourceVersion };
};

/** Lists, watches, and lists again when the watch has ended; nothing is said twice. */
const follow = async (session: Session, invocation: Invocation, machine: VirtualMachine): Promise<void> => {
  const said = new Map<string, string>();
  const isNews = ({ metadata }: ShownEvent): boolean => {
    if (said.get(metadata.uid) === metadata.resourceVersion) return false;
    said.set(metadata.uid, metadata.resourceVersion);
    return true;
  };
  let failures = 0;
  for (let part: "head" | "more" = "head"; ; part = "more") {
    try {
      const { events, resourceVersion } = await eventsOf(session, machine);
      const news = events.filter(({ object }) => isNews(object));
      await print(session, invocation, news, part);
      failures = 0;
      for await (const found of changes(session, resourceVersion)) {
        // A volume or a snapshot may be younger than the watch.
        const belongs = await belongingTo(session, machine);
        if (belongs(found.object) && isNews(found.object)) await print(session, invocation, [found], "more");
      }
    } catch (error) {
      if (session.signal.aborted || isFinal(error)) throw error;
      failures += 1;
      session.say.progress("the connection to the API server broke; trying again");
    }
    await sleep(session.clock, backoffDelay(failures + 1, BACKOFF, session.random), session.signal);
  }
};

async function* changes(
  session: Session,
  resourceVersion: string | undefined,
): AsyncGenerator<Found<ShownEvent>> {
  const { client, namespace } = await session.cluster();
  const path = withQuery(collectionPath(shownEvents, namespace), {
    watch: true,
    allowWatchBookmarks: true,
    resourceVersion,
    timeoutSeconds: WATCH_SECONDS,
  });
  const { signal } = session;
  for await (const event of client.watch({ what: "watch events", path, signal, idleTimeoutMs: IDLE_MS })) {
    if (event.kind === "added" || event.kind === "modified")
      yield { raw: event.object, object: shownEvents.parse(event.object) };
  }
}

const print = async (
  session: Session,
  invocation: Invocation,
  found: readonly Found<ShownEvent>[],
  part: "all" | "head" | "more",
): Promise<void> => {
  const { stdout } = session.host;
  const format = formatOf(invocation);
  if (format === "table") {
    if (part === "all" && found.length === 0) return session.say.progress("no events");
    const text = eventTable(
      found.map(({ object }) => object),
      session.clock.now(),
    );
    return write(stdout, part === "more" ? text.slice(text.indexOf("\n") + 1) : text);
  }
  const items = found.map(({ raw }) => withoutManagedFields(raw));
  if (part === "all")
    return write(
      stdout,
      render(format, { apiVersion: "v1", kind: "List", items }, () => ""),
    );
  // One after the other, as "kubectl get --watch" prints them.
  for (const item of items)
    await write(stdout, `${format === "yaml" ? "---\n" : ""}${render(format, item, () => "")}`);
};

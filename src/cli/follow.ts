import type { KubernetesObject } from "../api/meta.ts";
import type { Resource } from "../api/resource.ts";
import {
  backoffDelay,
  collectionPath,
  DeadlineError,
  sleep,
  withDeadline,
  withQuery,
  type RawObject,
} from "../kube/index.ts";
import { nameOf, type Found } from "./cluster.ts";
import { CommandFailedError } from "./errors.ts";
import { isFinal } from "./explain.ts";
import type { Judge, Verdict } from "./judge.ts";
import type { Session } from "./session.ts";

export interface Follow<T extends KubernetesObject> {
  readonly resource: Resource<T>;
  readonly name: string;
  readonly judge: Judge<T>;
  readonly timeoutMs: number;
}

const BACKOFF = { initialMs: 200, maxMs: 5_000 };
const WATCH_SECONDS = 300;
/** The API server sends a bookmark about once a minute. */
const IDLE_MS = 120_000;

/**
 * Watches one object until it is as it should be, saying on the way what it
 * says, and resolves with it. Throws CommandFailedError when it failed, is
 * gone, or the time is over; a connection that breaks is made anew.
 */
export const untilDone = async <T extends KubernetesObject>(
  session: Session,
  follow: Follow<T>,
): Promise<Found<T>> => {
  const { namespace } = await session.cluster();
  const name = nameOf(follow.resource, namespace, follow.name);
  let last = "nothing yet";
  const note = (verdict: Verdict): void => {
    last = verdict.message;
    if (verdict.kind === "waiting") session.say.progress(`${name}: ${verdict.message}`);
  };
  try {
    return await withDeadline(
      session.signal,
      follow.timeoutMs,
      (signal) => watchUntilDone({ ...session, signal }, follow, name, note),
      session.clock,
    );
  } catch (error) {
    if (!(error instanceof DeadlineError)) throw error;
    const seconds = Math.round(follow.timeoutMs / 1000);
    throw new CommandFailedError(
      `${name}: gave up waiting after ${seconds} s, while it goes on; it last said: ${last}. ` +
        `"kubectl vireo events" tells what happened to a machine`,
      { cause: error },
    );
  }
};

const watchUntilDone = async <T extends KubernetesObject>(
  session: Session,
  follow: Follow<T>,
  name: string,
  note: (verdict: Verdict) => void,
): Promise<Found<T>> => {
  for (let failures = 0; ; failures += 1) {
    try {
      for await (const found of statesOf(session, follow)) {
        failures = 0;
        if (found === undefined) throw new CommandFailedError(`${name} is gone: somebody deleted it`);
        const verdict = follow.judge(found.object);
        note(verdict);
        if (verdict.kind === "failed") throw new CommandFailedError(`${name}: ${verdict.message}`);
        if (verdict.kind === "done") return found;
      }
    } catch (error) {
      if (session.signal.aborted || isFinal(error)) throw error;
      session.say.progress(`${name}: the connection to the API server broke; trying again`);
    }
    await sleep(session.clock, backoffDelay(failures + 1, BACKOFF, session.random), session.signal);
  }
};

/** The object as it is, and then at each change; undefined when it is gone. Ends when the server ends the watch. */
async function* statesOf<T extends KubernetesObject>(
  session: Session,
  { resource, name }: Follow<T>,
): AsyncGenerator<Found<T> | undefined> {
  const cluster = await session.cluster();
  const { client, namespace } = cluster;
  const { signal } = session;
  const found = await cluster.get(resource, name, signal);
  yield found;
  const path = withQuery(collectionPath(resource, resource.namespaced ? namespace : undefined), {
    watch: true,
    allowWatchBookmarks: true,
    fieldSelector: `metadata.name=${name}`,
    resourceVersion: found?.raw.metadata.resourceVersion,
    timeoutSeconds: WATCH_SECONDS,
  });
  const what = `watch ${resource.plural}`;
  for await (const event of client.watch({ what, path, signal, idleTimeoutMs: IDLE_MS })) {
    if (event.kind === "bookmark") continue;
    yield event.kind === "deleted" ? undefined : parsed(resource, event.object);
  }
}

const parsed = <T extends KubernetesObject>(resource: Resource<T>, raw: RawObject): Found<T> => ({
  raw,
  object: resource.parse(raw),
});

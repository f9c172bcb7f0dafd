import { expect, test } from "@jest/globals";
import { silentLogger } from "../../../../../src/kube/index.ts";
import {
  endStrangersFirst,
  type StrangerOptions,
} from "../../../../../src/node-agent/reconcilers/machine/strangers.ts";

/** A node with the machine "own", whose libvirt has guests of others as well. */
const nodeWith = (guests: readonly string[], synced: Promise<void>): StrangerOptions =>
  ({
    stores: { machines: { whenSynced: () => synced } },
    objects: { machines: { get: (uid: string) => (uid === "own" ? {} : undefined) } },
    rooms: { domains: { list: async () => guests.map((vmUid) => ({ vmUid, powerState: "Running" })) } },
    logger: silentLogger,
  }) as unknown as StrangerOptions;

const { signal } = new AbortController();

test("guests that are no machine's of this node are passed over first, and its own are not", async () => {
  const passed: string[] = [];
  const pass = async (uid: string): Promise<void> => void passed.push(uid);
  const node = nodeWith(["own", "lost", "gone"], Promise.resolve());
  await endStrangersFirst(node, { pass, lookAtMachine: () => {} }, signal);
  expect(passed).toEqual(["lost", "gone"]);
});

test("nobody is taken for a stranger before the stores are in sync", async () => {
  const passed: string[] = [];
  const sync = Promise.withResolvers<void>();
  const node = nodeWith(["lost"], sync.promise);
  const pass = async (uid: string): Promise<void> => void passed.push(uid);
  const ended = endStrangersFirst(node, { pass, lookAtMachine: () => {} }, signal);
  expect(passed).toEqual([]);
  sync.resolve();
  await ended;
  expect(passed).toEqual(["lost"]);
});

test("one that cannot be judged is left to the queue, and keeps nothing else waiting", async () => {
  const queued: string[] = [];
  const pass = async (): Promise<void> => {
    throw new Error("the API server does not answer");
  };
  const node = nodeWith(["lost"], Promise.resolve());
  await endStrangersFirst(node, { pass, lookAtMachine: (uid) => void queued.push(uid) }, signal);
  expect(queued).toEqual(["lost"]);
});

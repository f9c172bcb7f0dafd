import { describe, expect, test } from "@jest/globals";
import { GUEST_FINALIZER, type VirtualMachine } from "../../../src/api/virtual-machine.ts";
import { applyMachine, type MachineEffects } from "../../../src/controllers/virtual-machine/apply.ts";
import { decideMachine } from "../../../src/controllers/virtual-machine/decide.ts";
import { createReservations } from "../../../src/controllers/virtual-machine/reservations.ts";
import { ApiError, TransportError } from "../../../src/kube/index.ts";
import { unplacedFacts } from "./machine-facts.ts";
import { machineWith, NOW, uidOf } from "./objects.ts";

const UID = uidOf("hello");

interface Answers {
  /** To the finalizer's write. */
  readonly patch?: Error;
  /** To the status apply. */
  readonly apply?: Error;
}

/** Carries the placement of a machine out against a client that answers like that. */
const place = async (answers: Answers, machine: VirtualMachine = machineWith()) => {
  const requests: unknown[] = [];
  const events: string[] = [];
  const reservations = createReservations();
  let version = Number(machine.metadata.resourceVersion);
  const answer = (request: unknown, error: Error | undefined): Promise<VirtualMachine> => {
    requests.push(request);
    if (error !== undefined) return Promise.reject(error);
    version += 1;
    return Promise.resolve({
      ...machine,
      metadata: { ...machine.metadata, resourceVersion: String(version) },
    });
  };
  const effects = {
    client: {
      mergePatch: (_resource: unknown, _key: unknown, patch: unknown) => answer(patch, answers.patch),
      applyStatus: (_resource: unknown, body: { metadata: unknown }) => answer(body.metadata, answers.apply),
    },
    stores: { virtualMachines: { whenSeen: () => Promise.resolve() } },
    events: {
      event: (_object: unknown, type: string, reason: string) => void events.push(`${type} ${reason}`),
    },
    reservations,
  } as unknown as MachineEffects;
  const decision = decideMachine(unplacedFacts({ machine }), NOW);
  const applying = applyMachine(effects, machine, decision, new AbortController().signal);
  const isHeldAtOnce = reservations.find(UID) !== undefined;
  const error = await applying.then(
    () => undefined,
    (thrown: unknown) => thrown,
  );
  return { requests, events, error, isHeldAtOnce, isHeld: reservations.find(UID) !== undefined };
};

const refusal = (status: number): ApiError => new ApiError("apply VirtualMachine default/hello", status, {});

test("a placement binds each write to the version that the one before has made", async () => {
  const { requests, events, error } = await place({});
  expect(error).toBeUndefined();
  expect(requests).toEqual([
    { metadata: { uid: UID, resourceVersion: "1", finalizers: [GUEST_FINALIZER] } },
    { name: "hello", namespace: "default", uid: UID, resourceVersion: "2" },
  ]);
  expect(events).toEqual(["Normal Scheduled"]);
});

test("a placement is held before anything is awaited", async () => {
  expect((await place({})).isHeldAtOnce).toBe(true);
});

test("the finalizers of others are written back as they were", async () => {
  const { requests } = await place({}, machineWith({}, { finalizers: ["example.com/other"] }));
  expect(requests[0]).toMatchObject({ metadata: { finalizers: ["example.com/other", GUEST_FINALIZER] } });
});

describe("After a placement that failed", () => {
  const lost = new TransportError("apply", new Error("ECONNRESET"));

  test.each<[string, Answers, { readonly isHeld: boolean; readonly isThrown: boolean }]>([
    [
      "nothing is held when the finalizer met a conflict",
      { patch: refusal(409) },
      { isHeld: false, isThrown: true },
    ],
    [
      "nothing is held when the finalizer got no answer: the status was not sent",
      { patch: lost },
      { isHeld: false, isThrown: true },
    ],
    ["nothing is held when the machine is gone", { patch: refusal(404) }, { isHeld: false, isThrown: false }],
    [
      "nothing is held when the status was refused for good",
      { apply: refusal(422) },
      { isHeld: false, isThrown: true },
    ],
    ["it is held when the status got no answer", { apply: lost }, { isHeld: true, isThrown: true }],
    [
      "it is held when the server failed: it may have been written",
      { apply: refusal(504) },
      { isHeld: true, isThrown: true },
    ],
    [
      "it is held after a conflict: that may be with a write of our own",
      { apply: refusal(409) },
      { isHeld: true, isThrown: true },
    ],
  ])("%s", async (_, answers, expected) => {
    const { isHeld, error, events } = await place(answers);
    expect({ isHeld, isThrown: error !== undefined }).toEqual(expected);
    expect(events).toEqual([]);
  });
});

import { describe, expect, jest, test } from "@jest/globals";
import { apiVersionOf } from "../../../src/api/resource.ts";
import { type KeyPair, keyPairs } from "../../../src/api/key-pair.ts";
import { applyKeyPair, type KeyPairEffects } from "../../../src/controllers/key-pair/apply.ts";
import { decideKeyPair } from "../../../src/controllers/key-pair/decide.ts";
import { generateKeyPair } from "../../../src/controllers/key-pair/generate.ts";
import { type SecretFact, secretFact, secretFor } from "../../../src/controllers/key-pair/secret.ts";
import { ApiError, type Secret } from "../../../src/kube/index.ts";
import { keyPairWith, NOW, PUBLIC_KEY, uidOf } from "./objects.ts";

const generated = (meta = {}, status?: KeyPair["status"]): KeyPair =>
  keyPairWith({ generate: { secretName: "key" } }, meta, status);

const decide = (keyPair: KeyPair, secret?: SecretFact) => decideKeyPair({ keyPair, secret }, NOW);

/** What Ready and Stalled say after the decision, and the events. */
const summaryOf = (keyPair: KeyPair, secret?: SecretFact) => {
  const { steps, requeueAfterMs } = decide(keyPair, secret);
  return {
    conditions: steps.flatMap((step) =>
      step.kind === "apply-status"
        ? (step.status.conditions ?? []).map(({ type, status, reason }) => `${type}=${status} ${reason}`)
        : [],
    ),
    events: steps.flatMap((step) =>
      step.kind === "announce" ? [`${step.announcement.type} ${step.announcement.reason}`] : [],
    ),
    requeueAfterMs,
  };
};

describe("A KeyPair", () => {
  test("with a good public key is Ready with its fingerprint", () => {
    const [step] = decide(keyPairWith()).steps;
    expect(step).toMatchObject({
      kind: "apply-status",
      status: {
        observedGeneration: 1,
        publicKey: PUBLIC_KEY,
        fingerprint: expect.stringMatching(/^SHA256:/),
        conditions: [{ type: "Ready", status: "True", reason: "Valid" }],
      },
    });
  });

  test("with a broken public key is stalled and tells what is wrong", () => {
    const broken = keyPairWith({ publicKey: "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5" });
    expect(summaryOf(broken)).toEqual({
      conditions: ["Ready=False InvalidKey", "Stalled=True InvalidKey"],
      events: ["Warning InvalidKey"],
      requeueAfterMs: undefined,
    });
    const [step] = decide(broken).steps;
    expect(step).toMatchObject({
      status: {
        conditions: [
          { message: "The key in spec.publicKey ends too early: was it cut off? Make another KeyPair." },
          {},
        ],
      },
    });
  });

  test("makes a Secret when there is none, and looks again at once", () => {
    expect(decide(generated(), { kind: "absent" })).toEqual({
      steps: [{ kind: "create-secret", secretName: "key" }],
      requeueAfterMs: 0,
    });
  });

  test("that is being deleted generates nothing any more", () => {
    const leaving = generated({ deletionTimestamp: "2026-02-03T04:05:06Z" });
    expect(decide(leaving, { kind: "absent" }).steps).toEqual([]);
  });

  test("takes the key over that it made before it died", () => {
    expect(summaryOf(generated(), { kind: "own", publicKey: PUBLIC_KEY })).toEqual({
      conditions: ["Ready=True Valid"],
      events: ["Normal Generated"],
      requeueAfterMs: undefined,
    });
  });

  test("whose Secret lost the public key is stalled", () => {
    expect(summaryOf(generated(), { kind: "own", publicKey: undefined }).conditions).toEqual([
      "Ready=False InvalidKey",
      "Stalled=True InvalidKey",
    ]);
  });

  test("leaves the Secret of somebody else alone, and looks again later", () => {
    expect(summaryOf(generated(), { kind: "foreign" })).toEqual({
      conditions: ["Ready=False SecretExists", "Stalled=True SecretExists"],
      events: ["Warning SecretExists"],
      requeueAfterMs: 30_000,
    });
  });

  test("waits for the Secret of its predecessor to go, without being stalled", () => {
    expect(summaryOf(generated(), { kind: "predecessor" })).toMatchObject({
      conditions: ["Ready=False SecretExists"],
      requeueAfterMs: 2_000,
    });
  });

  test.each<[string, KeyPair, SecretFact | undefined]>([
    ["a public key", keyPairWith(), undefined],
    ["a broken key", keyPairWith({ publicKey: "ssh-ed25519 AAAA" }), undefined],
    ["a generated key", generated(), { kind: "own", publicKey: PUBLIC_KEY }],
    ["a foreign Secret", generated(), { kind: "foreign" }],
  ])("with %s is written once", (_, keyPair, secret) => {
    const [step] = decide(keyPair, secret).steps;
    if (step?.kind !== "apply-status") throw new Error("no status");
    const written = { ...keyPair, status: step.status };
    // Once the status has a key, the Secret is not looked at.
    const seen = step.status.publicKey === undefined ? secret : undefined;
    expect(decide(written, seen).steps).toEqual([]);
  });

  test("keeps its generated key when the Secret is deleted", () => {
    const [step] = decide(generated(), { kind: "own", publicKey: PUBLIC_KEY }).steps;
    if (step?.kind !== "apply-status") throw new Error("no status");
    expect(decide(generated({}, step.status), undefined)).toEqual({ steps: [] });
  });
});

const secretWith = (owners: Secret["metadata"]["ownerReferences"], data: Secret["data"] = {}): Secret => ({
  apiVersion: "v1",
  kind: "Secret",
  metadata: {
    name: "key",
    namespace: "default",
    uid: uidOf("secret"),
    resourceVersion: "1",
    creationTimestamp: "2026-01-01T00:00:00Z",
    ownerReferences: owners,
  },
  data,
});

const owner = (uid: string, kind = "KeyPair", name = "me") => ({
  apiVersion: apiVersionOf(keyPairs),
  kind,
  name,
  uid,
});

describe("A Secret", () => {
  test.each<[string, Secret | undefined, SecretFact]>([
    ["that is not there", undefined, { kind: "absent" }],
    ["without an owner", secretWith(undefined), { kind: "foreign" }],
    ["of another KeyPair", secretWith([owner(uidOf("other"), "KeyPair", "other")]), { kind: "foreign" }],
    [
      "of another kind with the same name",
      secretWith([owner(uidOf("other"), "Deployment")]),
      { kind: "foreign" },
    ],
    ["of a KeyPair that had the name before", secretWith([owner(uidOf("earlier"))]), { kind: "predecessor" }],
    ["of this KeyPair, emptied", secretWith([owner(uidOf("me"))]), { kind: "own", publicKey: undefined }],
    [
      "of this KeyPair",
      secretWith([owner(uidOf("me"))], {
        "ssh-publickey": Buffer.from(`${PUBLIC_KEY}\n`).toString("base64"),
      }),
      { kind: "own", publicKey: PUBLIC_KEY },
    ],
  ])("%s is recognised", (_, secret, expected) => {
    expect(secretFact(generated(), secret)).toEqual(expected);
  });

  test("for a new key is recognised as this KeyPair's own", () => {
    const pair = generateKeyPair("default/me");
    const made = secretFor(generated(), "key", pair);
    const stored = {
      ...secretWith(undefined),
      ...made,
      metadata: { ...secretWith(undefined).metadata, ...made.metadata },
    };
    expect(secretFact(generated(), stored as Secret)).toEqual({ kind: "own", publicKey: pair.publicKey });
  });
});

describe("The private key", () => {
  const PRIVATE = "the private half";

  const effects = (error: Error): KeyPairEffects =>
    ({
      client: { create: () => Promise.reject(error) },
      generate: () => ({ publicKey: PUBLIC_KEY, privateKey: PRIVATE }),
      events: { event: jest.fn() },
    }) as unknown as KeyPairEffects;

  const fail = (error: Error): Promise<unknown> =>
    applyKeyPair(
      effects(error),
      generated(),
      [{ kind: "create-secret", secretName: "key" }],
      new AbortController().signal,
    ).then(
      () => undefined,
      (thrown: unknown) => thrown,
    );

  test("is in no error, though a webhook quotes what it was sent", async () => {
    const thrown = await fail(
      new ApiError("create Secret default/key", 400, { reason: "BadRequest", message: `denied: ${PRIVATE}` }),
    );
    expect(thrown).toBeInstanceOf(ApiError);
    expect(String(thrown)).toContain("create Secret default/key: 400 BadRequest");
    expect(
      JSON.stringify([String(thrown), thrown, (thrown as Error).stack, (thrown as Error).cause]),
    ).not.toContain(PRIVATE);
  });

  test("and a name that is taken meanwhile is a conflict, to be looked at again", async () => {
    const conflict = new ApiError("create Secret default/key", 409, { reason: "AlreadyExists" });
    expect(await fail(conflict)).toBe(conflict);
  });
});

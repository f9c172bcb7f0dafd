import { type Announcement, announceTrouble } from "../announce.ts";
import { isSameStatus } from "../status-writer.ts";
import { judgeKey, judgeKeyPair } from "./judge.ts";
import type { KeyPairFacts } from "./observe.ts";
import { keyPairStatus, type KeyPairStatus, type KeyPairVerdict } from "./status.ts";

export type KeyPairStep =
  | { readonly kind: "create-secret"; readonly secretName: string }
  | { readonly kind: "apply-status"; readonly status: KeyPairStatus }
  | { readonly kind: "announce"; readonly announcement: Announcement };

export interface KeyPairDecision {
  readonly steps: readonly KeyPairStep[];
  /** Look again after this time, in ms, since nobody tells when a Secret changes. */
  readonly requeueAfterMs?: number;
}

/** Somebody has to delete the Secret. */
const FOREIGN_SECRET_MS = 30_000;
/** The garbage collector is about to delete the Secret. */
const PREDECESSOR_MS = 2_000;

/**
 * The Secret is the memory of the key generation: it is made in one request
 * that fails when the name is taken, and whoever finds it with this KeyPair as
 * owner goes on from there. So a key is generated once, however often the
 * process dies.
 */
export const decideKeyPair = (facts: KeyPairFacts, now: Date): KeyPairDecision => {
  const { keyPair, secret } = facts;
  const secretName = keyPair.spec.generate?.secretName;
  if (secretName === undefined || secret === undefined) {
    const verdict = judgeKeyPair(keyPair);
    return verdict.kind === "missing" ? { steps: [] } : say(facts, verdict, now);
  }
  switch (secret.kind) {
    case "absent":
      if (keyPair.metadata.deletionTimestamp !== undefined) return { steps: [] };
      return { steps: [{ kind: "create-secret", secretName }], requeueAfterMs: 0 };
    case "own":
      return say(facts, judgeKey(`ssh-publickey of Secret ${secretName}`, secret.publicKey ?? ""), now);
    case "predecessor":
      return { ...say(facts, taken(secretName, true), now), requeueAfterMs: PREDECESSOR_MS };
    case "foreign":
      return { ...say(facts, taken(secretName, false), now), requeueAfterMs: FOREIGN_SECRET_MS };
  }
};

const taken = (secretName: string, leaving: boolean): KeyPairVerdict => ({
  kind: "secret-taken",
  secretName,
  leaving,
});

/** Writes the verdict, unless it is written. */
const say = ({ keyPair, secret }: KeyPairFacts, verdict: KeyPairVerdict, now: Date): KeyPairDecision => {
  const status = keyPairStatus(keyPair, verdict, now);
  if (isSameStatus(keyPair.status, status)) return { steps: [] };
  const announcements: Announcement[] = [
    ...announceTrouble("Ready", keyPair.status?.conditions, status.conditions ?? []),
  ];
  if (verdict.kind === "usable" && secret?.kind === "own")
    announcements.push({
      type: "Normal",
      reason: "Generated",
      message: `A key was generated; its private half is in Secret ${keyPair.spec.generate?.secretName}.`,
    });
  return {
    steps: [
      { kind: "apply-status", status },
      ...announcements.map((announcement) => ({ kind: "announce" as const, announcement })),
    ],
  };
};

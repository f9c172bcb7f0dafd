import type { KeyPair } from "../../api/key-pair.ts";
import { type Draft, notReady, observed, ready, sentence, stalled } from "../conditions.ts";
import type { KeyJudgement } from "./judge.ts";

export type KeyPairStatus = NonNullable<KeyPair["status"]>;

/** What can be said of a KeyPair. */
export type KeyPairVerdict =
  | KeyJudgement
  /** The Secret's name is taken; `leaving`: by the Secret of a KeyPair that is gone. */
  | { readonly kind: "secret-taken"; readonly secretName: string; readonly leaving: boolean };

/** The whole status of a KeyPair. */
export const keyPairStatus = (keyPair: KeyPair, verdict: KeyPairVerdict, now: Date): KeyPairStatus => ({
  ...observed(keyPair, conditionDrafts(verdict), now),
  ...(verdict.kind === "usable" && { publicKey: verdict.publicKey, fingerprint: verdict.fingerprint }),
});

const conditionDrafts = (verdict: KeyPairVerdict): readonly Draft[] => {
  switch (verdict.kind) {
    case "usable":
      return ready("Valid", "Machines may use it.");
    case "invalid":
      return stalled("InvalidKey", `${sentence(capitalised(verdict.message))} Make another KeyPair.`);
    case "secret-taken":
      return verdict.leaving
        ? notReady(
            "SecretExists",
            `Secret ${verdict.secretName} belongs to an earlier KeyPair of this name; its removal is waited for.`,
          )
        : stalled(
            "SecretExists",
            `Secret ${verdict.secretName} exists and was not made for this KeyPair. Delete it, or make another KeyPair with another secretName.`,
          );
  }
};

const capitalised = (text: string): string =>
  text.startsWith("the ") ? `${text.charAt(0).toUpperCase()}${text.slice(1)}` : text;

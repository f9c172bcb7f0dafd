import { type KeyPair, sshPublicKey } from "../../api/key-pair.ts";
import { judgePublicKey } from "./public-key.ts";

/** Can guests be given this key? */
export type KeyJudgement =
  | { readonly kind: "usable"; readonly publicKey: string; readonly fingerprint: string }
  | { readonly kind: "invalid"; readonly message: string };

/** Which key guests receive, or why there is none; "missing": it is yet to be generated. */
export type KeyVerdict = KeyJudgement | { readonly kind: "missing" };

/** Looks at what the KeyPair itself says; a generated key is in its status. */
export const judgeKeyPair = ({ spec, status }: KeyPair): KeyVerdict => {
  if (spec.publicKey !== undefined) return judgeKey("spec.publicKey", spec.publicKey);
  return status?.publicKey === undefined
    ? { kind: "missing" }
    : judgeKey("status.publicKey", status.publicKey);
};

/** @param field where the key was found, for the message */
export const judgeKey = (field: string, publicKey: string): KeyJudgement => {
  if (!sshPublicKey.safeParse(publicKey).success)
    return { kind: "invalid", message: `${field} is not one line of OpenSSH's public key format` };
  const verdict = judgePublicKey(publicKey);
  return verdict.kind === "valid"
    ? { kind: "usable", publicKey, fingerprint: verdict.fingerprint }
    : { kind: "invalid", message: `the key in ${field} ${verdict.problem}` };
};

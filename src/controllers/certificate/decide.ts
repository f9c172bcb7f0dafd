import type { KeyObject } from "node:crypto";
import type { CertificateSigningRequest } from "../../kube/index.ts";
import { CERTIFICATE_LIFETIME_MS, CLOCK_SKEW_MS, commonNameOf, dnsNamesOf } from "../../pki/index.ts";
import { judge, type Refusal } from "./checks.ts";

/** What is done with a request next. */
export type RequestStep =
  | { readonly kind: "approve" }
  | { readonly kind: "deny"; readonly refusal: Refusal }
  /** Somebody else has approved what must not be signed. */
  | { readonly kind: "fail"; readonly refusal: Refusal }
  | { readonly kind: "sign"; readonly content: SignedContent }
  | { readonly kind: "remove" }
  /** Nothing to do before that time has passed, in ms. */
  | { readonly kind: "keep"; readonly forMs: number };

export interface SignedContent {
  readonly commonName: string;
  readonly dnsNames: readonly string[];
  readonly publicKey: KeyObject;
  readonly notBefore: Date;
  readonly notAfter: Date;
}

/** Who asked has read the answer after some seconds; people may want to look at a refusal. */
const KEPT_ISSUED_MS = 15 * 60_000;
const KEPT_REFUSED_MS = 60 * 60_000;

export const decideRequest = (request: CertificateSigningRequest, now: Date): RequestStep => {
  const has = (type: string): boolean => request.status.conditions.some((one) => one.type === type);
  if (request.status.certificate !== undefined) return keepFor(request, KEPT_ISSUED_MS, now);
  if (has("Denied") || has("Failed")) return keepFor(request, KEPT_REFUSED_MS, now);
  const verdict = judge(request);
  const isApproved = has("Approved");
  if (verdict.kind === "bad") return { kind: isApproved ? "fail" : "deny", refusal: verdict.refusal };
  if (!isApproved) return { kind: "approve" };
  const { identity, content } = verdict;
  return {
    kind: "sign",
    content: {
      commonName: commonNameOf(identity),
      dnsNames: dnsNamesOf(identity),
      publicKey: content.publicKey,
      notBefore: new Date(now.getTime() - CLOCK_SKEW_MS),
      notAfter: new Date(now.getTime() + lifetimeMs(request)),
    },
  };
};

/** Shorter than usual when that was asked for, never longer. */
const lifetimeMs = ({ spec: { expirationSeconds } }: CertificateSigningRequest): number =>
  Math.min(CERTIFICATE_LIFETIME_MS, (expirationSeconds ?? Number.POSITIVE_INFINITY) * 1000);

const keepFor = ({ metadata }: CertificateSigningRequest, ms: number, now: Date): RequestStep => {
  const leftMs = Date.parse(metadata.creationTimestamp) + ms - now.getTime();
  return leftMs > 0 ? { kind: "keep", forMs: leftMs } : { kind: "remove" };
};

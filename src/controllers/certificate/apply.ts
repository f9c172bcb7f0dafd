import {
  type CertificateSigningRequest,
  certificateSigningRequests,
  keyOf,
  type KubeClient,
  type Logger,
} from "../../kube/index.ts";
import { encodeBase64, signCertificate } from "../../pki/index.ts";
import { openAuthority } from "./authority.ts";
import type { Refusal } from "./checks.ts";
import type { RequestStep, SignedContent } from "./decide.ts";

export interface RequestEffects {
  readonly client: KubeClient;
  readonly logger: Logger;
  readonly now: () => Date;
}

/** Carries a step out. */
export const applyRequestStep = async (
  effects: RequestEffects,
  request: CertificateSigningRequest,
  step: RequestStep,
  signal: AbortSignal,
): Promise<void> => {
  switch (step.kind) {
    case "approve": {
      const why = { reason: "RequesterKnown", message: "the requester is who the subject says" };
      return addCondition(effects, request, { type: "Approved", subresource: "approval", why }, signal);
    }
    case "deny": {
      const condition = { type: "Denied", subresource: "approval", why: step.refusal } as const;
      await addCondition(effects, request, condition, signal);
      return tell(effects, request, "warn", `refused: ${step.refusal.message}`);
    }
    case "fail": {
      const condition = { type: "Failed", subresource: "status", why: step.refusal } as const;
      await addCondition(effects, request, condition, signal);
      return tell(effects, request, "warn", `not signed, although approved: ${step.refusal.message}`);
    }
    case "sign":
      return sign(effects, request, step.content, signal);
    case "remove": {
      const { uid } = request.metadata;
      return effects.client.delete(certificateSigningRequests, keyOf(request), { uid, signal });
    }
    case "keep":
  }
};

const sign = async (
  effects: RequestEffects,
  request: CertificateSigningRequest,
  content: SignedContent,
  signal: AbortSignal,
): Promise<void> => {
  const { authority } = await openAuthority(effects, signal);
  const certificate = encodeBase64(signCertificate(authority, content));
  await patch(effects, request, { subresource: "status", status: { certificate } }, signal);
  tell(effects, request, "info", `signed a certificate for ${content.commonName}`);
};

interface NewCondition {
  readonly type: "Approved" | "Denied" | "Failed";
  readonly subresource: "approval" | "status";
  readonly why: Refusal;
}

const addCondition = async (
  effects: RequestEffects,
  request: CertificateSigningRequest,
  { type, subresource, why }: NewCondition,
  signal: AbortSignal,
): Promise<void> => {
  const lastUpdateTime = effects
    .now()
    .toISOString()
    .replace(/\.\d+Z$/, "Z");
  const condition = { type, status: "True", ...why, lastUpdateTime };
  const status = { conditions: [...request.status.conditions, condition] };
  await patch(effects, request, { subresource, status }, signal);
};

/** Bound to the version that was judged: nobody changes a request between the look and the write. */
const patch = async (
  { client }: RequestEffects,
  request: CertificateSigningRequest,
  { subresource, status }: { readonly subresource: "approval" | "status"; readonly status: object },
  signal: AbortSignal,
): Promise<void> => {
  const body = { metadata: { resourceVersion: request.metadata.resourceVersion }, status };
  await client.mergePatch(certificateSigningRequests, keyOf(request), body, { subresource, signal });
};

const tell = (
  { logger }: RequestEffects,
  { metadata, spec }: CertificateSigningRequest,
  level: "info" | "warn",
  message: string,
): void =>
  logger[level]({ request: metadata.name, requester: spec.username, signer: spec.signerName }, message);

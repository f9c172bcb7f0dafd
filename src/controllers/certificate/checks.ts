import type { CertificateSigningRequest } from "../../kube/index.ts";
import {
  CERTIFICATE_USAGES,
  type CertificateRequest,
  CertificateRequestError,
  commonNameOf,
  NODE_NAME_CLAIM,
  type PeerIdentity,
  peerKindOfSigner,
  readCertificateRequest,
  userNameOf,
} from "../../pki/index.ts";

/** Why a request is refused: goes into its Denied condition. */
export interface Refusal {
  readonly reason: string;
  readonly message: string;
}

/** A request that may be signed, or why it may not. */
export type Verdict =
  | { readonly kind: "good"; readonly identity: PeerIdentity; readonly content: CertificateRequest }
  | { readonly kind: "bad"; readonly refusal: Refusal };

type Spec = CertificateSigningRequest["spec"];

/**
 * Who asks: as the API server has authenticated him, not as the request says.
 * An agent is the agent of the node that its token was issued for.
 */
const requesterOf = ({ signerName, username, extra }: Spec): PeerIdentity | Refusal => {
  const kind = peerKindOfSigner(signerName);
  if (kind === undefined || username !== userNameOf(kind))
    return refusal("RequesterNotAllowed", `${username} may not have a certificate of ${signerName}`);
  if (kind === "api-server") return { kind };
  const [nodeName, ...others] = extra[NODE_NAME_CLAIM] ?? [];
  if (nodeName === undefined || others.length > 0)
    return refusal(
      "NoNode",
      "the token of the node agent names no node: bind it to a Node, or let kubelet issue it to a pod",
    );
  return { kind, nodeName };
};

const contentOf = ({ request }: Spec): CertificateRequest | Refusal => {
  try {
    return readCertificateRequest(Buffer.from(request, "base64").toString("utf8"));
  } catch (error) {
    if (error instanceof CertificateRequestError) return refusal("RequestInvalid", error.message);
    throw error;
  }
};

const usageRefusal = ({ usages }: Spec): Refusal | undefined => {
  const wanted: readonly string[] = CERTIFICATE_USAGES;
  const fits = usages.length === wanted.length && wanted.every((usage) => usages.includes(usage));
  return fits ? undefined : refusal("UsagesNotAllowed", `spec.usages must be ${wanted.join(", ")}`);
};

const refusal = (reason: string, message: string): Refusal => ({ reason, message });
const bad = (why: Refusal): Verdict => ({ kind: "bad", refusal: why });
const isRefusal = (value: object): value is Refusal => "reason" in value;

/** Looks at a request. Pure: the same request is judged the same when it is approved and when it is signed. */
export const judge = ({ spec }: Pick<CertificateSigningRequest, "spec">): Verdict => {
  const identity = requesterOf(spec);
  if (isRefusal(identity)) return bad(identity);
  const usages = usageRefusal(spec);
  if (usages !== undefined) return bad(usages);
  const content = contentOf(spec);
  if (isRefusal(content)) return bad(content);
  const expected = commonNameOf(identity);
  if (content.commonName !== expected)
    return bad(
      refusal(
        "SubjectNotRequester",
        `the subject is ${JSON.stringify(content.commonName)}, but ${JSON.stringify(expected)} asks`,
      ),
    );
  return { kind: "good", identity, content };
};

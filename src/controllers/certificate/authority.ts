import {
  type ApiService,
  apiServices,
  configMaps,
  isConflict,
  type KubeClient,
  type Secret,
  secrets,
} from "../../kube/index.ts";
import {
  type Authority,
  AUTHORITY_SECRET,
  checkAuthority,
  decodeBase64,
  encodeBase64,
  makeAuthority,
  TRUST_CONFIG_MAP,
  TRUST_KEY,
  trustBundle,
} from "../../pki/index.ts";
import { withoutBody } from "../private-write.ts";

export interface AuthorityContext {
  readonly client: KubeClient;
  readonly now: () => Date;
}

const SECRET = `${AUTHORITY_SECRET.namespace}/${AUTHORITY_SECRET.name}`;
const CERTIFICATE_KEY = "tls.crt";
const PRIVATE_KEY = "tls.key";

/**
 * The authority in use, with everybody told to trust it. Nothing is remembered:
 * the Secret is the memory, and signing is rare. Whoever makes the Secret first
 * has made the authority; others find it.
 */
export const openAuthority = async (
  context: AuthorityContext,
  signal: AbortSignal,
): Promise<{ readonly authority: Authority; readonly bundle: string }> => {
  const authority = await findOrMake(context, signal);
  return { authority, bundle: await publish(context, authority, signal) };
};

const findOrMake = async (context: AuthorityContext, signal: AbortSignal): Promise<Authority> => {
  const { client, now } = context;
  const found = await client.get(secrets, AUTHORITY_SECRET, { signal });
  if (found !== undefined) return read(found, now());
  const made = makeAuthority(now());
  const body = {
    metadata: { ...AUTHORITY_SECRET },
    type: "kubernetes.io/tls",
    immutable: true,
    data: {
      [CERTIFICATE_KEY]: encodeBase64(made.certificate),
      [PRIVATE_KEY]: encodeBase64(made.privateKey),
    },
  };
  try {
    await client.create(secrets, body, { signal });
    return made;
  } catch (error) {
    // Somebody was faster: theirs counts, and the next look finds it.
    if (isConflict(error)) return findOrMake(context, signal);
    throw withoutBody(error, SECRET);
  }
};

const read = ({ data }: Secret, now: Date): Authority => {
  const authority = {
    certificate: decodeBase64(data[CERTIFICATE_KEY] ?? ""),
    privateKey: decodeBase64(data[PRIVATE_KEY] ?? ""),
  };
  try {
    checkAuthority(authority, now);
    return authority;
  } catch (cause) {
    const why = cause instanceof Error ? cause.message : String(cause);
    throw new Error(
      `Secret ${SECRET} is no certificate authority: ${why}. Delete it, and a new one is made`,
      { cause },
    );
  }
};

/** Before the first certificate of an authority is out, everybody must be able to know it. */
const publish = async (
  { client, now }: AuthorityContext,
  { certificate }: Authority,
  signal: AbortSignal,
): Promise<string> => {
  const found = await client.get(configMaps, TRUST_CONFIG_MAP, { signal });
  const stored = found?.data[TRUST_KEY];
  const bundle = trustBundle(certificate, { stored, now: now() });
  if (bundle === stored) return bundle;
  const { resourceVersion } = found?.metadata ?? {};
  const body = {
    metadata: { ...TRUST_CONFIG_MAP, ...(resourceVersion !== undefined && { resourceVersion }) },
    data: { [TRUST_KEY]: bundle },
  };
  await (found === undefined
    ? client.create(configMaps, body, { signal })
    : client.mergePatch(configMaps, TRUST_CONFIG_MAP, body, { signal }));
  return bundle;
};

/** The aggregator knows the api-server by the same authorities. */
export const trustInApiService = async (
  { client }: Pick<AuthorityContext, "client">,
  service: ApiService,
  bundle: string,
  signal: AbortSignal,
): Promise<void> => {
  const caBundle = encodeBase64(bundle);
  if (service.spec.caBundle === caBundle) return;
  const { name, resourceVersion } = service.metadata;
  const body = { metadata: { resourceVersion }, spec: { caBundle } };
  await client.mergePatch(apiServices, { name }, body, { signal });
};

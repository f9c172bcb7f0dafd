import { randomBytes, X509Certificate } from "node:crypto";
import { Gauge } from "prom-client";
import {
  backoffDelay,
  type CertificateSigningRequest,
  certificateSigningRequests,
  type Clock,
  configMaps,
  createStore,
  type KubeClient,
  linkAbort,
  type Logger,
  type Metrics,
  type Random,
  runTogether,
  sleep,
  systemClock,
  untilAborted,
} from "../kube/index.ts";
import { makeCertificateRequest, makeKey } from "./certificate-request.ts";
import { commonNameOf, describePeer, type PeerIdentity, signerNameOf } from "./identity.ts";
import { CERTIFICATE_USAGES, decodeBase64, encodeBase64, TRUST_CONFIG_MAP, TRUST_KEY } from "./objects.ts";
import type { TlsMaterial } from "./peer-tls.ts";
import { CERTIFICATE_LIFETIME_MS, isOfCurrentAuthority } from "./trust.ts";

/**
 * A program's certificate, kept fresh. The key is made in memory, never leaves
 * the process, and is a new one with each certificate.
 */
export interface PeerCredentials {
  /** Gets a certificate, and new ones in time, until the signal is aborted. Survives whatever the API server does. */
  run(signal: AbortSignal): Promise<void>;
  /** Undefined until the first certificate is there, and again when it has ended without a new one. */
  current(): TlsMaterial | undefined;
  /** Resolves when there is a certificate. */
  whenReady(signal: AbortSignal): Promise<TlsMaterial>;
  /** Calls back with each new certificate or bundle; the returned function ends that. */
  onChange(listener: (material: TlsMaterial) => void): () => void;
}

export interface PeerCredentialsOptions {
  readonly identity: PeerIdentity;
  readonly client: KubeClient;
  readonly logger: Logger;
  readonly metrics?: Metrics | undefined;
  readonly clock?: Clock | undefined;
  readonly random?: Random | undefined;
}

/** How often it is looked whether the request was answered, in ms: more and more seldom. */
const POLL = { initialMs: 250, maxMs: 5_000 };
const BACKOFF = { initialMs: 500, maxMs: 60_000 };
/** A new certificate is not replaced sooner, whatever is wrong with it, so that nobody is flooded with requests. In ms. */
const REST_MS = 5_000;

/** A certificate with its key, and when it is to be replaced. */
interface Issued {
  readonly certificate: string;
  readonly privateKey: string;
  readonly renewAt: number;
  readonly notAfter: number;
}

export const createPeerCredentials = (options: PeerCredentialsOptions): PeerCredentials => {
  const clock = options.clock ?? systemClock;
  const { client, logger, metrics } = options;
  const trust = createStore({
    client,
    resource: configMaps,
    namespace: TRUST_CONFIG_MAP.namespace,
    fieldSelector: `metadata.name=${TRUST_CONFIG_MAP.name}`,
    logger,
    metrics,
    clock,
  });
  const bundle = (): string | undefined => trust.get(TRUST_CONFIG_MAP)?.data[TRUST_KEY];
  const holder = new Holder({ ...options, clock, random: options.random ?? Math.random, bundle });
  trust.onChange(() => holder.onBundleChange());
  registerExpiry(metrics, () => holder.notAfter);
  const listen = (listener: (material: TlsMaterial) => void) => {
    holder.listeners.add(listener);
    return () => holder.listeners.delete(listener);
  };
  return {
    current: () => holder.current(),
    onChange: listen,
    whenReady: async (signal) => {
      const { promise, resolve } = Promise.withResolvers<TlsMaterial>();
      const unsubscribe = listen(resolve);
      try {
        return holder.current() ?? (await untilAborted(promise, signal));
      } finally {
        unsubscribe();
      }
    },
    run: (signal) =>
      runTogether(
        {
          trust: (taskSignal) => trust.run(taskSignal),
          certificate: (taskSignal) => holder.run(taskSignal),
        },
        signal,
      ),
  };
};

interface HolderOptions extends Requesting {
  readonly logger: Logger;
  /** The authorities to trust, as far as they are known. */
  readonly bundle: () => string | undefined;
}

/** Holds the certificate, and asks for another one when it is time: half of its life, or another authority. */
class Holder {
  readonly listeners = new Set<(material: TlsMaterial) => void>();
  readonly #options: HolderOptions;
  #issued: Issued | undefined;
  /** No request before that, on the monotonic clock. */
  #restUntil = 0;
  #failures = 0;
  #wake = linkAbort(new AbortController().signal);

  constructor(options: HolderOptions) {
    this.#options = options;
  }

  get notAfter(): number | undefined {
    return this.#issued?.notAfter;
  }

  current(): TlsMaterial | undefined {
    const { clock, bundle } = this.#options;
    const authorities = bundle();
    const issued = this.#issued;
    if (issued === undefined || authorities === undefined || clock.now() > issued.notAfter) return undefined;
    return { certificate: issued.certificate, privateKey: issued.privateKey, authorities };
  }

  onBundleChange(): void {
    this.#announce();
    this.#wake.abort();
  }

  async run(signal: AbortSignal): Promise<void> {
    for (;;) {
      this.#wake = linkAbort(signal);
      const waitMs = Math.max(this.#dueInMs(), this.#restMs());
      await sleep(this.#options.clock, waitMs, this.#wake.signal).catch(() => {});
      this.#wake.unlink();
      signal.throwIfAborted();
      // Woken early, or the clock has jumped.
      if (this.#dueInMs() === 0 && this.#restMs() === 0) await this.#renew(signal);
    }
  }

  async #renew(signal: AbortSignal): Promise<void> {
    const { logger, clock, random, identity } = this.#options;
    const peer = describePeer(identity);
    try {
      this.#issued = await requestCertificate(this.#options, signal);
      this.#failures = 0;
      this.#restUntil = clock.monotonic() + REST_MS;
      logger.info({ peer, notAfter: new Date(this.#issued.notAfter).toISOString() }, "has a certificate");
      this.#announce();
    } catch (err) {
      signal.throwIfAborted();
      this.#failures += 1;
      this.#restUntil = clock.monotonic() + backoffDelay(this.#failures, BACKOFF, random);
      logger.warn({ err, peer }, "has no new certificate; trying again");
    }
  }

  /** Time until another certificate is needed; without end while there are no authorities to go by. */
  #dueInMs(): number {
    const authorities = this.#options.bundle();
    if (authorities === undefined) return Number.POSITIVE_INFINITY;
    const issued = this.#issued;
    if (issued === undefined || !isOfCurrentAuthority(issued.certificate, authorities)) return 0;
    return Math.max(0, issued.renewAt - this.#options.clock.now());
  }

  #restMs(): number {
    return Math.max(0, this.#restUntil - this.#options.clock.monotonic());
  }

  #announce(): void {
    const material = this.current();
    if (material !== undefined) for (const listener of this.listeners) listener(material);
  }
}

const registerExpiry = (metrics: Metrics | undefined, notAfter: () => number | undefined): void => {
  if (metrics === undefined) return;
  void new Gauge({
    name: "vireo_certificate_expiry_seconds",
    help: "When the certificate for mutual TLS ends, in seconds since 1970; 0 without one.",
    registers: [metrics.registry],
    collect() {
      this.set((notAfter() ?? 0) / 1000);
    },
  });
};

type Requesting = Pick<PeerCredentialsOptions, "identity" | "client"> & {
  readonly clock: Clock;
  readonly random: Random;
};

/** One request, from the key to the certificate. */
const requestCertificate = async (
  { identity, client, clock, random }: Requesting,
  signal: AbortSignal,
): Promise<Issued> => {
  const key = makeKey();
  const created = await client.create(
    certificateSigningRequests,
    {
      metadata: { name: requestName(identity) },
      spec: {
        request: encodeBase64(makeCertificateRequest(commonNameOf(identity), key)),
        signerName: signerNameOf(identity.kind),
        usages: [...CERTIFICATE_USAGES],
        expirationSeconds: CERTIFICATE_LIFETIME_MS / 1000,
      },
    },
    { signal },
  );
  const certificate = await untilSigned({ client, clock, random }, created, signal);
  const parsed = new X509Certificate(certificate);
  const notAfter = Date.parse(parsed.validTo);
  const now = clock.now();
  return {
    certificate,
    privateKey: key.privateKeyPem,
    notAfter,
    // Counted from now: the beginning in the certificate is earlier, for clocks that differ.
    renewAt: now + (notAfter - now) / 2,
  };
};

/** Nobody can guess it, so nobody takes the name first; the node's name is in it for people. */
const requestName = (identity: PeerIdentity): string => {
  const node = identity.kind === "node-agent" ? `${identity.nodeName.slice(0, 180)}-` : "";
  return `vireo-${identity.kind}-${node}${randomBytes(8).toString("hex")}`.replaceAll(/\.-/g, "-");
};

/**
 * Asks once, and waits as long as it takes: while no controller runs, further
 * requests would only pile up.
 */
const untilSigned = async (
  { client, clock, random }: Pick<Requesting, "client" | "clock" | "random">,
  { metadata: { name } }: CertificateSigningRequest,
  signal: AbortSignal,
): Promise<string> => {
  for (let looks = 1; ; looks += 1) {
    await sleep(clock, backoffDelay(looks, POLL, random), signal);
    const request = await client.get(certificateSigningRequests, { name }, { signal });
    if (request === undefined) throw new Error(`CertificateSigningRequest ${name} is gone`);
    const { certificate, conditions } = request.status;
    if (certificate !== undefined) return decodeBase64(certificate);
    const refusal = conditions.find(({ type }) => type === "Denied" || type === "Failed");
    if (refusal !== undefined) {
      const why = `${refusal.reason ?? "no reason"}: ${refusal.message ?? "no message"}`;
      throw new Error(`CertificateSigningRequest ${name}: ${refusal.type}: ${why}`);
    }
  }
};

import {
  type ApiService,
  apiServices,
  type CertificateSigningRequest,
  certificateSigningRequests,
  type ConfigMap,
  configMaps,
  type Controller,
  createController,
  createStore,
  done,
  requeueAfter,
  type Store,
  type Task,
} from "../../kube/index.ts";
import { AUTHORITY_SECRET, peerKindOfSigner, TRUST_CONFIG_MAP } from "../../pki/index.ts";
import type { ControllerContext } from "../context.ts";
import { applyRequestStep } from "./apply.ts";
import { openAuthority, trustInApiService } from "./authority.ts";
import { decideRequest } from "./decide.ts";

/** The APIService of src/api-server; deploy/api-service makes it. */
const API_SERVICE_NAME = "v1alpha1.subresources.vireo.dev";
/** An authority that was replaced is let go some time after, without anything changing. */
const REFRESH_MS = 60 * 60_000;

type Context = Pick<ControllerContext, "client" | "logger" | "metrics" | "clock">;

/** Everything about certificates: the authority, and the requests that it answers (docs/design/pki.md). */
export const certificateTasks = (context: Context): Readonly<Record<string, Task>> => {
  const { client, logger, metrics } = context;
  const requests = createStore({ client, resource: certificateSigningRequests, logger, metrics });
  const trust = createStore({
    client,
    resource: configMaps,
    namespace: TRUST_CONFIG_MAP.namespace,
    fieldSelector: `metadata.name=${TRUST_CONFIG_MAP.name}`,
    logger,
    metrics,
  });
  const services = createStore({
    client,
    resource: apiServices,
    fieldSelector: `metadata.name=${API_SERVICE_NAME}`,
    logger,
    metrics,
  });
  const authority = authorityController(context, { trust, services });
  const signer = signerController(context, requests);
  return {
    "store certificateSigningRequests": (signal) => requests.run(signal),
    "store trust": (signal) => trust.run(signal),
    "store apiServices": (signal) => services.run(signal),
    "controller certificateAuthority": (signal) => authority.run(signal),
    "controller certificate": (signal) => signer.run(signal),
  };
};

interface Followed {
  readonly trust: Store<ConfigMap>;
  readonly services: Store<ApiService>;
}

/** Sees to it that there is an authority, and that everybody knows it. */
const authorityController = (context: Context, { trust, services }: Followed): Controller => {
  const { client, logger, metrics, clock } = context;
  const key = { namespace: AUTHORITY_SECRET.namespace, name: AUTHORITY_SECRET.name };
  const map = () => [key];
  const controller = createController({
    name: "certificate-authority",
    logger,
    metrics,
    clock,
    watches: [
      { store: trust, map },
      { store: services, map },
    ],
    workers: 1,
    reconcile: async (_key, signal) => {
      const { bundle } = await openAuthority({ client, now: () => new Date(clock.now()) }, signal);
      const service = services.get({ name: API_SERVICE_NAME });
      if (service !== undefined) await trustInApiService({ client }, service, bundle, signal);
      return requeueAfter(REFRESH_MS);
    },
  });
  controller.enqueue(key);
  return controller;
};

/** Answers the requests of our signers; those of others are not looked at. */
const signerController = (context: Context, requests: Store<CertificateSigningRequest>): Controller => {
  const { client, logger, metrics, clock } = context;
  const now = (): Date => new Date(clock.now());
  return createController({
    name: "certificate",
    logger,
    metrics,
    clock,
    watches: [{ store: requests, map: ({ key, after }) => (isOurs(after) ? [key] : []) }],
    reconcile: async (key, signal) => {
      const request = requests.get(key);
      if (request === undefined || !isOurs(request)) return done;
      const step = decideRequest(request, now());
      await applyRequestStep({ client, logger, now }, request, step, signal);
      return step.kind === "keep" ? requeueAfter(step.forMs) : done;
    },
  });
};

const isOurs = (request: CertificateSigningRequest | undefined): boolean =>
  request !== undefined && peerKindOfSigner(request.spec.signerName) !== undefined;

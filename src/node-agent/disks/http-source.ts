import type { LookupAddress, LookupOptions } from "node:dns";
import { isIP, type LookupFunction } from "node:net";
import { Agent, buildConnector, type Dispatcher, request } from "undici";
import type { AddressPolicy } from "./address-policy.ts";
import { FetchFailed, ImageRefused } from "./failure.ts";

/** An answer other than a redirect. Read the body, or discard it. */
export interface HttpAnswer {
  readonly status: number;
  /** A header's value; undefined when it is absent or was sent more than once. */
  readonly header: (name: string) => string | undefined;
  readonly body: AsyncIterable<Buffer>;
  readonly discard: () => void;
}

export interface HttpSource {
  /**
   * Asks for a URL and follows redirects. Throws ImageRefused when an address
   * or a redirect is not allowed, FetchFailed when nothing came in time.
   */
  get(
    url: URL,
    options: { readonly headers: Readonly<Record<string, string>>; readonly signal: AbortSignal },
  ): Promise<HttpAnswer>;
  close(): Promise<void>;
}

/**
 * Where images that another node has made are asked for: the host of the URL is
 * the name of that node, and its path is the agent's there.
 */
export type PeerSource = Pick<HttpSource, "get">;

export interface HttpSourceOptions {
  readonly policy: AddressPolicy;
  /** How names are resolved; node:dns lookup in production. */
  readonly lookup: LookupFunction;
  readonly stallMs: number;
  readonly maxRedirects: number;
}

/** The URL for messages: without its query and password, which may be secrets of their owner. */
export const displayUrl = (url: URL): string => `${url.protocol}//${url.host}${url.pathname}`;

const addressRefused = (host: string, address: string, why: string): ImageRefused =>
  new ImageRefused(
    "AddressRefused",
    `nodes do not download from ${host === address ? address : `${host} (${address})`}: ${why}; use another server, or let the administrator allow it with --allow-download-network`,
  );

/** Resolves a name only when every address that it has may be connected to. */
const guardedLookup =
  ({ policy, lookup }: HttpSourceOptions): LookupFunction =>
  (hostname, options, callback) => {
    const everything: LookupOptions & { all: true } = { ...options, all: true };
    lookup(hostname, everything, (error, found) => {
      const addresses: LookupAddress[] = Array.isArray(found) ? found : [];
      if (error !== null) return callback(error, []);
      for (const { address } of addresses) {
        const why = policy(address);
        if (why !== undefined) return callback(addressRefused(hostname, address, why), []);
      }
      const [first] = addresses;
      if (options.all === true || first === undefined) return callback(null, addresses);
      callback(null, first.address, first.family);
    });
  };

/**
 * Addresses are judged where connections are made, so that each redirect and
 * each reconnect is judged too, and a name that changes its meaning between
 * two questions gains nothing: what is checked is what is connected to.
 */
const guardedConnector = (options: HttpSourceOptions): buildConnector.connector => {
  const connect = buildConnector({
    timeout: options.stallMs,
    lookup: guardedLookup(options),
    allowH2: false,
  });
  return (target, callback) => {
    const host = target.hostname;
    // No lookup is made for an address, so it is judged here.
    const why = isIP(host) === 0 ? undefined : options.policy(host);
    if (why !== undefined) return callback(addressRefused(host, host, why), null);
    connect(target, (...[error, socket]) => {
      if (error !== null) return callback(error, null);
      const peer = socket.remoteAddress ?? "";
      const peerRefused = options.policy(peer);
      if (peerRefused === undefined) return callback(null, socket);
      socket.destroy();
      callback(addressRefused(host, peer, peerRefused), null);
    });
  };
};

const redirectStatuses: ReadonlySet<number> = new Set([301, 302, 303, 307, 308]);

const redirectRefused = (from: URL, why: string): ImageRefused =>
  new ImageRefused(
    "RedirectRefused",
    `${displayUrl(from)} redirects ${why}; name the final address as the URL`,
  );

/** Where an answer leads, if it may. Throws ImageRefused otherwise. */
export const redirectTarget = (from: URL, location: string | undefined): URL => {
  const to = location === undefined ? null : URL.parse(location, from.href);
  if (to === null) throw redirectRefused(from, "to no valid address");
  if (to.protocol !== "https:" && to.protocol !== "http:")
    throw redirectRefused(from, `to ${to.protocol}//, where images are not taken from`);
  if (from.protocol === "https:" && to.protocol === "http:")
    throw redirectRefused(from, "from https to http, where anybody on the way can change the image");
  return to;
};

const answerOf = (response: Dispatcher.ResponseData): HttpAnswer => ({
  status: response.statusCode,
  header: (name) => {
    const value = response.headers[name];
    return typeof value === "string" ? value : undefined;
  },
  body: response.body,
  discard: () => {
    // What is not wanted may be endless; its connection goes with it.
    response.body.on("error", () => {}).destroy();
  },
});

export const createHttpSource = (options: HttpSourceOptions): HttpSource => {
  const agent = new Agent({
    connect: guardedConnector(options),
    headersTimeout: options.stallMs,
    bodyTimeout: options.stallMs,
  });

  const ask = async (
    url: URL,
    headers: Readonly<Record<string, string>>,
    signal: AbortSignal,
  ): Promise<HttpAnswer> => {
    try {
      return answerOf(await request(url, { dispatcher: agent, method: "GET", headers, signal }));
    } catch (error) {
      throw error instanceof ImageRefused ? error : failedBecause(url, error);
    }
  };

  return {
    async get(url, { headers, signal }) {
      let current = url;
      for (let hops = 0; hops <= options.maxRedirects; hops += 1) {
        const answer = await ask(current, headers, signal);
        if (!redirectStatuses.has(answer.status)) return answer;
        answer.discard();
        current = redirectTarget(current, answer.header("location"));
      }
      throw redirectRefused(url, `more than ${options.maxRedirects} times`);
    },
    close: () => agent.destroy(),
  };
};

/** An error of the network as a sentence that names the server. */
export const failedBecause = (url: URL, error: unknown): FetchFailed => {
  const text = typeof error === "object" && error !== null && "message" in error ? error.message : error;
  return new FetchFailed("FetchFailed", `cannot download ${displayUrl(url)}: ${String(text)}`, {
    cause: error,
  });
};

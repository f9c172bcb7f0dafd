import type { IncomingMessage } from "node:http";
import { type PeerCertificate, TLSSocket } from "node:tls";
import { subresources } from "../api/subresources.ts";
import { authenticate, type FrontProxy, type User } from "./front-proxy.ts";
import { ApiProblem } from "./problem.ts";
import { readTarget, type Target } from "./target.ts";

/** A request whose sender is known. */
export interface Asked {
  readonly user: User;
  readonly url: URL;
  readonly method: string;
}

/** Throws ApiProblem unless it comes from kube-apiserver, on behalf of somebody. */
export const readRequest = (request: IncomingMessage, proxy: FrontProxy | undefined): Asked => {
  const user = proxy === undefined ? undefined : authenticate(proxy, callerOf(request));
  if (user === undefined)
    throw new ApiProblem("Unauthorized", "only kube-apiserver may ask here: use the cluster's own address");
  const { url: text = "", method = "" } = request;
  if (!URL.canParse(text, "https://api-server"))
    throw new ApiProblem("BadRequest", "the request has no path");
  return { user, method, url: new URL(text, "https://api-server") };
};

const callerOf = ({ socket, headersDistinct }: IncomingMessage) => {
  const isTls = socket instanceof TLSSocket;
  // A connection that has broken has no certificate any more, whatever the types say.
  const certificate: PeerCertificate | null | undefined = isTls ? socket.getPeerCertificate() : undefined;
  const name: unknown = certificate?.subject?.CN;
  return {
    verified: isTls && socket.authorized,
    commonName: typeof name === "string" ? name : undefined,
    headers: headersDistinct,
  };
};

const METHODS = { stream: "GET", document: "GET", action: "POST" } as const;

/** The subresource that is asked for, asked for as it can be. Throws ApiProblem. */
export const readSubresource = ({ url, method }: Asked, isWebSocket: boolean): Target => {
  const target = readTarget(url.pathname);
  const kind = subresources[target.subresource];
  if (METHODS[kind] !== method)
    throw new ApiProblem(
      "MethodNotAllowed",
      `${target.subresource} is asked for by ${METHODS[kind]}, not by ${method}`,
    );
  if ((kind === "stream") !== isWebSocket)
    throw new ApiProblem(
      "BadRequest",
      `${target.subresource} is ${isWebSocket ? "no stream: ask without Upgrade" : "a stream: ask for a WebSocket"}`,
    );
  return target;
};

/** Where the machine's agent has it. Throws ApiProblem. */
export const agentPathOf = (uid: string, { subresource }: Target, { url }: Pick<Asked, "url">): string => {
  if (subresource !== "portforward") return `/v1/guests/${uid}/${subresource}`;
  const text = url.searchParams.get("port") ?? "";
  const port = Number(text);
  if (!/^[0-9]{1,5}$/.test(text) || port < 1 || port > 65_535)
    throw new ApiProblem("BadRequest", `port: ${JSON.stringify(text)} is not a port from 1 to 65535`);
  return `/v1/guests/${uid}/tcp/${port}`;
};

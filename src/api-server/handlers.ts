import type { IncomingMessage } from "node:http";
import type { Duplex } from "node:stream";
import { subresources } from "../api/subresources.ts";
import { ApiError, DeadlineError, type KubeClient, TransportError } from "../kube/index.ts";
import {
  type PeerClient,
  PeerRefusal,
  type PeerRequestOptions,
  PeerUnreachable,
  REQUESTER_HEADER,
} from "../pki/index.ts";
import type { User } from "./front-proxy.ts";
import { type Machines, subjectOf } from "./machines.ts";
import { ApiProblem, reasonOfCode, successStatus } from "./problem.ts";
import { agentPathOf, type Asked } from "./request.ts";
import { checkSeedReader, resolveSeed } from "./seed.ts";
import type { Target } from "./target.ts";

export interface Handlers {
  /** Opens the stream that the agent has for it. */
  stream(asked: Asked, target: Target, signal: AbortSignal): Promise<Duplex>;
  /** Everything else. */
  answer(asked: Asked, target: Target, signal: AbortSignal): Promise<Answer>;
}

export type Answer =
  | { readonly kind: "json"; readonly body: object }
  /** Passed on as it comes. */
  | { readonly kind: "body"; readonly contentType: string; readonly body: IncomingMessage };

export interface HandlerOptions {
  readonly client: KubeClient;
  readonly machines: Machines;
  readonly peers: PeerClient;
}

/** What is done for each subresource. All throw ApiProblem. */
export const createHandlers = ({ client, machines, peers }: HandlerOptions): Handlers => {
  const ask = async <T>(
    {
      asked,
      target,
      signal,
    }: { readonly asked: Asked; readonly target: Target; readonly signal: AbortSignal },
    how: (...request: Parameters<PeerClient["request"]>) => Promise<T>,
  ): Promise<T> => {
    const machine = await machines.find(target, signal);
    const path = agentPathOf(machine.metadata.uid, target, asked);
    const address = await machines.agentOf(machine, signal);
    return how(address, { path, headers: requesterHeader(asked.user), signal });
  };

  return {
    stream: (asked, target, signal) =>
      explained(target, () =>
        ask({ asked, target, signal }, (address, request) => peers.upgrade(address, request)),
      ),
    answer: (asked, target, signal) =>
      explained(target, async () => {
        if (target.subresource === "seed") {
          const machine = await machines.find(target, signal);
          await checkSeedReader(machines, machine, asked.user, signal);
          return { kind: "json", body: await resolveSeed(client, machine, signal) };
        }
        const isAction = subresources[target.subresource] === "action";
        const method: PeerRequestOptions["method"] = isAction ? "POST" : "GET";
        const response = await ask({ asked, target, signal }, (address, request) =>
          peers.request(address, { ...request, method }),
        );
        if (!isAction) return bodyOf(response);
        response.resume();
        return { kind: "json", body: successStatus(subjectOf(target.name)) };
      }),
  };
};

const requesterHeader = ({ name }: User): Readonly<Record<string, string>> => ({
  [REQUESTER_HEADER]: encodeURIComponent(name),
});

const bodyOf = (response: IncomingMessage): Answer => ({
  kind: "body",
  contentType: response.headers["content-type"] ?? "application/octet-stream",
  body: response,
});

/** Errors of all that is asked on the way, in words for whoever asked. */
const explained = async <T>({ name }: Target, act: () => Promise<T>): Promise<T> => {
  try {
    return await act();
  } catch (error) {
    throw explain(name, error);
  }
};

const explain = (name: string, error: unknown): unknown => {
  const subject = subjectOf(name);
  if (error instanceof PeerRefusal)
    return new ApiProblem(reasonOfCode(error.status), `virtual machine "${name}": ${error.message}`, subject);
  if (error instanceof PeerUnreachable)
    return new ApiProblem("ServiceUnavailable", `virtual machine "${name}": ${error.message}`, subject);
  if (error instanceof TransportError || error instanceof DeadlineError || error instanceof ApiError)
    return new ApiProblem("ServiceUnavailable", `cannot look "${name}" up: ${error.message}`, subject);
  return error;
};

import { readFile } from "node:fs/promises";

import { Agent, request } from "undici";
import { z } from "zod";

import type { ControlPlane } from "../../testbed/control-plane.ts";

/** What the API server answered, unjudged: tests look at refusals as often as at successes. */
export interface Reply {
  readonly code: number;
  readonly body: unknown;
  /** The text of Warning headers. */
  readonly warnings: readonly string[];
}

export interface Call {
  readonly method: "GET" | "POST" | "PUT" | "PATCH" | "DELETE";
  /** With its query, for example "/api/v1/nodes?dryRun=All". */
  readonly path: string;
  readonly body?: object;
  /** Default application/json; a PATCH must say which it is. */
  readonly contentType?: string;
}

export const MERGE_PATCH = "application/merge-patch+json";
export const APPLY_PATCH = "application/apply-patch+yaml";

export interface ApiClient {
  call(call: Call): Promise<Reply>;
  close(): Promise<void>;
}

/** Talks to the API server as the holder of a token, with nothing between the test and the wire. */
export const connect = async (controlPlane: ControlPlane, token: string): Promise<ApiClient> => {
  const ca = await readFile(controlPlane.caFile, "utf8");
  const dispatcher = new Agent({ connect: ca === "" ? {} : { ca } });
  return {
    call: async ({ method, path, body, contentType = "application/json" }) => {
      const response = await request(new URL(path, controlPlane.url), {
        method,
        dispatcher,
        headers: { authorization: `Bearer ${token}`, "content-type": contentType },
        ...(body === undefined ? {} : { body: JSON.stringify(body) }),
      });
      const warning = response.headers["warning"] ?? [];
      const text = await response.body.text();
      return {
        code: response.statusCode,
        body: response.headers["content-type"]?.includes("json") ? JSON.parse(text) : text,
        warnings: typeof warning === "string" ? [warning] : warning,
      };
    },
    close: () => dispatcher.close(),
  };
};

const statusSchema = z.object({
  message: z.string(),
  details: z.object({ causes: z.array(z.object({ field: z.string().optional() })).optional() }).optional(),
});

export interface Refusal {
  readonly message: string;
  /** The fields that the refusal is about, for example "spec.flavor". */
  readonly fields: readonly string[];
}

/** Why a request was refused; undefined when it was not. */
export const refusalOf = ({ code, body }: Reply): Refusal | undefined => {
  if (code < 400) return undefined;
  const { message, details } = statusSchema.parse(body);
  return { message, fields: (details?.causes ?? []).flatMap(({ field }) => field ?? []) };
};

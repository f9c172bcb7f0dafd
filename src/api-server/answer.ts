import { STATUS_CODES, type ServerResponse } from "node:http";
import type { Duplex } from "node:stream";
import { pipeline } from "node:stream/promises";
import type { Answer } from "./handlers.ts";
import { ApiProblem, statusOfProblem } from "./problem.ts";

/** What went wrong, as the user is told it. What nobody foresaw is told in the log only. */
export const problemOf = (error: unknown): ApiProblem =>
  error instanceof ApiProblem
    ? error
    : new ApiProblem("InternalError", "the api-server of Vireo has failed; its log says how");

export const sendJson = (response: ServerResponse, code: number, body: object): void => {
  response.writeHead(code, { "content-type": "application/json" }).end(JSON.stringify(body));
};

export const sendProblem = (response: ServerResponse, problem: ApiProblem): void => {
  // A broken answer must not look like a complete one.
  if (response.headersSent) response.destroy();
  else sendJson(response, problem.code, statusOfProblem(problem));
};

/** Sends an answer to its end. Rejects when it breaks. */
export const sendAnswer = async (response: ServerResponse, answer: Answer): Promise<void> => {
  if (answer.kind === "json") return sendJson(response, 200, answer.body);
  response.writeHead(200, { "content-type": answer.contentType, "cache-control": "no-store" });
  await pipeline(answer.body, response);
};

/** For a connection that asked for a WebSocket and gets none. */
export const sendUpgradeProblem = (socket: Duplex, problem: ApiProblem): void => {
  const body = JSON.stringify(statusOfProblem(problem));
  socket.end(
    `HTTP/1.1 ${problem.code} ${STATUS_CODES[problem.code] ?? "Error"}\r\n` +
      `content-type: application/json\r\ncontent-length: ${Buffer.byteLength(body)}\r\n` +
      `connection: close\r\n\r\n${body}`,
  );
};

import { STATUS_CODES, type ServerResponse } from "node:http";
import { type Duplex, Readable } from "node:stream";
import { pipeline } from "node:stream/promises";
import { BYTES_PROTOCOL, type PeerProblem } from "../../pki/index.ts";
import { type PeerAnswer, PeerProblemError } from "./types.ts";

/** What went wrong, as the caller is told it. What nobody foresaw is told in the log only. */
export const problemOf = (error: unknown): PeerProblemError =>
  error instanceof PeerProblemError
    ? error
    : new PeerProblemError(500, "InternalError", "the node agent has failed; its log says how");

const bodyOf = ({ reason, message }: PeerProblemError): string =>
  JSON.stringify({ reason, message } satisfies PeerProblem);

export const sendProblem = (response: ServerResponse, problem: PeerProblemError): void => {
  if (response.headersSent) {
    // Too late to say so: a broken answer must not look like a complete one.
    response.destroy();
    return;
  }
  response.writeHead(problem.status, { "content-type": "application/json", connection: "close" });
  response.end(bodyOf(problem));
};

/**
 * Sends an answer to its end. Rejects when it breaks; the connection is broken
 * then, too. The body is closed in any case: `pipeline` leaves it as it is when
 * who asked for it has gone already.
 */
export const sendAnswer = async (response: ServerResponse, answer: PeerAnswer): Promise<void> => {
  const { body, status = body === undefined ? 204 : 200 } = answer;
  try {
    response.writeHead(status, answer.headers ?? {});
    if (body instanceof Readable) await pipeline(body, response);
    else response.end(body);
  } finally {
    if (body instanceof Readable) body.destroy();
  }
};

/** For a connection that has not become a response's yet. */
export const sendUpgradeProblem = (socket: Duplex, problem: PeerProblemError): void => {
  const body = bodyOf(problem);
  socket.end(
    `HTTP/1.1 ${problem.status} ${STATUS_CODES[problem.status] ?? "Error"}\r\n` +
      `content-type: application/json\r\ncontent-length: ${Buffer.byteLength(body)}\r\n` +
      `connection: close\r\n\r\n${body}`,
  );
};

export const sendUpgrade = (socket: Duplex): void => {
  socket.write(
    `HTTP/1.1 101 Switching Protocols\r\nconnection: Upgrade\r\nupgrade: ${BYTES_PROTOCOL}\r\n\r\n`,
  );
};

import { ApiError } from "../kube/index.ts";

/**
 * What is told of a write that carried a private key and failed. An admission
 * webhook may quote in its refusal what it was sent, so only the code is left.
 */
export const withoutBody = (error: unknown, secret: string): unknown => {
  if (!(error instanceof ApiError) || error.isConflict) return error;
  return new ApiError(`create Secret ${secret}`, error.status, {
    reason: error.reason,
    message: "the API server's message is withheld, since it may quote the private key",
    retryAfterMs: error.retryAfterMs,
  });
};

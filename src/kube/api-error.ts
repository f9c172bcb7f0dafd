/** What the API server says with `kind: Status`, cut down to what is read here. */
export interface ApiStatus {
  readonly code?: number | undefined;
  readonly reason?: string | undefined;
  readonly message?: string | undefined;
  /** From details.retryAfterSeconds or the Retry-After header, in ms. */
  readonly retryAfterMs?: number | undefined;
}

const RETRYABLE = new Set([429, 500, 502, 503, 504]);

/** The API server answered, and the answer is no. */
export class ApiError extends Error {
  override readonly name = "ApiError";
  /** HTTP status code. */
  readonly status: number;
  /** Machine-readable cause: NotFound, AlreadyExists, Conflict, Expired, Invalid, Forbidden, … */
  readonly reason: string;
  /** How long the server asks to wait, in ms; undefined when it did not ask. */
  readonly retryAfterMs: number | undefined;

  /** @param what the request in words: "create VirtualMachine default/web" */
  constructor(what: string, status: number, answer: ApiStatus) {
    super(`${what}: ${status} ${answer.reason ?? "Unknown"}: ${answer.message ?? "no message"}`);
    this.status = status;
    this.reason = answer.reason ?? "Unknown";
    this.retryAfterMs = answer.retryAfterMs;
  }

  get isNotFound(): boolean {
    return this.status === 404;
  }

  /** Somebody else wrote first, or the object exists already: look again, then decide anew. */
  get isConflict(): boolean {
    return this.status === 409;
  }

  /** The resourceVersion or the continue token is too old to go on from: list again. */
  get isExpired(): boolean {
    return this.status === 410;
  }

  /** The same request may succeed later without anybody's doing. */
  get isRetryable(): boolean {
    return RETRYABLE.has(this.status);
  }
}

/**
 * No usable answer came: connection refused or broken, deadline passed, or
 * bytes that are not the Kubernetes API. The outcome of a write is unknown.
 */
export class TransportError extends Error {
  override readonly name = "TransportError";
  readonly isRetryable = true;

  constructor(what: string, cause: unknown) {
    super(`${what}: ${describeCause(cause)}`, { cause });
  }
}

const describeCause = (cause: unknown): string => {
  if (!(cause instanceof Error)) return String(cause);
  const code = "code" in cause && typeof cause.code === "string" ? `${cause.code}: ` : "";
  return `${code}${cause.message}`;
};

/** Reads a Status object; what is missing or of another type stays undefined. */
export const readStatus = (raw: unknown): ApiStatus => {
  const status = asRecord(raw);
  const seconds = asRecord(status["details"])["retryAfterSeconds"];
  return {
    code: typeof status["code"] === "number" ? status["code"] : undefined,
    reason: typeof status["reason"] === "string" && status["reason"] !== "" ? status["reason"] : undefined,
    message: typeof status["message"] === "string" ? status["message"] : undefined,
    retryAfterMs: typeof seconds === "number" && seconds > 0 ? seconds * 1000 : undefined,
  };
};

const asRecord = (value: unknown): Readonly<Record<string, unknown>> =>
  typeof value === "object" && value !== null ? (value as Record<string, unknown>) : {};

/** Is this the API server's "not found"? */
export const isNotFound = (error: unknown): boolean => error instanceof ApiError && error.isNotFound;

/** Is this a lost race, to be answered by looking again? */
export const isConflict = (error: unknown): boolean => error instanceof ApiError && error.isConflict;

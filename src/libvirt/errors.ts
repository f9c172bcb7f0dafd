/** https://libvirt.org/html/libvirt-virterror.html#virError */
export interface LibvirtErrorDetails {
  /** What went wrong: one of ErrorCode. */
  readonly code: number;
  /** Which part of libvirt says so: virErrorDomain. */
  readonly domain: number;
  /** 1 is a warning, 2 an error. */
  readonly level: number;
  readonly message: string;
}

/** libvirt's own answer: the call arrived and was refused or failed. */
export class LibvirtError extends Error {
  override readonly name = "LibvirtError";
  readonly code: number;
  readonly domain: number;
  readonly level: number;
  /** The procedure's name in the table, for example domainCreateWithFlags. */
  readonly procedure: string;

  constructor(procedure: string, details: LibvirtErrorDetails) {
    super(details.message === "" ? `libvirt error ${details.code} without a message` : details.message);
    this.code = details.code;
    this.domain = details.domain;
    this.level = details.level;
    this.procedure = procedure;
  }
}

/** Why a call was given up. */
export type GivenUp = "disconnected" | "timeout" | "aborted" | "malformed-reply";

const clause: Readonly<Record<GivenUp, string>> = {
  disconnected: "the connection was lost",
  timeout: "its deadline passed",
  aborted: "it was aborted",
  "malformed-reply": "the reply cannot be read",
};

/**
 * What was thrown, as an Error. The system's errors come from Node's own realm,
 * and there are programs (jest's sandbox for one) whose Error is another: hence
 * no instanceof.
 */
export const asError = (thrown: unknown): Error =>
  typeof thrown === "object" && thrown !== null && "message" in thrown && "name" in thrown
    ? (thrown as Error)
    : new Error(String(thrown));

const because = (cause: unknown): string => (cause === undefined ? "" : `: ${asError(cause).message}`);

/**
 * The call was sent and no answer to it is known: it may have been carried
 * out, may still be, or may never be. Read the state again before repeating it.
 */
export class OutcomeUnknownError extends Error {
  override readonly name = "OutcomeUnknownError";
  readonly procedure: string;
  readonly reason: GivenUp;

  constructor(procedure: string, reason: GivenUp, cause: unknown) {
    super(`outcome of ${procedure} is unknown, ${clause[reason]}${because(cause)}`, { cause });
    this.procedure = procedure;
    this.reason = reason;
  }
}

/** The call never left this process: libvirt knows nothing of it, and repeating it is safe. */
export class NotSentError extends Error {
  override readonly name = "NotSentError";
  readonly procedure: string;
  readonly reason: Exclude<GivenUp, "malformed-reply">;

  constructor(procedure: string, reason: Exclude<GivenUp, "malformed-reply">, cause: unknown) {
    super(`${procedure} was not sent, ${clause[reason]}${because(cause)}`, { cause });
    this.procedure = procedure;
    this.reason = reason;
  }
}

/** A stream is longer than the caller takes; the rest of it was refused. */
export class StreamLimitError extends Error {
  override readonly name = "StreamLimitError";
  readonly procedure: string;
  readonly maxBytes: number;

  constructor(procedure: string, maxBytes: number) {
    super(`the stream of ${procedure} exceeds ${maxBytes} bytes`);
    this.procedure = procedure;
    this.maxBytes = maxBytes;
  }
}

/** The peer does not speak the protocol as documented; the connection is closed. */
export class ProtocolError extends Error {
  override readonly name = "ProtocolError";
}

/** Nothing at all was heard from the daemon for the time that keepalive allows; the connection is closed. */
export class KeepaliveError extends Error {
  override readonly name = "KeepaliveError";
}

/** The connection was closed by our own `close()`. */
export class ClosedError extends Error {
  override readonly name = "ClosedError";
}

/** No connection came about; `cause` says why. */
export class ConnectError extends Error {
  override readonly name = "ConnectError";
  readonly socketPath: string;

  constructor(socketPath: string, cause: unknown) {
    super(`cannot connect to libvirtd at ${socketPath}${because(cause)}`, { cause });
    this.socketPath = socketPath;
  }
}

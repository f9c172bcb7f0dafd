/**
 * Only a change helps: a wrong spec, a missing permission. The controller does
 * not retry until something that the key is mapped from changes. The reason is
 * the condition reason under which the status reports it.
 */
export class StalledError extends Error {
  override readonly name: string = "StalledError";
  readonly reason: string;

  constructor(reason: string, message: string, options?: ErrorOptions) {
    super(message, options);
    this.reason = reason;
  }
}

/** Nothing is wrong, but something has to happen first; the controller looks again after `afterMs`. */
export class WaitingError extends Error {
  override readonly name = "WaitingError";
  readonly afterMs: number;
  readonly reason: string;

  constructor(afterMs: number, reason: string, message: string) {
    super(message);
    this.afterMs = afterMs;
    this.reason = reason;
  }
}

/** The command line cannot be followed; the message says which part and why. Exit code 2. */
export class UsageError extends Error {
  override readonly name = "UsageError";
}

/** It did not work; the message says with which object, and what to do. Exit code 1. */
export class CommandFailedError extends Error {
  override readonly name = "CommandFailedError";
}

/** Somebody pressed Ctrl-C, or asked the program to end in another way. */
export class InterruptedError extends Error {
  override readonly name = "InterruptedError";
  /** 128 and the number of the signal, as shells have it. */
  readonly exitCode: number;

  constructor(signal: "SIGINT" | "SIGTERM" | "SIGHUP") {
    super(`ended by ${signal}`);
    this.exitCode = { SIGHUP: 129, SIGINT: 130, SIGTERM: 143 }[signal];
  }
}

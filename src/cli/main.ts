import { commands } from "./commands/index.ts";
import { InterruptedError } from "./errors.ts";
import { createHost } from "./host/index.ts";
import { isBrokenPipe } from "./print.ts";
import { runProgram } from "./program.ts";

declare global {
  /** Set by scripts/build.ts; absent when this is run from its source. */
  var VIREO_VERSION: string | undefined;
  var VIREO_VIEWER_SCRIPT: string | undefined;
}

/** Ctrl-C asks to end; when that was asked for already, it ends at once. */
const createInterrupt = (): AbortSignal => {
  const controller = new AbortController();
  for (const name of ["SIGINT", "SIGTERM", "SIGHUP"] as const)
    process.on(name, () => {
      const reason = new InterruptedError(name);
      if (controller.signal.aborted) process.exit(reason.exitCode);
      controller.abort(reason);
    });
  return controller.signal;
};

// A reader that has seen enough, such as head(1), is no reason to complain.
process.stdout.on("error", (error) => {
  if (!isBrokenPipe(error)) throw error;
  process.exit(0);
});

const exitCode = await runProgram({
  commands,
  host: createHost(process),
  args: process.argv.slice(2),
  signal: createInterrupt(),
  version: typeof VIREO_VERSION === "string" ? VIREO_VERSION : "from source",
  viewerScript: typeof VIREO_VIEWER_SCRIPT === "string" ? VIREO_VIEWER_SCRIPT : undefined,
});
// Nothing may be left to wait for by now; what is, a broken connection for instance, must not hold the process.
process.exit(exitCode);

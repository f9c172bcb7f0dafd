import { type Command, parseCommandLine, usage, UsageError } from "./command-line.ts";
import { createLogger, runUntilShutdown } from "./kube/index.ts";

/** Exit code for a command line that cannot be followed, as getopt programs have it. */
const EXIT_USAGE = 2;

const main = async (args: readonly string[]): Promise<number> => {
  const command = readCommand(args);
  if (command === undefined) return EXIT_USAGE;
  if (command.kind === "help") {
    process.stdout.write(usage);
    return 0;
  }
  const logger = createLogger({ component: command.kind, level: command.logLevel });
  return runUntilShutdown({ logger, run: async (signal) => run(command, logger, signal) });
};

const readCommand = (args: readonly string[]): Command | undefined => {
  try {
    return parseCommandLine(args);
  } catch (error) {
    if (!(error instanceof UsageError)) throw error;
    process.stderr.write(`vireo: ${error.message}\n\n${usage}`);
    return undefined;
  }
};

/** Each program is loaded when it is asked for: none holds the others' modules in memory. */
const run = async (
  command: Exclude<Command, { readonly kind: "help" }>,
  logger: ReturnType<typeof createLogger>,
  signal: AbortSignal,
): Promise<void> => {
  if (command.kind === "controller") {
    const { runController } = await import("./controllers/program.ts");
    return runController({ config: command.config, logger }, signal);
  }
  if (command.kind === "api-server") {
    const { runApiServer } = await import("./api-server/program.ts");
    return runApiServer({ config: command.config, logger }, signal);
  }
  const { runNodeAgent } = await import("./node-agent/program.ts");
  return runNodeAgent({ config: command.config, logger }, signal);
};

// Nothing may be left to wait for by now; what is, a broken connection for instance, must not hold the process.
process.exit(await main(process.argv.slice(2)));

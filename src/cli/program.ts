import { loadKubeConfig, systemClock } from "../kube/index.ts";
import { connectCluster, type Cluster } from "./cluster.ts";
import type { Command, Invocation } from "./command.ts";
import { COMPLETE, completeHidden } from "./completion/complete.ts";
import { CommandFailedError, InterruptedError, UsageError } from "./errors.ts";
import { explain } from "./explain.ts";
import { commandHelp, overview, PROGRAM } from "./help.ts";
import type { Host } from "./host/index.ts";
import { readName } from "./names.ts";
import { parseCommandLine, type Parsed } from "./parse.ts";
import { write } from "./print.ts";
import { createSay, type Say } from "./say.ts";
import type { Session } from "./session.ts";

export interface ProgramOptions {
  readonly commands: readonly Command[];
  readonly host: Host;
  /** What follows the program's name. */
  readonly args: readonly string[];
  /** Aborted with an InterruptedError. */
  readonly signal: AbortSignal;
  readonly version: string;
  /** See Session. */
  readonly viewerScript: string | undefined;
}

/** Exit codes: it did not work; it was not understood. */
const FAILED = 1;
const NOT_UNDERSTOOD = 2;

/** Runs one command line to its end, and resolves with the exit code. */
export const runProgram = async (options: ProgramOptions): Promise<number> => {
  const { host, args, commands } = options;
  const say = createSay(host.stderr);
  if (args[0] === COMPLETE) return completeHidden(commands, args.slice(1), sessionMaker(options, say));
  try {
    return await follow(options, say, parseCommandLine(commands, args));
  } catch (error) {
    if (error instanceof UsageError) {
      say.error(error.message);
      host.stderr.write(`"${helpFor(commands, args)}" tells more.\n`);
      return NOT_UNDERSTOOD;
    }
    if (options.signal.aborted) return interrupted(options.signal, say);
    say.error(explain(error));
    return FAILED;
  }
};

const helpFor = (commands: readonly Command[], args: readonly string[]): string => {
  const named = commands.find(({ name }) => args.slice(0, name.split(" ").length).join(" ") === name);
  return named === undefined ? `${PROGRAM} --help` : `${PROGRAM} ${named.name} --help`;
};

/** What was asked for goes on: only this program ends. */
const interrupted = ({ reason }: AbortSignal, say: Say): number => {
  say.progress("interrupted; what was asked for already goes on");
  return reason instanceof InterruptedError ? reason.exitCode : FAILED;
};

const follow = async (options: ProgramOptions, say: Say, parsed: Parsed): Promise<number> => {
  const { stdout } = options.host;
  switch (parsed.kind) {
    case "help":
      await write(
        stdout,
        parsed.command === undefined ? overview(options.commands) : commandHelp(parsed.command),
      );
      return 0;
    case "version":
      await write(stdout, `kubectl-vireo ${options.version}\n`);
      return 0;
    case "run": {
      const { session, close } = sessionMaker(options, say)(parsed.invocation);
      try {
        return (await parsed.command.run(parsed.invocation, session)) ?? 0;
      } catch (error) {
        if (options.signal.aborted && parsed.command.runsUntilInterrupted === true) return 0;
        throw error;
      } finally {
        await close();
      }
    }
  }
};

export type MakeSession = (invocation: Pick<Invocation, "text">) => {
  readonly session: Session;
  readonly close: () => Promise<void>;
};

const sessionMaker =
  ({ host, signal, version, viewerScript }: ProgramOptions, say: Say): MakeSession =>
  (invocation) => {
    let connected: Cluster | undefined;
    const session: Session = {
      host,
      say,
      signal,
      version,
      viewerScript,
      clock: systemClock,
      random: Math.random,
      cluster: async () => (connected ??= connect(invocation, version)),
    };
    return { session, close: async () => connected?.close() };
  };

/** Throws CommandFailedError with what is wrong with the kubeconfig, UsageError for a name that is none. */
const connect = (invocation: Pick<Invocation, "text">, version: string): Cluster => {
  const namespace = invocation.text("namespace");
  if (namespace !== undefined) readName("--namespace", namespace);
  const kubeconfig = invocation.text("kubeconfig");
  const context = invocation.text("context");
  try {
    const kubeConfig = loadKubeConfig({ kubeconfig, context });
    return connectCluster({ kubeConfig, namespace, userAgent: `kubectl-vireo/${version}` });
  } catch (cause) {
    throw new CommandFailedError(cause instanceof Error ? cause.message : String(cause), { cause });
  }
};

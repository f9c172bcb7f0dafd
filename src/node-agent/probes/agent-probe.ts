import { z } from "zod";
import { ErrorCode, LibvirtError } from "../../libvirt/index.ts";
import { oneLine } from "./message.ts";
import type { ProbeResult } from "./types.ts";

/**
 * A program in the guest, run by the QEMU guest agent.
 * https://qemu-project.gitlab.io/qemu/interop/qemu-ga-ref.html#command-QGA-misc.guest-exec
 */

/** Sends a command (JSON) to the guest's agent and resolves with its answer; rejects as src/libvirt does. */
export type AskAgent = (
  vmUid: string,
  command: string,
  options: { readonly signal: AbortSignal; readonly seconds: number },
) => Promise<string>;

export interface Timing {
  /** Ms that never go back. */
  readonly monotonic: () => number;
  /** Resolves after `ms`; rejects when aborted. */
  readonly sleep: (ms: number, signal: AbortSignal) => Promise<void>;
}

export interface AgentProbe {
  /** Resolves with whatever happens; rejects only when aborted. */
  run(
    command: readonly string[],
    options: { readonly signal: AbortSignal; readonly timeoutSeconds: number },
  ): Promise<ProbeResult>;
}

const FIRST_POLL_MS = 20;
const MAX_POLL_MS = 500;

const pid = z.int();
const started = z.object({ return: z.object({ pid }) });
const status = z.object({
  return: z.object({
    exited: z.boolean(),
    exitcode: z.int().optional(),
    signal: z.int().optional(),
  }),
});
type Status = z.output<typeof status>["return"];

/** What of libvirt's errors the guest is to blame for; the others say that libvirt could not ask it. */
const guestsFault: ReadonlySet<number> = new Set([
  ErrorCode.AGENT_UNRESPONSIVE,
  ErrorCode.AGENT_UNSYNCED,
  ErrorCode.ARGUMENT_UNSUPPORTED,
  // The agent's own refusal: guest-exec is disabled, or the program does not exist.
  ErrorCode.INTERNAL_ERROR,
]);

const failure = (message: string): ProbeResult => ({ kind: "failure", message: oneLine(message) });

const judgeError = (error: unknown): ProbeResult => {
  if (error instanceof LibvirtError && guestsFault.has(error.code)) return failure(error.message);
  if (error instanceof z.ZodError || error instanceof SyntaxError) {
    return failure("the guest agent's answer cannot be understood");
  }
  return { kind: "unknown", message: oneLine(error instanceof Error ? error.message : String(error)) };
};

const judgeExit = ({ exitcode, signal }: Status): ProbeResult => {
  if (exitcode === 0) return { kind: "success" };
  return failure(
    exitcode === undefined ? `the program was ended by signal ${signal ?? "?"}` : `exit code ${exitcode}`,
  );
};

/**
 * The probes of one guest by its agent. A program that does not end in time
 * goes on in the guest, where nothing can stop it; until it has ended no other
 * is started, so that a guest in trouble does not fill up with probes.
 */
export const createAgentProbe = (vmUid: string, ask: AskAgent, timing: Timing): AgentProbe => {
  let unfinished: number | undefined;

  const execute = async (command: object, deadline: number, signal: AbortSignal): Promise<unknown> => {
    const seconds = Math.max(1, Math.ceil((deadline - timing.monotonic()) / 1_000));
    return JSON.parse(await ask(vmUid, JSON.stringify(command), { signal, seconds }));
  };
  const statusOf = async (pid: number, deadline: number, signal: AbortSignal): Promise<Status> => {
    const answer = await execute({ execute: "guest-exec-status", arguments: { pid } }, deadline, signal);
    return status.parse(answer).return;
  };

  /** The exit status of the program, or undefined when it has not ended in time. */
  const untilExited = async (pid: number, deadline: number, signal: AbortSignal) => {
    for (let pauseMs = FIRST_POLL_MS; ; pauseMs = Math.min(pauseMs * 2, MAX_POLL_MS)) {
      const now = await statusOf(pid, deadline, signal);
      if (now.exited) return now;
      const left = deadline - timing.monotonic();
      if (left <= 0) return undefined;
      await timing.sleep(Math.min(pauseMs, left), signal);
    }
  };

  const attempt = async (
    [path, ...arg]: readonly string[],
    deadline: number,
    signal: AbortSignal,
  ): Promise<ProbeResult | undefined> => {
    if (unfinished !== undefined) {
      const before = await statusOf(unfinished, deadline, signal);
      if (!before.exited) return failure("the program of an earlier probe still runs");
      unfinished = undefined;
    }
    const exec = { execute: "guest-exec", arguments: { path, arg } };
    const { pid } = started.parse(await execute(exec, deadline, signal)).return;
    unfinished = pid;
    const exit = await untilExited(pid, deadline, signal);
    if (exit === undefined) return undefined;
    unfinished = undefined;
    return judgeExit(exit);
  };

  return {
    run: async (command, { signal, timeoutSeconds }) => {
      const deadline = timing.monotonic() + timeoutSeconds * 1_000;
      try {
        const result = await attempt(command, deadline, signal);
        return result ?? failure(`the program did not end within ${timeoutSeconds} s`);
      } catch (error) {
        signal.throwIfAborted();
        // Whether that program still runs cannot be known any more: the agent was restarted, or forgot it.
        unfinished = undefined;
        return judgeError(error);
      }
    },
  };
};

import { once } from "node:events";
import { connect, type Socket } from "node:net";

import { waitFor } from "../../testbed/wait.ts";

/** A root shell in a tiny guest, by its serial console. */
export interface GuestShell extends AsyncDisposable {
  /** What the command prints. Rejects when it fails. */
  run(command: string): Promise<string>;
}

/** What busybox asks a terminal for, and colours it with. */
// oxlint-disable-next-line no-control-regex
const CONTROL_SEQUENCE = /\u001b\[[0-9;]*[A-Za-z]/g;
/** Ends whatever reads the terminal: a shell, or the login program. */
const END_OF_INPUT = "\u0004";
/**
 * A shell that neither echoes nor prompts, nor breaks lines at the edge of a
 * screen. It says when the terminal is its own: what is typed sooner is lost.
 */
const PLAIN_SHELL = 'stty -echo; echo "plain ""shell"; while read -r line; do eval "$line"; done';

const ANSWER_TIMEOUT_MS = 30_000;

/** The screen of the guest: the end of what it has written. */
class Terminal {
  readonly socket: Socket;
  text = "";

  constructor(socket: Socket) {
    this.socket = socket;
    socket.setEncoding("latin1");
    // QEMU holds the guest up when nobody reads.
    socket.on("data", (text) => {
      this.text = (this.text + String(text)).replaceAll(CONTROL_SEQUENCE, "");
    });
    socket.on("error", () => {});
  }

  send(text: string): void {
    this.socket.write(text);
  }

  async shows(what: string, pattern: RegExp): Promise<RegExpExecArray> {
    const matches: RegExpExecArray[] = [];
    await waitFor(
      what,
      () => {
        const match = pattern.exec(this.text);
        if (match === null) throw new Error(JSON.stringify(this.text.slice(-500)));
        matches.push(match);
        return true;
      },
      { timeoutMs: ANSWER_TIMEOUT_MS, intervalMs: 20 },
    );
    const [match] = matches;
    if (match === undefined) throw new Error(`${what}: nothing matches`);
    return match;
  }
}

/** Logs in, or finds itself logged in, whoever was here before. */
const logIn = async (terminal: Terminal): Promise<void> => {
  terminal.send(`${END_OF_INPUT}\n`);
  const [prompt] = await terminal.shows("a prompt", /login: $|# $/);
  if (prompt !== "# ") {
    terminal.send("root\n");
    await terminal.shows("a shell", /# $/);
  }
  terminal.send(`${PLAIN_SHELL}\n`);
  await terminal.shows("a plain shell", /plain shell\r\n$/);
};

/** The guest must have booted. */
export const openShell = async (socketPath: string): Promise<GuestShell> => {
  const socket = connect(socketPath);
  await once(socket, "connect");
  const terminal = new Terminal(socket);
  await logIn(terminal);
  let number = 0;
  return {
    run: async (command) => {
      number += 1;
      terminal.text = "";
      terminal.send(`{ ${command}; } 2>&1 </dev/null; echo "=${number}=$?="\n`);
      const [, output = "", status] = await terminal.shows(
        `an answer to ${command}`,
        new RegExp(`^([^]*)=${number}=(\\d+)=\r\n`),
      );
      const text = output.replaceAll("\r\n", "\n").trim();
      if (status !== "0") throw new Error(`${command} failed in the guest (${status}): ${text}`);
      return text;
    },
    [Symbol.asyncDispose]: async () => {
      socket.destroy();
      if (!socket.closed) await once(socket, "close");
    },
  };
};

import type { Socket } from "node:net";
import { whenAborted } from "../../kube/index.ts";
import { machineArgument, type Command } from "../command.ts";
import { UsageError } from "../errors.ts";
import { explain } from "../explain.ts";
import { joinConnection, joinStdio } from "../join.ts";
import { listen, type Listener } from "../listen.ts";
import { requireMachine } from "../machines.ts";
import { readMachineName } from "../names.ts";
import type { Session } from "../session.ts";

/** A port here and one of the guest. */
export interface PortPair {
  /** 0: any that is free. */
  readonly local: number;
  readonly remote: number;
}

/** Time that a guest has to finish what it says once the local side has said its last. */
const LINGER_MS = 10_000;

/** Reads "8080:80", "80" or ":80". Throws UsageError. */
export const readPorts = (text: string): PortPair => {
  const match = /^(?:([0-9]{0,5})(:))?([0-9]{1,5})$/.exec(text);
  const remote = readPort(text, match?.[3]);
  if (match?.[2] === undefined) return { local: remote, remote };
  return { local: match[1] === "" ? 0 : readPort(text, match[1]), remote };
};

const readPort = (text: string, digits: string | undefined): number => {
  const port = Number(digits);
  if (digits !== undefined && port >= 1 && port <= 65_535) return port;
  throw new UsageError(
    `PORT: ${JSON.stringify(text)} is not PORT, LOCAL:PORT or :PORT, each from 1 to 65535`,
  );
};

export const portForward: Command = {
  name: "port-forward",
  summary: "Forwards local ports to ports of a guest",
  description: [
    "Connections go through the API server and the machine's node, so that it works wherever kubectl does; the guest sees them come from its node, and its security groups must allow that.",
    "TCP only. A half-closed connection is held until the guest has been silent for ten seconds.",
  ],
  arguments: [
    machineArgument,
    { name: "PORT", description: "[LOCAL:]PORT; :PORT takes any free port here", count: "many" },
  ],
  flags: [
    {
      name: "address",
      kind: "text",
      placeholder: "IP",
      description: "address to listen on; default 127.0.0.1",
    },
    {
      name: "stdio",
      kind: "switch",
      description: "join standard input and output with one port instead: for ProxyCommand of ssh",
    },
  ],
  examples: [
    {
      comment: "http://127.0.0.1:8080 is the guest's web server",
      command: "kubectl vireo port-forward web 8080:80",
    },
  ],
  runsUntilInterrupted: true,
  run: async (invocation, session) => {
    const pairs = invocation.words("PORT").map(readPorts);
    const name = readMachineName(invocation.word("VM"));
    if (invocation.isOn("stdio")) {
      const [pair, ...others] = pairs;
      if (pair === undefined || others.length > 0) throw new UsageError("--stdio takes exactly one port");
      await forwardStdio(session, name, pair.remote);
      return undefined;
    }
    const { object } = await requireMachine(session, name);
    const machine = object.metadata.name;
    await forwardPorts(session, { machine, address: invocation.text("address") ?? "127.0.0.1", pairs });
    return undefined;
  },
};

const forwardStdio = async (session: Session, machine: string, port: number): Promise<void> => {
  const { host, signal } = session;
  const cluster = await session.cluster();
  const { stream } = await cluster.connect(machine, "portforward", { signal, query: { port } });
  const onAbort = (): void => void stream.destroy();
  signal.addEventListener("abort", onAbort, { once: true });
  await joinStdio(host.stdin, host.stdout, stream);
};

interface Forwarding {
  readonly machine: string;
  readonly address: string;
  readonly pairs: readonly PortPair[];
}

const forwardPorts = async (session: Session, { machine, address, pairs }: Forwarding): Promise<void> => {
  const listeners: Listener[] = [];
  try {
    for (const { local, remote } of pairs) {
      const serve = (socket: Socket): Promise<void> => serveConnection(session, machine, remote, socket);
      const listener = await listen({ address, port: local, serve });
      listeners.push(listener);
      session.host.stdout.write(`Forwarding from ${listener.address}:${listener.port} -> ${remote}\n`);
    }
    await whenAborted(session.signal);
  } finally {
    await Promise.all(listeners.map((listener) => listener.close()));
  }
};

const serveConnection = async (
  session: Session,
  machine: string,
  port: number,
  socket: Socket,
): Promise<void> => {
  const { signal, clock } = session;
  try {
    const cluster = await session.cluster();
    const { stream } = await cluster.connect(machine, "portforward", { signal, query: { port } });
    await joinConnection(socket, stream, { clock, lingerMs: LINGER_MS });
  } catch (error) {
    if (!signal.aborted) session.say.error(`port ${port}: ${explain(error)}`);
  }
};

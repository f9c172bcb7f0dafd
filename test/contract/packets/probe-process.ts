import { spawn } from "node:child_process";
import { createSocket } from "node:dgram";
import { networkInterfaces } from "node:os";
import { connect, createServer, type Socket } from "node:net";

import { echoRequest, IP_PROTOCOLS, PORTS, type Command, type Report } from "./probe-messages.ts";

/**
 * Runs inside a namespace: listens to everything that tests send, sends what it
 * is told to, and reports what it hears. It is one process for all probes of a
 * namespace, so that a probe costs a packet and not a program.
 */

const report = (message: Report): void => {
  process.send?.(message);
};

const TOKENS = /<([a-z0-9-]+)>/g;

const reportHeard = (text: string): void => {
  for (const [, token = ""] of text.matchAll(TOKENS)) report({ kind: "heard", token });
};

const reportAnswered = (text: string): void => {
  for (const [, token = ""] of text.matchAll(TOKENS)) report({ kind: "answered", token });
};

/** A connection that is cut ends with an error; that is what some tests are about. */
const ignoreErrors = (socket: Socket): Socket => socket.on("error", () => {});

const listenTcp = (port: number): Promise<void> =>
  new Promise((resolve) => {
    const server = createServer((socket) => {
      ignoreErrors(socket).on("data", (data) => {
        reportHeard(data.toString());
        socket.write(data);
      });
    });
    server.listen(port, "0.0.0.0", resolve);
  });

/** On one address, so that answers come from the address that was asked. */
const listenUdp = (port: number, address: string): Promise<void> =>
  new Promise((resolve) => {
    const socket = createSocket("udp4");
    socket.on("message", (data, peer) => {
      reportHeard(data.toString());
      // What is refused on the way back is refused: the sender sees that it gets no answer.
      socket.send(data, peer.port, peer.address, () => {});
    });
    socket.bind(port, address, resolve);
  });

const ownAddresses = (): readonly string[] =>
  Object.values(networkInterfaces()).flatMap((list) =>
    (list ?? []).filter(({ family }) => family === "IPv4").map(({ address }) => address),
  );

/** Echo requests are heard, and answered by the kernel. The message begins eight bytes before the token. */
const reportIcmp = (text: string): void => {
  for (const { index, 1: token = "" } of text.matchAll(TOKENS)) {
    const type = text.charCodeAt(index - 8);
    if (type === 8) report({ kind: "heard", token });
    if (type === 0) report({ kind: "answered", token });
  }
};

const listenRaw = (protocol: number): void => {
  // It ends with this process, even when that is killed.
  const argv = ["--pdeathsig", "KILL", "socat", "-u", `IP4-RECV:${protocol}`, "STDOUT"];
  const { stdout } = spawn("setpriv", argv, { stdio: ["ignore", "pipe", "inherit"] });
  stdout.setEncoding("latin1").on("data", protocol === 1 ? reportIcmp : reportHeard);
};

const sendRaw = (protocol: number, address: string, payload: Buffer, from: string | undefined): void => {
  const target = `IP4-SENDTO:${address}:${protocol}${from === undefined ? "" : `,bind=${from}`}`;
  const { stdin } = spawn("socat", ["-u", "STDIN", target], { stdio: ["pipe", "ignore", "ignore"] });
  stdin.on("error", () => {});
  stdin.end(payload);
};

const sendUdp = (address: string, port: number, text: string, from: string | undefined): void => {
  const socket = createSocket("udp4");
  const timer = setTimeout(() => socket.close(), 5_000);
  socket.once("close", () => clearTimeout(timer));
  socket.once("error", () => socket.close());
  socket.once("message", (data) => {
    reportAnswered(data.toString());
    socket.close();
  });
  socket.bind(0, from ?? "0.0.0.0", () => socket.send(text, port, address, () => {}));
};

const sendTcp = (address: string, port: number, text: string, from: string | undefined): void => {
  const options = { host: address, port, ...(from === undefined ? {} : { localAddress: from }) };
  const socket = ignoreErrors(connect(options, () => socket.write(text)));
  socket.on("data", (data) => {
    reportAnswered(data.toString());
    socket.destroy();
  });
  setTimeout(() => socket.destroy(), 5_000).unref();
};

const streams = new Map<string, Socket>();

const openStream = ({ id, address, port, from }: Extract<Command, { kind: "open" }>): void => {
  const options = { host: address, port, ...(from === undefined ? {} : { localAddress: from }) };
  const socket = connect(options, () => report({ kind: "opened", id }));
  socket.setNoDelay(true);
  streams.set(id, ignoreErrors(socket));
  socket.on("data", (data) => {
    for (const line of data.toString().split("\n")) if (line !== "") report({ kind: "echo", id, text: line });
  });
  socket.on("close", () => report({ kind: "closed", id }));
};

const carryOut = (command: Command): void => {
  switch (command.kind) {
    case "open":
      return openStream(command);
    case "say":
      return void streams.get(command.id)?.write(`${command.text}\n`);
    case "send": {
      const { attempt, address, token, from } = command;
      const text = `<${token}>`;
      switch (attempt.protocol) {
        case "tcp":
          return sendTcp(address, attempt.port, text, from);
        case "udp":
          return sendUdp(address, attempt.port, text, from);
        case "echo":
          return sendRaw(1, address, echoRequest(text), from);
        case "other":
          // Zeros where GRE has its flags and its version.
          return sendRaw(attempt.number, address, Buffer.from(`\0\0\0\0${text}`), from);
      }
    }
  }
};

process.on("message", carryOut);
// The test is over, however it ended.
process.on("disconnect", () => process.exit());

for (const protocol of IP_PROTOCOLS) listenRaw(protocol);
// A node may have an address twice: as the gateway of Networks that share it.
const addresses = [...new Set(ownAddresses())];
await Promise.all([
  ...PORTS.map(listenTcp),
  ...PORTS.flatMap((port) => addresses.map((address) => listenUdp(port, address))),
]);
report({ kind: "ready" });

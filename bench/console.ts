import { once } from "node:events";
import { connect } from "node:net";
import { join } from "node:path";
import type { Duplex } from "node:stream";

import { subresourcePath } from "../src/api/subresources.ts";
import { createRawKubeClient, loadKubeConfig } from "../src/kube/index.ts";
import type { Guest } from "../test/e2e/support/guest.ts";
import { NAMESPACE, type Stage } from "../test/e2e/support/stage.ts";
import { waitFor } from "../test/testbed/wait.ts";
import { percentile } from "./statistics.ts";

/** One line: a terminal holds 4,095 characters of it. */
const KEYSTROKES = 200;

/** From a key to its echo, in ms. */
export interface EchoTimes {
  readonly p50Ms: number;
  readonly p95Ms: number;
}

/** What the stream says from now on. */
const listenTo = (stream: Duplex) => {
  let text = "";
  stream.on("data", (chunk: Buffer) => (text += chunk.toString("latin1")));
  return {
    forget: () => (text = ""),
    until: (pattern: RegExp, timeoutMs = 60_000): Promise<true> =>
      waitFor(
        String(pattern),
        () => {
          if (!pattern.test(text)) throw new Error(JSON.stringify(text.slice(-300)));
          return true as const;
        },
        { timeoutMs },
      ),
  };
};

/** The shell asks the terminal where its cursor is after each prompt, and is not answered. */
const PROMPT = /# (?:\S\[6n)?$/;
const LOGIN = /login: $/;

/** Logs in and starts a program that leaves the echo to the guest's kernel. */
const prepare = async (stream: Duplex): Promise<void> => {
  const heard = listenTo(stream);
  await waitFor("a login prompt", async () => {
    heard.forget();
    stream.write("\r");
    return heard.until(LOGIN, 2_000);
  });
  stream.write("root\r");
  await heard.until(PROMPT);
  stream.write("echo ready-$((6*7)); cat >/dev/null\r");
  await heard.until(/ready-42\r\n$/);
};

const typeKeys = async (stream: Duplex): Promise<EchoTimes> => {
  const times: number[] = [];
  for (let index = 0; index < KEYSTROKES; index += 1) {
    const began = performance.now();
    stream.write("x");
    await once(stream, "data");
    times.push(performance.now() - began);
  }
  return { p50Ms: percentile(times, 0.5), p95Ms: percentile(times, 0.95) };
};

/** Ends the program and the login, so that the next one finds the prompt again. */
const leave = async (stream: Duplex): Promise<void> => {
  const heard = listenTo(stream);
  stream.write("\u0003");
  await heard.until(PROMPT);
  stream.write("exit\r");
  await heard.until(LOGIN);
  stream.destroy();
};

const measure = async (stream: Duplex): Promise<EchoTimes> => {
  await prepare(stream);
  const times = await typeKeys(stream);
  await leave(stream);
  return times;
};

const openThroughApi = async (stage: Stage, name: string): Promise<EchoTimes> => {
  const client = createRawKubeClient({
    kubeConfig: loadKubeConfig({ kubeconfig: stage.testbed.controlPlane.kubeconfig }),
    userAgent: "vireo-bench",
  });
  try {
    const { stream } = await client.connect({
      what: `console of ${name}`,
      path: subresourcePath({ namespace: NAMESPACE, name }, "console"),
      signal: new AbortController().signal,
    });
    return await measure(stream);
  } finally {
    await client.close();
  }
};

/** QEMU's own socket, which takes one connection: the agent lets go of it when its last viewer has left. */
const openSocket = async ({ node, vmUid }: Guest): Promise<EchoTimes> => {
  const path = join(node.stateDirectory, "consoles", `${vmUid}.sock`);
  const stream = connect(path);
  await once(stream, "connect");
  return measure(stream);
};

/** A key to its echo: through kube-apiserver, api-server and agent, and to QEMU's socket without them. */
export const measureConsole = async (
  stage: Stage,
  name: string,
  guest: Guest,
): Promise<{ readonly api: EchoTimes; readonly socket: EchoTimes }> => ({
  api: await openThroughApi(stage, name),
  socket: await openSocket(guest),
});

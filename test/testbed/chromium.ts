import { spawn } from "node:child_process";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { Readable, Writable } from "node:stream";

import { z } from "zod";

import { DIES_WITH_PARENT } from "./daemon.ts";
import { programEnvironment } from "./programs.ts";
import { waitFor } from "./wait.ts";

/** A page of a real Chromium without a window. */
export interface ChromiumPage {
  /** Runs an expression in the page and resolves with its value, which must be plain data; promises are awaited. */
  evaluate(expression: string): Promise<unknown>;
  /** A key is pressed and let go: "a", or "Enter". */
  press(key: string, code: string): Promise<void>;
  /** The page as PNG, in base64. */
  screenshot(): Promise<string>;
  /** What the page has said on its console, refusals of its content security policy included. */
  readonly messages: readonly string[];
  /** Addresses that the page has asked for. */
  readonly requests: readonly string[];
  close(): Promise<void>;
}

const answerSchema = z.object({
  id: z.number().optional(),
  method: z.string().optional(),
  params: z.record(z.string(), z.unknown()).optional(),
  result: z.record(z.string(), z.unknown()).optional(),
  error: z.object({ message: z.string() }).optional(),
});
type Answer = z.infer<typeof answerSchema>;

const targetSchema = z.object({ targetInfos: z.array(z.object({ targetId: z.string(), type: z.string() })) });
const sessionSchema = z.object({ sessionId: z.string() });
const evaluationSchema = z.object({
  result: z.object({ value: z.unknown().optional() }),
  exceptionDetails: z
    .object({ text: z.string(), exception: z.object({ description: z.string().optional() }).optional() })
    .optional(),
});

type Send = (method: string, params?: object, sessionId?: string) => Promise<Record<string, unknown>>;

/** Opens an address. Needs the Debian package chromium; the profile goes with the page. */
export const openInChromium = async (url: string): Promise<ChromiumPage> => {
  const profile = await mkdtemp(join(tmpdir(), "vireo-chromium-"));
  const [program, ...how] = DIES_WITH_PARENT;
  const child = spawn(
    program,
    [
      ...how,
      "chromium",
      "--headless=new",
      // Tests run as root, where the sandbox of user namespaces is not to be had.
      "--no-sandbox",
      "--disable-gpu",
      "--disable-dev-shm-usage",
      "--no-first-run",
      "--disable-background-networking",
      "--window-size=900,700",
      `--user-data-dir=${profile}`,
      // Descriptors 3 and 4 in place of a port that others could reach.
      "--remote-debugging-pipe",
      "about:blank",
    ],
    { stdio: ["ignore", "ignore", "ignore", "pipe", "pipe"], env: programEnvironment({ HOME: profile }) },
  );
  const ended = new Promise<void>((resolve) => {
    child.once("close", () => resolve());
    child.once("error", () => resolve());
  });
  const close = async (): Promise<void> => {
    child.kill("SIGKILL");
    await ended;
    await rm(profile, { recursive: true, force: true, maxRetries: 5 });
  };
  try {
    const messages: string[] = [];
    const requests: string[] = [];
    const send = talk(child.stdio[3] as Writable, child.stdio[4] as Readable, (event) => {
      note(event, messages, requests);
    });
    return { ...(await openPage(send, url)), messages, requests, close };
  } catch (error) {
    await close();
    throw error;
  }
};

/** JSON between NULs. https://chromedevtools.github.io/devtools-protocol/ */
const talk = (into: Writable, out: Readable, onEvent: (event: Answer) => void): Send => {
  const waiting = new Map<
    number,
    { resolve: (result: Record<string, unknown>) => void; reject: (error: Error) => void }
  >();
  const fail = (error: Error): void => {
    for (const { reject } of waiting.values()) reject(error);
    waiting.clear();
  };
  let rest = "";
  let last = 0;
  out.setEncoding("utf8");
  out.on("data", (chunk: string) => {
    const parts = (rest + chunk).split("\0");
    rest = parts.pop() ?? "";
    for (const part of parts) {
      const answer = answerSchema.parse(JSON.parse(part));
      const asked = waiting.get(answer.id ?? -1);
      if (asked === undefined) {
        onEvent(answer);
        continue;
      }
      waiting.delete(answer.id ?? -1);
      if (answer.error === undefined) asked.resolve(answer.result ?? {});
      else asked.reject(new Error(answer.error.message));
    }
  });
  out.on("close", () => fail(new Error("Chromium has ended")));
  into.on("error", fail);
  return (method, params = {}, sessionId) => {
    last += 1;
    const { promise, resolve, reject } = Promise.withResolvers<Record<string, unknown>>();
    waiting.set(last, { resolve, reject });
    into.write(`${JSON.stringify({ id: last, method, params, ...(sessionId && { sessionId }) })}\0`);
    return promise;
  };
};

const note = ({ method, params = {} }: Answer, messages: string[], requests: string[]): void => {
  if (
    method === "Runtime.consoleAPICalled" ||
    method === "Log.entryAdded" ||
    method === "Runtime.exceptionThrown"
  )
    messages.push(JSON.stringify(params));
  if (method === "Network.requestWillBeSent")
    requests.push(String((params["request"] as { url?: string }).url));
  if (method === "Network.webSocketCreated") requests.push(String(params["url"]));
};

const openPage = async (
  send: Send,
  url: string,
): Promise<Pick<ChromiumPage, "evaluate" | "press" | "screenshot">> => {
  const targetId = await waitFor("a page of Chromium", async () => {
    const { targetInfos } = targetSchema.parse(await send("Target.getTargets"));
    return targetInfos.find(({ type }) => type === "page")?.targetId;
  });
  const { sessionId } = sessionSchema.parse(await send("Target.attachToTarget", { targetId, flatten: true }));
  const ask = (method: string, params: object = {}) => send(method, params, sessionId);
  for (const domain of ["Page", "Runtime", "Log", "Network"]) await ask(`${domain}.enable`);
  await ask("Page.navigate", { url });
  return {
    evaluate: async (expression) => {
      const answer = await ask("Runtime.evaluate", { expression, returnByValue: true, awaitPromise: true });
      const { result, exceptionDetails } = evaluationSchema.parse(answer);
      if (exceptionDetails !== undefined)
        throw new Error(exceptionDetails.exception?.description ?? exceptionDetails.text);
      return result.value;
    },
    press: async (key, code) => {
      const text = key.length === 1 ? { text: key } : {};
      await ask("Input.dispatchKeyEvent", { type: "keyDown", key, code, ...text });
      await ask("Input.dispatchKeyEvent", { type: "keyUp", key, code });
    },
    screenshot: async () => String((await ask("Page.captureScreenshot"))["data"]),
  };
};

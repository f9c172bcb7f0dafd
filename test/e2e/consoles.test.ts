import type { Duplex } from "node:stream";

import { afterAll, beforeAll, describe, expect, test } from "@jest/globals";

import { type Subresource, subresourcePath } from "../../src/api/subresources.ts";
import {
  createRawKubeClient,
  loadKubeConfig,
  type RawKubeClient,
  type WebSocketStream,
} from "../../src/kube/index.ts";
import { waitFor } from "../testbed/wait.ts";
import { type Guest, guestOf } from "./support/guest.ts";
import { manifests } from "./support/manifests.ts";
import { type Picture, readPng } from "./support/picture.ts";
import { takePicture } from "./support/rfb.ts";
import { type Font, learnFont, readText } from "./support/screen-text.ts";
import { NAMESPACE, startStage, type Stage } from "./support/stage.ts";

/** People at a guest, through the Kubernetes API: kube-apiserver, the api-server, the node's agent, QEMU. */

const PATIENCE_MS = 300_000;
const { signal } = new AbortController();

let stage: Stage;
let guest: Guest;
let client: RawKubeClient;

/**
 * The first word of a SPICE client, for the main channel: magic, version 2.2, size, and what it is
 * capable of, which is choosing how to authenticate, and short headers.
 * https://www.spice-space.org/spice-protocol.html
 */
const SPICE_LINK = Buffer.concat([
  Buffer.from("REDQ"),
  Buffer.from(Uint32Array.of(2, 2, 22).buffer),
  Buffer.from(Uint32Array.of(0).buffer),
  Buffer.of(1, 0),
  Buffer.from(Uint32Array.of(1, 0, 18, 0b1001).buffer),
]);

const requestOf = (subresource: Subresource, query = "", name = "web") => ({
  what: `${subresource} of ${name}`,
  path: subresourcePath({ namespace: NAMESPACE, name }, subresource) + query,
  signal,
});

/** Somebody at the other end, and all that he has heard. */
class Listener {
  readonly stream: Duplex;
  /** Resolves when the other side has closed the connection, or it has broken. */
  readonly ended: Promise<unknown>;
  #heard = Buffer.alloc(0);

  constructor({ stream, ended }: WebSocketStream) {
    this.stream = stream;
    this.ended = ended;
    stream.on("data", (chunk: Buffer) => {
      this.#heard = Buffer.concat([this.#heard, chunk]);
    });
    stream.on("error", () => {});
  }

  get text(): string {
    return this.#heard.toString("latin1");
  }

  untilHeard(pattern: RegExp, from = 0): Promise<string> {
    return waitFor(
      String(pattern),
      () => {
        const text = this.text.slice(from);
        if (pattern.test(text)) return text;
        throw new Error(`heard: ${text.slice(-500)}`);
      },
      { timeoutMs: 120_000 },
    );
  }

  async leave(): Promise<void> {
    this.stream.destroy();
    await this.ended;
  }
}

const open = async (subresource: Subresource, query = ""): Promise<Listener> =>
  new Listener(await client.connect(requestOf(subresource, query)));

/** Right after a process was started again, others may not have found it yet. */
const openSoon = (subresource: Subresource): Promise<Listener> =>
  waitFor(`${subresource} open`, () => open(subresource), { timeoutMs: 120_000, intervalMs: 250 });

beforeAll(async () => {
  stage = await startStage({ nodes: 1 });
  client = createRawKubeClient({
    kubeConfig: loadKubeConfig({ kubeconfig: stage.testbed.controlPlane.kubeconfig }),
    userAgent: "vireo-e2e",
  });
  await stage.applyBasics();
  await stage.apply(manifests.machine("web", { graphics: ["VNC", "SPICE"] }));
  await stage.untilStatus("web", "Running");
  guest = await guestOf(stage, "web");
  await guest.untilBooted();
}, 480_000);

afterAll(async () => {
  await client.close();
  await stage.stop();
}, 60_000);

/** Says a line as a person does, and waits for what comes back. */
const say = async (at: Listener, line: string, answer: RegExp): Promise<string> => {
  const before = at.text.length;
  at.stream.write(`${line}\r`);
  return at.untilHeard(answer, before);
};

describe("the serial console", () => {
  test(
    "shows what was said before, and takes a login",
    async () => {
      const person = await open("console");
      await person.untilHeard(/vireo-guest ready/);
      await say(person, "", /login: /);
      await say(person, "root", /# /);
      expect(await say(person, "echo $((6*7))-answer", /42-answer[^]*# /)).toContain("42-answer");
      await say(person, "exit", /login: /);
      await person.leave();
    },
    PATIENCE_MS,
  );

  test(
    "is shared: a second person sees what the first one does",
    async () => {
      const [one, two] = [await open("console"), await open("console")];
      await say(one, "", /login: /);
      await say(one, "nobody-knows-me", /Password: /);
      expect(await two.untilHeard(/nobody-knows-me/)).toContain("nobody-knows-me");
      await Promise.all([one.leave(), two.leave()]);
    },
    PATIENCE_MS,
  );

  test(
    "comes back when the agent, and when the api-server, are started again",
    async () => {
      const before = await open("console");
      await stage.testbed.agent("node-1").restart();
      await before.ended;
      const after = await openSoon("console");
      await after.untilHeard(/vireo-guest ready/);
      await stage.testbed.apiServer.restart();
      await after.ended;
      const last = await openSoon("console");
      expect(await last.untilHeard(/vireo-guest ready/)).toContain("vireo-guest ready");
      await last.leave();
    },
    PATIENCE_MS,
  );
});

test(
  "the log, the screen and a port of the guest are reached the same way",
  async () => {
    const log = await client.bytes({ ...requestOf("log"), method: "GET" });
    expect(log.toString()).toContain("vireo-guest ready");

    const picture = await client.bytes({ ...requestOf("screenshot"), method: "GET" });
    expect(picture.subarray(1, 4).toString()).toBe("PNG");

    const screen = await open("vnc");
    expect(await screen.untilHeard(/RFB \d{3}\.\d{3}\n/)).toMatch(/^RFB 003\.008/);
    await screen.leave();

    const spice = await open("spice");
    spice.stream.write(SPICE_LINK);
    // The same magic, and no error after version and size.
    expect(await spice.untilHeard(/^REDQ[^]{16}/)).toMatch(/^REDQ[^]{12}\0\0\0\0/);
    await spice.leave();

    const port = await open("portforward", "?port=22");
    expect(await port.untilHeard(/SSH-2\.0/)).toMatch(/^SSH-2\.0/);
    await port.leave();
  },
  PATIENCE_MS,
);

describe("the screen", () => {
  /** All that ASCII can print, in two lines. */
  const CHARACTERS = Array.from({ length: 94 }, (_, index) => String.fromCodePoint(33 + index)).join("");
  const REFERENCE = [CHARACTERS.slice(0, 47), CHARACTERS.slice(47)];
  const GRID = { rows: 25, columns: 80 };
  let font: Font;

  const byVnc = async (): Promise<Picture> => {
    const { stream, ended } = await client.connect(requestOf("vnc"));
    try {
      return await takePicture(stream);
    } finally {
      stream.destroy();
      await ended;
    }
  };
  const byScreenshot = async (): Promise<Picture> =>
    readPng(await client.bytes({ ...requestOf("screenshot"), method: "GET" }));

  /** Clears the first terminal, takes its cursor away, and writes lines there; any character as printf has it. */
  const show = (lines: readonly string[]): Promise<string> => {
    const octal = (line: string): string =>
      [...Buffer.from(line)].map((byte) => `\\${byte.toString(8).padStart(3, "0")}`).join("");
    const text = lines.map(octal).join(String.raw`\r\n`);
    return guest.run(String.raw`printf '\033[?25l\033[2J\033[H${text}' >/dev/tty1`);
  };

  test(
    "has an alphabet, which is learnt from the guest itself",
    async () => {
      expect(await guest.run("stty size </dev/tty1")).toBe(`${GRID.rows} ${GRID.columns}\n`);
      await show(REFERENCE);
      font = await waitFor("every character", async () => learnFont(await byVnc(), GRID, REFERENCE));
      expect(readText(await byScreenshot(), GRID, font)).toEqual(REFERENCE);
    },
    PATIENCE_MS,
  );

  test.each([
    ["by VNC", byVnc],
    ["as PNG", byScreenshot],
  ])(
    "shows, %s, who asks for a login",
    async (_how, picture) => {
      const textOnScreen = async (): Promise<string> =>
        readText(await picture(), GRID, font)
          .join("\n")
          .trim();
      await show([]);
      await waitFor("an empty screen", async () => (await textOnScreen()) === "");
      // The next getty says the guest's name.
      await guest.run("kill $(ps | awk '/[g]etty 38400 tty1/ { print $1 }')");
      const text = await waitFor("a prompt", async () => (await textOnScreen()) || undefined);
      expect(text).toBe("web login:");
    },
    PATIENCE_MS,
  );
});

test(
  "a port on which nothing listens is refused in words",
  async () => {
    await expect(open("portforward", "?port=81")).rejects.toThrow(
      /"web": port 81 of the guest does not answer/,
    );
  },
  PATIENCE_MS,
);

test(
  "the guest is stopped in its tracks, goes on, and is started anew",
  async () => {
    const post = (subresource: Subresource) => client.bytes({ ...requestOf(subresource), method: "POST" });
    await post("pause");
    await stage.untilStatus("web", "Paused");
    await post("unpause");
    await stage.untilStatus("web", "Running");
    const person = await open("console");
    await post("restart");
    await guest.untilBooted(2);
    // Who was at the console has seen it all.
    const heard = await person.untilHeard(/vireo-guest ready[^]*vireo-guest ready/);
    expect(heard.match(/vireo-guest ready/g)?.length).toBe(2);
    await person.leave();
  },
  PATIENCE_MS,
);

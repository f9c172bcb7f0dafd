import { once } from "node:events";
import { type Duplex, duplexPair } from "node:stream";
import { text } from "node:stream/consumers";

import { beforeEach, describe, expect, test } from "@jest/globals";

import {
  type Consoles,
  type ConsoleSource,
  createConsoles,
} from "../../../../src/node-agent/consoles/index.ts";

const UID = "u-1";
const { signal } = new AbortController();

/** A serial port that takes one connection at a time, as QEMU's. */
class SerialPort {
  log = "";
  isOn = true;
  connections = 0;
  #guest: Duplex | undefined;

  readonly source: ConsoleSource = {
    connect: () => {
      if (!this.isOn) return Promise.reject(new Error("the guest is off"));
      if (this.isTaken) return Promise.reject(new Error("the port is taken"));
      const [guest, host] = duplexPair();
      this.#guest = guest;
      this.connections += 1;
      guest.resume();
      host.once("close", () => {
        if (this.#guest === guest) this.#guest = undefined;
      });
      return Promise.resolve(host);
    },
    recent: (maxBytes) => Promise.resolve(Buffer.from(this.log).subarray(-maxBytes)),
  };

  get isTaken(): boolean {
    return this.#guest !== undefined;
  }

  /** What the guest says is logged whether anybody listens or not. */
  say(words: string): void {
    this.log += words;
    this.#guest?.write(words);
  }

  hears(): AsyncIterable<Buffer> {
    if (this.#guest === undefined) throw new Error("nobody is connected");
    return this.#guest;
  }

  powerOff(): void {
    this.isOn = false;
    this.#guest?.end();
  }
}

let port: SerialPort;
let consoles: Consoles;
/** What waits for its time. */
let waiting: (() => void)[];
let ticks: (() => void)[];

beforeEach(() => {
  port = new SerialPort();
  waiting = [];
  ticks = [];
  consoles = createConsoles({
    after: (_ms, callback) => {
      waiting.push(callback);
      for (const tick of ticks.splice(0)) tick();
      return () => {
        waiting = waiting.filter((other) => other !== callback);
      };
    },
  });
});

const attach = (): Promise<Duplex> => consoles.attach(UID, port.source, signal);

/** Reads until so much was heard. */
const hear = async (viewer: Duplex, length: number): Promise<string> => {
  let heard = "";
  while (heard.length < length) {
    const chunk = viewer.read() as Buffer | null;
    if (chunk === null) await once(viewer, "readable");
    else heard += chunk.toString();
  }
  return heard;
};

/** Resolves when somebody waits for time to pass. */
const untilWaiting = (): Promise<void> =>
  waiting.length > 0
    ? Promise.resolve()
    : new Promise((resolve) => {
        ticks.push(resolve);
      });

const passTime = (): void => {
  for (const callback of waiting.splice(0)) callback();
};

describe("a viewer", () => {
  test("hears what was said before he came, then what is said now", async () => {
    port.log = "login: ";
    const viewer = await attach();
    port.say("ann\n");
    expect(await hear(viewer, 11)).toBe("login: ann\n");
  });

  test("hears of a long past only the end", async () => {
    port.log = `${"x".repeat(100_000)}end`;
    const viewer = await attach();
    const heard = await hear(viewer, 16_384);
    expect([heard.length, heard.endsWith("xend")]).toEqual([16_384, true]);
  });

  test("misses nothing that is said while the log is read", async () => {
    port.log = "before ";
    const source: ConsoleSource = {
      ...port.source,
      recent: async (...asked) => {
        const bytes = await port.source.recent(...asked);
        port.say("meanwhile ");
        return bytes;
      },
    };
    const viewer = await consoles.attach(UID, source, signal);
    port.say("after");
    expect(await hear(viewer, 22)).toBe("before meanwhile after");
  });

  test("speaks to the guest", async () => {
    const viewer = await attach();
    viewer.write("root\n");
    for await (const chunk of port.hears()) {
      expect(chunk.toString()).toBe("root\n");
      break;
    }
  });

  test("does not come in while the guest is off", async () => {
    port.isOn = false;
    await expect(attach()).rejects.toThrow("the guest is off");
  });
});

describe("several viewers", () => {
  test("hear the same over one connection", async () => {
    const viewers = [await attach(), await attach(), await attach()];
    port.say("hello");
    const heard = await Promise.all(viewers.map((viewer) => hear(viewer, 5)));
    expect([heard, port.connections]).toEqual([["hello", "hello", "hello"], 1]);
  });

  test("that come at the same moment make one connection", async () => {
    await Promise.all([attach(), attach(), attach()]);
    expect(port.connections).toBe(1);
  });

  test("are not held up by one who does not read; he is told what he has missed", async () => {
    const asleep = await attach();
    const awake = await attach();
    const line = "x".repeat(100_000);
    for (let count = 0; count < 20; count += 1) {
      port.say(line);
      expect((await hear(awake, line.length)).length).toBe(line.length);
    }
    const heard = await hear(asleep, 1_000_000);
    const missed = Number(/\[(\d+) bytes of the console were left out/.exec(heard)?.[1]);
    expect(heard.replaceAll(/[^x]/g, "").length + missed).toBe(2_000_000);
    port.say("fresh");
    expect(await hear(asleep, 5)).toContain("fresh");
  });

  test("the port is given back when the last has left", async () => {
    const [one, two] = [await attach(), await attach()];
    one.destroy();
    await once(one, "close");
    expect(port.isTaken).toBe(true);
    two.destroy();
    await once(two, "close");
    const again = await attach();
    expect([port.connections, again.destroyed]).toEqual([2, false]);
  });
});

describe("when the guest restarts", () => {
  test("its viewers stay, and hear it again", async () => {
    const viewer = await attach();
    port.powerOff();
    await untilWaiting();
    passTime();
    await untilWaiting();
    port.isOn = true;
    passTime();
    await Promise.resolve();
    await Promise.resolve();
    port.say("booting");
    expect(await hear(viewer, 7)).toBe("booting");
  });

  test("what is said to it meanwhile is lost, and holds nobody up", async () => {
    const viewer = await attach();
    port.powerOff();
    await untilWaiting();
    await new Promise<void>((resolve) => {
      viewer.write("anybody?", () => resolve());
    });
    expect(viewer.writableLength).toBe(0);
  });

  test("nobody tries any more when the viewers have left", async () => {
    const viewer = await attach();
    port.powerOff();
    await untilWaiting();
    viewer.destroy();
    await once(viewer, "close");
    expect(waiting).toEqual([]);
  });
});

test("when the guest is gone for good, its viewers' streams end", async () => {
  const viewer = await attach();
  port.say("bye");
  expect(await hear(viewer, 3)).toBe("bye");
  consoles.release(UID);
  expect(await text(viewer)).toBe("");
});

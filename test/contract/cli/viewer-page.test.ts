import { once } from "node:events";
import { request, type IncomingMessage } from "node:http";
import { connect } from "node:net";

import { afterAll, beforeAll, describe, expect, test } from "@jest/globals";
import { WebSocket } from "ws";

import { bundleViewerScript } from "../../../scripts/viewer-script.ts";
import { joinConnection } from "../../../src/cli/join.ts";
import { startPageServer, type PageServer } from "../../../src/cli/vnc/page-server.ts";
import { systemClock } from "../../../src/kube/index.ts";
import { openInChromium, type ChromiumPage } from "../../testbed/chromium.ts";
import { waitFor } from "../../testbed/wait.ts";
import { startRfbServer, type Colour, type RfbServer } from "./rfb-server.ts";

/** The page of `kubectl vireo vnc` in a real browser, with a screen whose pixels are known. */

const WIDTH = 320;
const HEIGHT = 200;
/** Four quarters of different colours, and a line that is not symmetric. */
const colourAt = (x: number, y: number): Colour => {
  if (y === 10) return [255, 255, 255];
  if (y < HEIGHT / 2) return x < WIDTH / 2 ? [200, 30, 40] : [20, 180, 60];
  return x < WIDTH / 2 ? [10, 20, 220] : [250, 200, 0];
};

let screen: RfbServer;
let page: PageServer;

beforeAll(async () => {
  screen = await startRfbServer({ width: WIDTH, height: HEIGHT, colourAt });
  page = await startPageServer({
    namespace: "shop",
    machine: "web",
    viewOnly: false,
    script: await bundleViewerScript(),
    serve: async (browser) => {
      const guest = connect(screen.port, "127.0.0.1");
      await joinConnection(browser, guest, { clock: systemClock, lingerMs: 0 });
    },
  });
});

afterAll(async () => {
  await page.close();
  await screen.stop();
});

/** The colours that the canvas shows at these places, once it is as large as the screen. */
const pixels = (browser: ChromiumPage, places: readonly (readonly [number, number])[]): Promise<unknown> =>
  browser.evaluate(`(() => {
    const canvas = document.querySelector("#screen canvas");
    if (canvas?.width !== ${WIDTH} || canvas.height !== ${HEIGHT}) return undefined;
    const context = canvas.getContext("2d");
    return ${JSON.stringify(places)}.map(([x, y]) => [...context.getImageData(x, y, 1, 1).data].slice(0, 3));
  })()`);

describe("in Chromium", () => {
  let browser: ChromiumPage;

  beforeAll(async () => {
    browser = await openInChromium(page.url);
  }, 60_000);

  afterAll(() => browser.close());

  const expectShown = async (): Promise<void> => {
    const places = [
      [40, 40],
      [300, 40],
      [40, 160],
      [300, 160],
      [159, 10],
      [159, 11],
      [160, 11],
    ] as const;
    await waitFor("the screen in the canvas", async () => {
      const seen = await pixels(browser, places);
      const wanted = places.map(([x, y]) => colourAt(x, y));
      if (JSON.stringify(seen) !== JSON.stringify(wanted))
        throw new Error(`${JSON.stringify(seen)}; ${browser.messages.join("\n")}`);
      return true;
    });
  };

  test("shows the screen, pixel by pixel", async () => {
    await expectShown();
    expect(await browser.evaluate("document.title")).toBe("shop/web");
    expect(await browser.evaluate("document.getElementById('state').textContent")).toBe("connected");
  }, 60_000);

  test("sends keys to the guest", async () => {
    await browser.press("v", "KeyV");
    await browser.evaluate("document.getElementById('ctrl-alt-del').click()");
    // v, then Control_L, Alt_L and Delete.
    await waitFor("keys", () => screen.pressed.length >= 4);
    expect(screen.pressed).toEqual([0x76, 0xffe3, 0xffe9, 0xffff]);
  });

  test("connects again when the guest restarts", async () => {
    const before = screen.viewers();
    screen.disconnect();
    await waitFor("another viewer", () => screen.viewers() > before);
    await expectShown();
  }, 60_000);

  test("asks nobody else for anything, and breaks no rule of its own", () => {
    const { host } = new URL(page.url);
    expect(browser.requests.length).toBeGreaterThan(3);
    expect(browser.requests.map((url) => new URL(url).host)).toEqual(browser.requests.map(() => host));
    expect(browser.messages.filter((message) => /Content.Security|Refused|violates/i.test(message))).toEqual(
      [],
    );
  });

  test("lets no script in that is not its own", async () => {
    await browser.evaluate(`new Promise((resolve) => {
      const script = document.createElement("script");
      script.textContent = "window.intruder = true";
      document.body.append(script);
      setTimeout(resolve, 0);
    })`);
    expect(await browser.evaluate("window.intruder === undefined")).toBe(true);
  });
});

interface Answer {
  readonly code: number;
  readonly policy: string;
}

const get = async (url: string, headers: Readonly<Record<string, string>> = {}): Promise<Answer> => {
  const outgoing = request(url, { headers });
  outgoing.end();
  const [response] = (await once(outgoing, "response")) as [IncomingMessage];
  response.resume();
  await once(response, "end");
  return { code: response.statusCode ?? 0, policy: String(response.headers["content-security-policy"]) };
};

describe("to others", () => {
  const url = (path: string): string => new URL(path, page.url).href;

  test.each([
    ["the page itself", () => page.url, {}, 200],
    ["its root without the token", () => url("/"), {}, 404],
    ["another token", () => url(`/${"x".repeat(32)}/`), {}, 404],
    ["a path beside its own", () => url("../page.js"), {}, 404],
    ["a file that there is not", () => url("other.js"), {}, 404],
    ["a name that leads here", () => page.url, { host: "evil.example.com" }, 404],
    ["localhost, which is a name, too", () => page.url, { host: "localhost" }, 404],
  ])("%s answers as it should", async (_what, address, headers, code) => {
    const answer = await get(address(), headers);
    expect(answer.code).toBe(code);
    expect(answer.policy).toContain("default-src 'none'");
  });

  const upgrade = async (path: string, origin?: string): Promise<string> => {
    const socket = new WebSocket(url(path).replace("http:", "ws:"), origin === undefined ? {} : { origin });
    const outcome = await Promise.race([
      once(socket, "open").then(() => "open"),
      once(socket, "error").then(([error]) => (error as Error).message),
    ]).catch((error: Error) => error.message);
    socket.on("error", () => {});
    socket.terminate();
    return outcome;
  };

  test.each([
    ["its own page", () => upgrade("socket", new URL(page.url).origin), "open"],
    ["another page that knows the token", () => upgrade("socket", "https://evil.example.com"), "404"],
    ["no page", () => upgrade("socket"), "404"],
    ["its own page without the token", () => upgrade("/socket", new URL(page.url).origin), "404"],
  ])("the screen is for its page only: %s", async (_who, attempt, outcome) => {
    expect(await attempt()).toContain(outcome);
  });
});

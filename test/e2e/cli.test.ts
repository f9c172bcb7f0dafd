import { createHash, randomBytes } from "node:crypto";
import { mkdir, mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";

import { afterAll, beforeAll, describe, expect, test } from "@jest/globals";

import { type ChromiumPage, openInChromium } from "../testbed/chromium.ts";
import { buildPlugin, type Plugin, type PluginProcess, type PluginResult } from "../testbed/kubectl-vireo.ts";
import { waitFor } from "../testbed/wait.ts";
import { type Guest, guestOf } from "./support/guest.ts";
import { NAMESPACE, startStage, type Stage } from "./support/stage.ts";

/** kubectl vireo on a real guest: what people do with virsh, virt-manager and virtctl elsewhere. */

const BOOT_MS = 240_000;
const NO_BOOT_MS = 120_000;

let stage: Stage;
let plugin: Plugin;
let directory: string;
let guest: Guest;

const options = () => ({ kubeconfig: stage.testbed.controlPlane.kubeconfig });

/** Runs a command line, the machine's namespace named in it. */
const vireo = (command: string, ...args: readonly string[]): Promise<PluginResult> =>
  plugin.run([...command.split(" "), `--namespace=${NAMESPACE}`, ...args], options());

const expectDone = async (result: Promise<PluginResult>): Promise<PluginResult> => {
  const done = await result;
  // What was said on the way tells why it was not done.
  expect(done).toMatchObject({ exitCode: 0, err: expect.any(String) });
  return done;
};

/** By ssh through the API server; words as ssh has them. */
const sshTo = (machine: string, ...command: readonly string[]): Promise<PluginResult> =>
  plugin.run(
    [
      "ssh",
      `--namespace=${NAMESPACE}`,
      "-i",
      stage.privateKeyFile,
      "-o",
      "BatchMode=yes",
      "-o",
      "ConnectTimeout=20",
      `root@${machine}`,
      ...command,
    ],
    options(),
  );

beforeAll(async () => {
  [stage, plugin, directory] = await Promise.all([
    startStage({ nodes: 1 }),
    buildPlugin(),
    mkdtemp(join(tmpdir(), "vireo-cli-e2e-")),
  ]);
  await stage.applyBasics();
  const flags = "--flavor test --image test --key-pair test --network test --grace-period 20";
  const { out } = await vireo("create vm", "main", ...flags.split(" "));
  await stage.testbed.kubectl(["apply", "--namespace", NAMESPACE, "-f", "-"], { stdin: out });
  await stage.untilStatus("main", "Running");
  guest = await guestOf(stage, "main");
  await guest.untilBooted();
}, 300_000);

afterAll(async () => {
  await stage.stop();
  await plugin.remove();
  await rm(directory, { recursive: true, force: true });
}, 60_000);

/** Keys, one after the other, and Enter. */
const type = async (browser: ChromiumPage, line: string): Promise<void> => {
  const codes: Readonly<Record<string, string>> = { " ": "Space", "/": "Slash" };
  for (const key of line) await browser.press(key, codes[key] ?? `Key${key.toUpperCase()}`);
  await browser.press("Enter", "Enter");
};

/** Who reads the keyboard of the guest's screen. */
const programsOnScreen = async (): Promise<readonly string[]> => {
  const readers = await guest.run(
    "for p in /proc/[0-9]*; do [ $(readlink $p/fd/0) = /dev/tty1 ] && cat $p/comm; done 2>/dev/null; true",
  );
  return readers.split("\n");
};

describe("a guest is reached", () => {
  test(
    "by its serial console, where somebody logs in and works",
    async () => {
      const console = plugin.start(["console", "main"], { ...options(), terminal: true });
      await console.untilOut(/vireo-guest ready/);
      console.write("\r");
      await console.untilOut(/login: /);
      console.write("root\r");
      await console.untilOut(/# /);
      console.write("echo serial-$((6 * 7))\r");
      await console.untilOut(/serial-42/);
      // Ctrl-C is the guest's.
      console.write("sleep 1000\r");
      await console.untilOut(/sleep 1000/);
      console.write("\u0003echo still-$((1 + 1))\r");
      await console.untilOut(/still-2/);
      console.write("exit\r\u001d");
      expect(await console.ended).toMatchObject({ exitCode: 0 });
    },
    NO_BOOT_MS,
  );

  test(
    "by ssh, whose exit code is the command's, and whose host key is remembered",
    async () => {
      expect(await sshTo("main", "hostname")).toMatchObject({ exitCode: 0, out: "main\n" });
      expect(await sshTo("main", "exit 7")).toMatchObject({ exitCode: 7 });
      const known = await readFile(join(plugin.file, "../state/kubectl-vireo/known_hosts"), "utf8");
      expect(known.split("\n").filter((line) => line !== "")).toEqual([
        expect.stringMatching(new RegExp(`^vireo-${guest.vmUid} ssh-ed25519 `)),
      ]);
    },
    NO_BOOT_MS,
  );

  test(
    "by scp, which copies files into it and out of it again",
    async () => {
      const content = randomBytes(300_000);
      await mkdir(join(directory, "site"));
      await writeFile(join(directory, "site/picture"), content);
      const how = ["-i", stage.privateKeyFile, "-o", "BatchMode=yes"];
      await expectDone(vireo("scp", ...how, "-r", join(directory, "site"), "root@main:/run"));
      const [sum = ""] = (await guest.run("sha256sum /run/site/picture")).split(" ");
      expect(sum).toBe(createHash("sha256").update(content).digest("hex"));
      await expectDone(vireo("scp", ...how, "root@main:/run/site/picture", join(directory, "back")));
      expect((await readFile(join(directory, "back"))).equals(content)).toBe(true);
      const missing = await vireo("scp", ...how, "root@main:/run/nothing", directory);
      expect(missing).toMatchObject({ exitCode: 1, err: expect.stringContaining("No such file") });
    },
    NO_BOOT_MS,
  );

  test(
    "by a forwarded port",
    async () => {
      const forward = plugin.start(["port-forward", "main", ":80"], options());
      const [, port = ""] = await forward.untilOut(/127\.0\.0\.1:([0-9]+) -> 80\n/);
      const answer = await fetch(`http://127.0.0.1:${port}/cgi-bin/status`);
      expect(await answer.text()).toContain("main");
      forward.signal("SIGINT");
      expect(await forward.ended).toMatchObject({ exitCode: 0 });
    },
    NO_BOOT_MS,
  );

  test(
    "by its screen and its keyboard, in a browser",
    async () => {
      const vnc = plugin.start(["vnc", "main", "--browser", "--no-open"], options());
      const [url = ""] = await vnc.untilOut(/^http:\/\/127\.0\.0\.1:[0-9]+\/[^/]+\/\n/);
      const browser = await openInChromium(url.trim());
      /** Share of the screen's pixels that have this colour, in percent. */
      const share = (red: number, green: number, blue: number): Promise<unknown> =>
        browser.evaluate(`(() => {
          const canvas = document.querySelector("#screen canvas");
          if (!canvas?.width) return 0;
          const { data } = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height);
          let count = 0;
          for (let at = 0; at < data.length; at += 4)
            if (data[at] === ${red} && data[at + 1] === ${green} && data[at + 2] === ${blue}) count += 1;
          return (100 * count * 4) / data.length;
        })()`);
      /** Fills the text screen with one of the VGA's colours, of which one is 42 of 63. */
      const paint = (colour: number): Promise<string> =>
        guest.run(String.raw`printf '\033[?25l\033[4${colour}m\033[2J\033[H' >/dev/tty1`);
      const untilPainted = (red: number, green: number, blue: number): Promise<number> =>
        waitFor(
          `a screen of ${red}, ${green}, ${blue}`,
          async () => {
            const percent = Number(await share(red, green, blue));
            if (percent < 95) throw new Error(`${percent} %; ${browser.messages.join("\n")}`);
            return percent;
          },
          { timeoutMs: 60_000 },
        );
      try {
        await paint(1);
        expect(await untilPainted(168, 0, 0)).toBeGreaterThan(95);
        await paint(4);
        expect(await untilPainted(0, 0, 168)).toBeGreaterThan(95);
        await browser.evaluate('document.querySelector("#screen canvas").focus()');
        await type(browser, "root");
        await waitFor("somebody to be logged in", async () => (await programsOnScreen()).includes("sh"));
        await type(browser, "touch /run/typed");
        await waitFor("what was typed to be done", async () =>
          (await guest.run("ls /run")).includes("typed"),
        );
      } finally {
        await browser.close();
      }
      vnc.signal("SIGINT");
      expect(await vnc.ended).toMatchObject({ exitCode: 0 });
    },
    NO_BOOT_MS,
  );
});

describe("what a guest shows is read", () => {
  test(
    "its console log and a picture of its screen",
    async () => {
      const { out } = await expectDone(vireo("log", "main"));
      expect(out).toContain("vireo-guest ready hostname=main");
      const file = join(directory, "screen.png");
      await expectDone(vireo("screenshot", "main", file));
      expect((await readFile(file)).subarray(0, 8)).toEqual(Buffer.from("\u0089PNG\r\n\u001a\n", "latin1"));
    },
    NO_BOOT_MS,
  );

  test(
    "what it has, what happened to it, and all of that in a report",
    async () => {
      expect((await expectDone(vireo("top"))).out).toMatch(/^main +Running +node-1 +1 +[0-9]+% +128Mi/m);
      expect((await expectDone(vireo("events", "main"))).out).toMatch(/VirtualMachine\/main/);
      const target = join(directory, "report");
      const { out } = await expectDone(vireo("report", "main", "--directory", target));
      for (const name of [
        "VirtualMachine-main",
        "Flavor-test",
        "KeyPair-test",
        "Network-test",
        "Hypervisor-node-1",
      ])
        expect(out).toContain(`objects/${name}.yaml`);
      expect(await readFile(join(target, "console.log"), "utf8")).toContain("vireo-guest ready");
    },
    NO_BOOT_MS,
  );
});

describe("a guest is changed", () => {
  test(
    "paused and let go on",
    async () => {
      await expectDone(vireo("pause", "main"));
      expect((await stage.machine("main")).status?.guest?.powerState).toBe("Paused");
      await expectDone(vireo("unpause", "main"));
      expect(await guest.run("echo awake")).toBe("awake\n");
    },
    NO_BOOT_MS,
  );

  test(
    "given another processor while it runs",
    async () => {
      await expectDone(vireo("resize", "main", "--vcpus", "2"));
      // The tiny guest has nobody who switches a new processor on.
      const switchOn = "for one in /sys/devices/system/cpu/cpu*/online; do echo 1 >$one; done; nproc";
      await waitFor("two processors", async () => {
        const count = await guest.run(switchOn);
        return count === "2\n" || Promise.reject(new Error(count));
      });
      expect((await expectDone(vireo("top"))).out).toMatch(/^main +Running +node-1 +2 /m);
    },
    NO_BOOT_MS,
  );

  test(
    "put back to a snapshot",
    async () => {
      await guest.run("echo before >/root/when; sync");
      await expectDone(vireo("snapshot", "main", "first"));
      await guest.run("echo after >/root/when; sync");
      const boots = (await guest.boots()).length;
      await expectDone(vireo("restore", "main", "first"));
      await guest.untilBooted(boots + 1);
      expect(await guest.run("cat /root/when")).toBe("before\n");
    },
    BOOT_MS,
  );

  test(
    "copied to a machine of its own name, which is reached at once",
    async () => {
      await expectDone(vireo("clone", "snapshot/first", "twin"));
      await (await guestOf(stage, "twin")).untilBooted();
      const answer = await waitFor("ssh to the clone", async () => {
        const result = await sshTo("twin", "hostname; cat /root/when");
        if (result.exitCode !== 0) throw new Error(result.err);
        return result.out;
      });
      expect(answer).toBe("twin\nbefore\n");
      await stage.deleteMachines("twin");
    },
    BOOT_MS,
  );

  test(
    "restarted, stopped and started, and a console stays with it all the time",
    async () => {
      const console: PluginProcess = plugin.start(["console", "main"], options());
      const boots = (): number => console.out().split("vireo-guest ready").length - 1;
      const untilMoreBoots = (than: number): Promise<true> =>
        waitFor(`boot ${than + 1} on the console`, () => boots() > than || undefined, { timeoutMs: BOOT_MS });
      await console.untilErr(/connected to the console/);
      await waitFor("what was said before", () => boots() > 0);

      let seen = boots();
      await expectDone(vireo("restart", "main"));
      await untilMoreBoots(seen);

      await expectDone(vireo("stop", "main"));
      expect((await stage.machine("main")).status?.printableStatus).toBe("Stopped");

      seen = boots();
      await expectDone(vireo("start", "main"));
      await untilMoreBoots(seen);
      console.signal("SIGINT");
      expect(await console.ended).toMatchObject({ exitCode: 0 });
    },
    2 * BOOT_MS,
  );
});

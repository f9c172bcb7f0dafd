import { mkdir, mkdtemp, readFile, rm, symlink, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, test } from "@jest/globals";
import { findWatchdog, UnfitWatchdogError } from "../../../../src/node-agent/host/watchdog-device.ts";

/** No real device: a regular file that takes what is written, and a directory in the place of sysfs. */

let directory: string;
let device: string;

beforeEach(async () => {
  directory = await mkdtemp(join(tmpdir(), "vireo-watchdog-"));
  device = join(directory, "watchdog");
  await writeFile(device, "");
});

afterEach(() => rm(directory, { recursive: true, force: true }));

const sysfs = async (attributes: Readonly<Record<string, string>>, name = "watchdog0"): Promise<string> => {
  const path = join(directory, "class");
  await mkdir(join(path, name), { recursive: true });
  for (const [attribute, text] of Object.entries(attributes))
    await writeFile(join(path, name, attribute), `${text}\n`);
  return path;
};

const magic = { timeout: "60", nowayout: "0", options: "0x8180" };

test("it is looked at without being begun, and then kept alive until it is ended", async () => {
  const watchdog = await findWatchdog(device, await sysfs(magic));
  expect(watchdog).toMatchObject({ timeoutSeconds: 60, cannotBeDisarmed: false });
  expect(() => watchdog.keepAlive()).toThrow("not armed");
  watchdog.arm();
  watchdog.keepAlive();
  watchdog.keepAlive();
  watchdog.disarm();
  expect(await readFile(device, "utf8")).toBe("kkV");
  expect(() => watchdog.keepAlive()).toThrow("not armed");
});

test("a device is known by the name that its path leads to", async () => {
  const link = join(directory, "mine");
  const numbered = join(directory, "watchdog1");
  await writeFile(numbered, "");
  await symlink(numbered, link);
  const watchdog = await findWatchdog(link, await sysfs({ ...magic, timeout: "30" }, "watchdog1"));
  expect(watchdog.timeoutSeconds).toBe(30);
});

describe("one that would not outlive the agent is refused:", () => {
  test.each<[string, Readonly<Record<string, string>>]>([
    ["whose timeout is not told", { nowayout: "1", options: "0x8180" }],
    ["that ends when it is closed", { ...magic, options: "0x8080" }],
    ["of which that is not known", { timeout: "60", nowayout: "0" }],
  ])("one %s", async (_, attributes) => {
    await expect(findWatchdog(device, await sysfs(attributes))).rejects.toThrow(UnfitWatchdogError);
  });

  test("but not one that nothing ends", async () => {
    const path = await sysfs({ timeout: "60", nowayout: "1" });
    await expect(findWatchdog(device, path)).resolves.toMatchObject({ cannotBeDisarmed: true });
  });
});

import { beforeEach, describe, expect, test } from "@jest/globals";

import type { RunCommand } from "../../../../src/node-agent/host/command.ts";
import {
  createLinkDriver,
  type LinkDriver,
  SETTINGS_LIFE_MS,
} from "../../../../src/node-agent/links/driver.ts";
import { nothing } from "./kernel.ts";

const signal = new AbortController().signal;
const NAME = "net.ipv4.ip_forward";

describe("the kernel's settings", () => {
  let now: number;
  let value: string;
  let reads: number;
  let fail: boolean;
  let driver: LinkDriver;

  beforeEach(() => {
    now = 5_000;
    value = "0";
    reads = 0;
    fail = false;
    const run: RunCommand = async (file, args, options) => {
      if (file === "ip") return { stdout: "[]\n[]\n[]\n[]\n", stderr: "" };
      if (file === "bridge") return { stdout: "[]", stderr: "" };
      if (fail) throw new Error("no");
      if (options.stdin !== undefined) value = "1";
      else reads += 1;
      expect(args).toContain("--ignore");
      return { stdout: `${NAME} = ${value}\n`, stderr: "" };
    };
    driver = createLinkDriver({ run, monotonicMs: () => now });
  });

  const seen = async (): Promise<string | undefined> => (await driver.observe(signal)).settings.get(NAME);

  test("are read again when they have been believed long enough", async () => {
    expect(await seen()).toBe("0");
    value = "2";
    now += SETTINGS_LIFE_MS - 1;
    expect(await seen()).toBe("0");
    now += 1;
    expect(await seen()).toBe("2");
    expect(reads).toBe(2);
  });

  test("are known without a look when they were written here", async () => {
    expect(await seen()).toBe("0");
    await driver.apply({ ...nothing, tune: [{ kind: "node" }] }, signal);
    expect(await seen()).toBe("1");
    expect(reads).toBe(1);
  });

  test("are read again when writing them failed: some may have been written", async () => {
    await seen();
    fail = true;
    await expect(driver.apply({ ...nothing, tune: [{ kind: "node" }] }, signal)).rejects.toThrow("no");
    fail = false;
    await seen();
    expect(reads).toBe(2);
  });

  test("do not change in what was seen before", async () => {
    const before = await driver.observe(signal);
    await driver.apply({ ...nothing, tune: [{ kind: "node" }] }, signal);
    expect(before.settings.get(NAME)).toBe("0");
  });
});

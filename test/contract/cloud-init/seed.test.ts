import { afterEach, beforeEach, describe, expect, test } from "@jest/globals";
import { execFileSync } from "node:child_process";
import { mkdirSync, mkdtempSync, readdirSync, rmSync, statSync, truncateSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { type CloudInit, createCloudInit } from "../../../src/node-agent/cloud-init/index.ts";
import { renderSeed } from "../../../src/node-agent/cloud-init/render.ts";
import type { Seed } from "../../../src/node-agent/cloud-init/types.ts";
import { type RunCommand, runCommand } from "../../../src/node-agent/host/command.ts";
import { createFiles } from "../../../src/node-agent/host/files.ts";

const flattenYaml = join(
  import.meta.dirname,
  "../../testbed/guest-images/tiny/root/lib/vireo/flatten-yaml.awk",
);
const signal = new AbortController().signal;
const vmUid = "0b0e6a4c-5d1f-4f43-9c1c-2f4f0c8f5a10";
const seed: Seed = {
  vmUid,
  hostname: "hello",
  sshPublicKeys: ["ssh-ed25519 AAAA \"quoted\" \\ # comment: 'x'"],
  userData: "#!/bin/sh\r\necho 'ü \u{1F600}'\n",
  interfaces: [
    {
      network: "default",
      macAddress: "52:54:00:12:34:56",
      address: "10.0.0.11",
      prefixLength: 32,
      gateway: "169.254.1.1",
      dnsServers: ["9.9.9.9", "1.1.1.1"],
      mtu: 1450,
      vni: 1,
      allowedAddresses: [],
    },
  ],
};

let stateDirectory: string;
let programs: string[];
let cloudInit: CloudInit;

const cloudInitWith = (run: RunCommand): CloudInit =>
  createCloudInit({ stateDirectory, run, files: createFiles({ roots: [stateDirectory] }) });

beforeEach(() => {
  stateDirectory = mkdtempSync(join(tmpdir(), "vireo-seeds-"));
  programs = [];
  cloudInit = cloudInitWith((file, args, options) => {
    programs.push(file);
    return runCommand(file, args, options);
  });
});
afterEach(() => rmSync(stateDirectory, { recursive: true, force: true }));

const isoinfo = (path: string, ...args: readonly string[]): Buffer =>
  execFileSync("isoinfo", [...args, "-i", path], { stdio: ["ignore", "pipe", "ignore"] });

/** A document of the image, read through the names that `extension` selects. */
const documentIn = (path: string, extension: "-R" | "-J", name: string): string =>
  isoinfo(path, extension, "-x", `/${name}`).toString("utf8");

describe("a seed image", () => {
  test.each(["-R", "-J"] as const)("holds the documents byte for byte (isoinfo %s)", async (extension) => {
    const { path } = await cloudInit.ensureSeed(seed, { signal });
    for (const [name, text] of Object.entries(renderSeed(seed)))
      expect(documentIn(path, extension, name)).toBe(text);
  });

  test("has the label that NoCloud looks for, and can be read but not written by QEMU's user", async () => {
    const { path } = await cloudInit.ensureSeed(seed, { signal });
    expect(isoinfo(path, "-d").toString()).toContain("Volume id: cidata");
    expect(statSync(path).mode & 0o777).toBe(0o444);
    expect(statSync(join(path, "..")).mode & 0o777).toBe(0o711);
    expect(readdirSync(join(path, ".."))).toEqual(["seed.iso"]);
  });

  test("is left alone while it says the same, also by the next agent, and replaced when it does not", async () => {
    const { path } = await cloudInit.ensureSeed(seed, { signal });
    const { ino } = statSync(path);
    await cloudInit.ensureSeed(structuredClone(seed), { signal });
    await cloudInitWith(runCommand).ensureSeed(seed, { signal });
    expect(statSync(path).ino).toBe(ino);
    expect(programs).toEqual(["genisoimage"]);

    await cloudInit.ensureSeed({ ...seed, hostname: "other" }, { signal });
    expect(documentIn(path, "-R", "meta-data")).toContain('"other"');
  });

  test.each([
    [
      "what a killed agent left half-made",
      (path: string) => mkdirSync(join(path, "../new/content/x"), { recursive: true }),
    ],
    [
      "an image that a killed agent left half-made",
      (path: string) => {
        rmSync(path);
        writeFileSync(`${path}.new`, "half");
      },
    ],
    ["an image that was cut", (path: string) => truncateSync(path, 40_000)],
    ["a file that is no image", (path: string) => writeFileSync(path, "garbage")],
  ])("is made again in spite of %s", async (_sentence, spoil) => {
    const { path } = await cloudInit.ensureSeed(seed, { signal });
    rmSync(path);
    writeFileSync(path, Buffer.alloc(100_000));
    spoil(path);
    await cloudInit.ensureSeed(seed, { signal });
    expect(documentIn(path, "-R", "user-data")).toBe(seed.userData);
    expect(readdirSync(join(path, ".."))).toEqual(["seed.iso"]);
  });

  test("that could not be made leaves no image, is listed, and can be removed", async () => {
    const failing = cloudInitWith(() => Promise.reject(new Error("genisoimage was killed")));
    await expect(failing.ensureSeed(seed, { signal })).rejects.toThrow("killed");
    expect(await cloudInit.list({ signal })).toEqual([vmUid]);
    await cloudInit.remove(vmUid, { signal });
    await cloudInit.remove(vmUid, { signal });
    expect(await cloudInit.list({ signal })).toEqual([]);
    expect(readdirSync(join(stateDirectory, "seeds"))).toEqual([]);
  });

  test("is made only for a UID, and an aborted call touches nothing", async () => {
    await expect(cloudInit.ensureSeed({ ...seed, vmUid: "../../x" }, { signal })).rejects.toThrow(
      "not a UID",
    );
    await expect(cloudInit.ensureSeed(seed, { signal: AbortSignal.abort() })).rejects.toThrow("abort");
    expect(readdirSync(stateDirectory)).toEqual([]);
  });
});

/** Lines "path TAB value", as the tiny guest sees a document. */
const flatten = (text: string): string[] =>
  execFileSync("awk", ["-f", flattenYaml], { input: text }).toString().trimEnd().split("\n");

test("the tiny guest's own parser reads what we write", () => {
  const documents = renderSeed(seed);
  expect(flatten(documents["meta-data"])).toEqual([
    `instance-id\t${vmUid}`,
    "local-hostname\thello",
    `public-keys.0\t${seed.sshPublicKeys[0]}`,
  ]);
  expect(flatten(documents["network-config"])).toEqual([
    "version\t2",
    "ethernets.net0.match.macaddress\t52:54:00:12:34:56",
    "ethernets.net0.dhcp4\tfalse",
    "ethernets.net0.mtu\t1450",
    "ethernets.net0.addresses.0\t10.0.0.11/32",
    "ethernets.net0.routes.0.to\t0.0.0.0/0",
    "ethernets.net0.routes.0.via\t169.254.1.1",
    "ethernets.net0.routes.0.on-link\ttrue",
    "ethernets.net0.nameservers.addresses.0\t9.9.9.9",
    "ethernets.net0.nameservers.addresses.1\t1.1.1.1",
  ]);
});

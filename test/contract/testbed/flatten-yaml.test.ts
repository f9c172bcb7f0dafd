import { join } from "node:path";

import { describe, expect, test } from "@jest/globals";
import fc from "fast-check";
import { stringify } from "yaml";

import { renderSeed } from "../../../src/node-agent/cloud-init/render.ts";
import { run } from "../../testbed/programs.ts";

const SCRIPT = join(import.meta.dirname, "../../testbed/guest-images/tiny/root/lib/vireo/flatten-yaml.awk");

/** Runs the tiny guest's YAML reader and gathers its lines. */
const flatten = async (document: string): Promise<Record<string, string>> => {
  const text = await run("awk", ["-f", SCRIPT], { stdin: document });
  const lines = text.split("\n").filter((line) => line !== "");
  return Object.fromEntries(lines.map((line) => line.split("\t") as [string, string]));
};

describe("the tiny guest's YAML reader", () => {
  test("understands the seed that the node agent writes", async () => {
    const documents = renderSeed({
      vmUid: "6f0f1a2e-1111-4222-8333-444455556666",
      hostname: "hello",
      sshPublicKeys: ['ssh-ed25519 AAAAC3NzaC1lZDI1NTE5 jane\'s "key" #1'],
      interfaces: [
        {
          network: "default",
          macAddress: "52:54:00:12:34:56",
          address: "10.0.0.11",
          prefixLength: 24,
          gateway: "10.0.0.1",
          dnsServers: ["10.0.0.53", "10.0.0.54"],
          mtu: 1450,
          vni: 1,
          allowedAddresses: [],
        },
      ],
    });
    expect(await flatten(documents["meta-data"])).toEqual({
      "instance-id": "6f0f1a2e-1111-4222-8333-444455556666",
      "local-hostname": "hello",
      "public-keys.0": 'ssh-ed25519 AAAAC3NzaC1lZDI1NTE5 jane\'s "key" #1',
    });
    expect(await flatten(documents["network-config"])).toMatchObject({
      "ethernets.net0.match.macaddress": "52:54:00:12:34:56",
      "ethernets.net0.mtu": "1450",
      "ethernets.net0.addresses.0": "10.0.0.11/24",
      "ethernets.net0.routes.0.to": "0.0.0.0/0",
      "ethernets.net0.routes.0.via": "10.0.0.1",
      "ethernets.net0.nameservers.addresses.1": "10.0.0.54",
    });
    expect(await flatten(documents["user-data"])).toEqual({});
  });

  test.each([
    [
      "folded plain scalars",
      "keys:\n  - ssh-ed25519\n    AAAA jane\n",
      { "keys.0": "ssh-ed25519 AAAA jane" },
    ],
    ["lists as deep as their key", "a:\n- b: 1\n  c: 2\n- d\n", { "a.0.b": "1", "a.0.c": "2", "a.1": "d" }],
    ["flow lists and maps", 'a: [1, "2"]\nb: {c: d}\n', { "a.0": "1", "a.1": "2", "b.c": "d" }],
    ["single quotes and comments", "a: 'it''s' \nb: x # y\n# z\n", { a: "it's", b: "x" }],
    ["block scalars", "a: >-\n  one\n  two\nb: 3\n", { a: "one two", b: "3" }],
  ])("understands %s", async (_, document, expected) => {
    expect(await flatten(document)).toEqual(expected);
  });

  test("reads back any strings that the yaml library writes, however they are folded", async () => {
    const word = fc.stringMatching(/^[A-Za-z0-9+/=@.-]{1,60}$/);
    const text = fc.array(word, { minLength: 1, maxLength: 5 }).map((words) => words.join(" "));
    await fc.assert(
      fc.asyncProperty(
        fc.array(text, { minLength: 1, maxLength: 4 }),
        fc.boolean(),
        async (values, quoted) => {
          const document = stringify({ list: values }, quoted ? { defaultStringType: "QUOTE_DOUBLE" } : {});
          const expected = Object.fromEntries(values.map((value, index) => [`list.${index}`, value]));
          expect(await flatten(document)).toEqual(expected);
        },
      ),
      { numRuns: 50 },
    );
  });
});

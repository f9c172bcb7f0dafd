import { describe, expect, test } from "@jest/globals";
import fc from "fast-check";
import { parse } from "yaml";
import { renderSeed, seedDigest } from "../../../../src/node-agent/cloud-init/render.ts";
import type { Seed } from "../../../../src/node-agent/cloud-init/types.ts";

const seed: Seed = {
  vmUid: "0b0e6a4c-5d1f-4f43-9c1c-2f4f0c8f5a10",
  hostname: "hello",
  sshPublicKeys: ["ssh-ed25519 AAAA ann@example", "ssh-rsa BBBB"],
  interfaces: [
    {
      network: "default",
      macAddress: "52:54:00:12:34:56",
      address: "10.0.0.11",
      prefixLength: 24,
      gateway: "10.0.0.1",
      dnsServers: ["9.9.9.9", "1.1.1.1"],
      mtu: 1450,
      vni: 1,
      allowedAddresses: [],
    },
  ],
};
const firstInterface = (change: object): Seed => ({
  ...seed,
  interfaces: seed.interfaces.map((link) => ({ ...link, ...change })),
});

describe("renderSeed", () => {
  test("tells identity, keys and network in plain block style", () => {
    expect(renderSeed(seed)).toEqual({
      "meta-data": [
        'instance-id: "0b0e6a4c-5d1f-4f43-9c1c-2f4f0c8f5a10"',
        'local-hostname: "hello"',
        "public-keys:",
        '  - "ssh-ed25519 AAAA ann@example"',
        '  - "ssh-rsa BBBB"',
        "",
      ].join("\n"),
      "user-data": "#cloud-config\n{}\n",
      "network-config": [
        "version: 2",
        "ethernets:",
        "  net0:",
        "    match:",
        '      macaddress: "52:54:00:12:34:56"',
        "    dhcp4: false",
        "    mtu: 1450",
        "    addresses:",
        '      - "10.0.0.11/24"',
        "    routes:",
        '      - to: "0.0.0.0/0"',
        '        via: "10.0.0.1"',
        "    nameservers:",
        "      addresses:",
        '        - "9.9.9.9"',
        '        - "1.1.1.1"',
        "",
      ].join("\n"),
    });
  });

  test.each([
    ["a gateway outside the prefix is said to be on the link", { gateway: "169.254.1.1" }, true],
    ["an address alone in its prefix has its gateway on the link", { prefixLength: 32 }, true],
    ["a gateway inside the prefix needs no word about the link", {}, undefined],
  ])("%s", (_sentence, change, onLink) => {
    const config = parse(renderSeed(firstInterface(change))["network-config"]);
    expect(config.ethernets.net0.routes[0]["on-link"]).toBe(onLink);
  });

  test("no name servers means no word about them", () => {
    expect(renderSeed(firstInterface({ dnsServers: [] }))["network-config"]).not.toContain("nameservers");
  });

  test("only the first of several interfaces has the default route", () => {
    const [link] = seed.interfaces;
    const second = { ...link, macAddress: "52:54:00:00:00:02", address: "10.9.0.2", gateway: "10.9.0.1" };
    const twoLinks = { ...seed, interfaces: [...seed.interfaces, second] } as Seed;
    const { ethernets } = parse(renderSeed(twoLinks)["network-config"]);
    expect(Object.keys(ethernets)).toEqual(["net0", "net1"]);
    expect(ethernets.net0.routes).toHaveLength(1);
    expect(ethernets.net1.routes).toBeUndefined();
  });

  test.each(["yes", "on", "null", "123", "1e3", "0o7", "12:30", "~", "---", "2001-01-01", "=", "<<"])(
    "the host name %s stays a string, also for a reader of YAML 1.1",
    (hostname) => {
      const text = renderSeed({ ...seed, hostname })["meta-data"];
      for (const version of ["1.1", "1.2"] as const)
        expect(parse(text, { version })["local-hostname"]).toBe(hostname);
    },
  );

  test("whatever a user writes comes back as the value that it was, and adds nothing", () => {
    const hostile = fc.oneof(
      fc.string({ unit: "binary", maxLength: 300 }),
      fc.constantFrom(
        "a\npublic-keys: []",
        "'\"]}",
        "{x: y}",
        "*alias",
        "&a !!binary x",
        "\u0000",
        "\u2028",
        "# c",
      ),
    );
    fc.assert(
      fc.property(hostile, fc.array(hostile, { maxLength: 4 }), hostile, (hostname, keys, userData) => {
        const documents = renderSeed({ ...seed, hostname, sshPublicKeys: keys, userData });
        expect(parse(documents["meta-data"])).toEqual({
          "instance-id": seed.vmUid,
          "local-hostname": hostname,
          "public-keys": keys,
        });
        expect(documents["user-data"]).toBe(userData);
        expect(documents["network-config"]).toBe(renderSeed(seed)["network-config"]);
      }),
    );
  });

  test("every printable value stays on its line, for readers that go line by line", () => {
    const printable = fc.string({ unit: "grapheme-ascii", maxLength: 2000 });
    fc.assert(
      fc.property(printable, (hostname) => {
        const lines = renderSeed({ ...seed, hostname })["meta-data"].split("\n");
        expect(lines).toHaveLength(6);
      }),
    );
  });
});

describe("seedDigest", () => {
  test("is the same for the same seed and another for any difference", () => {
    const other: readonly Seed[] = [
      { ...seed, hostname: "other" },
      { ...seed, sshPublicKeys: [] },
      { ...seed, userData: "#!/bin/sh\n" },
      firstInterface({ mtu: 1500 }),
    ];
    const digests = [seed, ...other].map((each) => seedDigest(renderSeed(each)));
    expect(new Set(digests).size).toBe(digests.length);
    expect(seedDigest(renderSeed(structuredClone(seed)))).toBe(digests[0]);
  });
});

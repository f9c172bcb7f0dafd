import { describe, expect, test } from "@jest/globals";

import { REVOKED_BIT } from "../../../../src/api/network-identity.ts";
import { encodeMessage } from "../../../../src/node-agent/filters/conntrack-message.ts";
import { createConntrackTable, parseEntries } from "../../../../src/node-agent/filters/conntrack.ts";
import type { RunCommand } from "../../../../src/node-agent/host/command.ts";

const { signal } = new AbortController();

const TCP_IN_ZONE =
  "tcp      6 431999 ESTABLISHED src=10.0.0.11 dst=10.0.0.12 sport=33000 dport=80 src=10.0.0.12 dst=10.0.0.11 sport=80 dport=33000 [ASSURED] mark=1442840577 zone=1 use=1";

describe("what conntrack prints", () => {
  test("a connection inside of a Network", () => {
    expect(parseEntries(TCP_IN_ZONE)).toEqual([
      {
        protocol: 6,
        original: {
          source: "10.0.0.11",
          destination: "10.0.0.12",
          ports: { source: 33_000, destination: 80 },
        },
        reply: { source: "10.0.0.12", destination: "10.0.0.11", ports: { source: 80, destination: 33_000 } },
        zones: { both: 1 },
        mark: 0x56000001,
      },
    ]);
  });

  test("a connection to the world, whose sender is translated", () => {
    const line =
      "udp      17 29 src=10.0.0.11 dst=198.51.100.1 sport=5000 dport=53 zone-orig=7 [UNREPLIED] src=198.51.100.1 dst=192.0.2.1 sport=53 dport=5000 mark=1442840583 use=1";
    expect(parseEntries(line)).toEqual([
      {
        protocol: 17,
        original: {
          source: "10.0.0.11",
          destination: "198.51.100.1",
          ports: { source: 5000, destination: 53 },
        },
        reply: { source: "198.51.100.1", destination: "192.0.2.1", ports: { source: 53, destination: 5000 } },
        zones: { original: 7 },
        mark: 0x56000007,
      },
    ]);
  });

  test("an echo, which has no ports", () => {
    const line =
      "icmp     1 29 src=10.0.0.11 dst=10.0.0.12 type=8 code=0 id=77 src=10.0.0.12 dst=10.0.0.11 type=0 code=0 id=77 mark=0 zone=3 use=1";
    const [entry] = parseEntries(line);
    expect(entry?.original.icmp).toEqual({ type: 8, code: 0, id: 77 });
    expect(entry?.original.ports).toBeUndefined();
  });

  test("GRE, whose keys are in the place of ports, and a protocol that is not known by name", () => {
    const text = [
      "gre      47 29 timeout=30, stream_timeout=180 src=10.0.0.11 dst=10.0.0.12 srckey=0x0 dstkey=0x1f [UNREPLIED] src=10.0.0.12 dst=10.0.0.11 srckey=0x1f dstkey=0x0 mark=0 use=1",
      "unknown  99 599 src=10.0.0.11 dst=10.0.0.12 [UNREPLIED] src=10.0.0.12 dst=10.0.0.11 mark=0 use=1",
    ].join("\n");
    const [gre, unknown] = parseEntries(text);
    expect(gre?.original.ports).toEqual({ source: 0, destination: 31 });
    expect(unknown).toMatchObject({ protocol: 99, zones: {}, original: { source: "10.0.0.11" } });
  });

  test("counters, where the kernel keeps them, and lines that are no entries", () => {
    const counted = TCP_IN_ZONE.replace("dport=80 ", "dport=80 packets=3 bytes=180 ");
    expect(parseEntries(`\nnonsense\n${counted}\n`)).toEqual(parseEntries(TCP_IN_ZONE));
  });
});

describe("what is sent to the kernel", () => {
  const [entry] = parseEntries(TCP_IN_ZONE);
  if (entry === undefined) throw new Error("no entry");
  const revoke = { kind: "set-mark", key: entry, value: REVOKED_BIT, mask: REVOKED_BIT } as const;

  test("says how long it is, and pads each part to four bytes", () => {
    const message = encodeMessage(revoke);
    expect(message.readUInt32LE(0)).toBe(message.length);
    expect(message.length % 4).toBe(0);
    expect(message.subarray(4, 8).toString("hex")).toBe("00010500");
  });

  test.each([
    ["an address that is none", { ...entry.original, source: "10.0.0" }],
    ["an address with a number that is too large", { ...entry.original, source: "10.0.0.256" }],
    ["a port that is none", { ...entry.original, ports: { source: 65_536, destination: 1 } }],
  ])("refuses %s", (_what, original) => {
    expect(() => encodeMessage({ ...revoke, key: { ...entry, original } })).toThrow(
      /out of range|not an IPv4/,
    );
  });

  const answering =
    (stdout: string): RunCommand =>
    () =>
      Promise.resolve({ stdout, stderr: "" });

  test("counts the entries that there were", async () => {
    const table = createConntrackTable(answering("0\n2\n0\n"));
    expect(await table.change([revoke, revoke, revoke], signal)).toBe(2);
  });

  test("starts nothing when there is nothing to send", async () => {
    const table = createConntrackTable(() => Promise.reject(new Error("it was started")));
    expect(await table.change([], signal)).toBe(0);
  });

  test("says what the kernel refused", async () => {
    const table = createConntrackTable(answering("0\n1\n"));
    await expect(table.change([revoke, revoke], signal)).rejects.toThrow(/10\.0\.0\.11.*errno 1/);
    await expect(table.change([revoke, revoke, revoke], signal)).rejects.toThrow(/errno/);
  });
});

import { rm } from "node:fs/promises";

import { afterAll, beforeAll, beforeEach, describe, expect, test } from "@jest/globals";

import { packetMark, REVOKED_BIT } from "../../../src/api/network-identity.ts";
import {
  type ConntrackEntry,
  type ConntrackTable,
  createConntrackTable,
} from "../../../src/node-agent/filters/conntrack.ts";
import { startNetworkNamespace, type NetworkNamespace } from "../../testbed/network-namespace.ts";
import { makeTemporaryDirectory } from "../../testbed/temporary-directory.ts";

const { signal } = new AbortController();

const tcp = ["-p", "tcp", "-s", "10.0.0.11", "-d", "10.0.0.12", "--sport", "33000", "--dport", "80"];
const state = ["--state", "ESTABLISHED", "-t", "300"];

/** Each is its own entry, although all have the same addresses and ports. */
const entries: readonly (readonly [string, readonly string[]])[] = [
  ["in no zone", [...tcp, ...state, "-m", String(packetMark(9))]],
  ["in the zone of a Network", [...tcp, ...state, "--zone", "1", "-m", String(packetMark(1))]],
  ["in the zone of another Network", [...tcp, ...state, "--zone", "2", "-m", String(packetMark(2))]],
  [
    "to the world, with the zone in its own direction only",
    [...tcp, ...state, "--orig-zone", "3", "-r", "10.0.0.12", "-q", "192.0.2.1"].concat(
      ["--reply-port-src", "80", "--reply-port-dst", "33000"],
      ["-m", String(packetMark(3))],
    ),
  ],
  [
    "of an echo",
    ["-p", "icmp", "-s", "10.0.0.11", "-d", "10.0.0.12", "--icmp-type", "8", "--icmp-code", "0"].concat(
      ["--icmp-id", "77", "-t", "300", "--zone", "1"],
      ["-m", String(packetMark(1))],
    ),
  ],
  [
    "of UDP",
    [
      "-p",
      "udp",
      "-s",
      "10.0.0.11",
      "-d",
      "10.0.0.12",
      "--sport",
      "33000",
      "--dport",
      "80",
      "-t",
      "300",
    ].concat(["--zone", "1"], ["-m", String(packetMark(1))]),
  ],
  [
    "of GRE",
    ["-p", "gre", "-s", "10.0.0.11", "-d", "10.0.0.12", "--srckey", "0", "--dstkey", "0", "-t", "300"].concat(
      ["--zone", "1"],
      ["-m", String(packetMark(1))],
    ),
  ],
];

describe("the kernel's table of connections", () => {
  let directory: string;
  let namespace: NetworkNamespace;
  let table: ConntrackTable;

  beforeAll(async () => {
    directory = await makeTemporaryDirectory("conntrack");
    namespace = await startNetworkNamespace({ name: "conntrack", directory });
    table = createConntrackTable(namespace.runCommand);
  });
  afterAll(async () => {
    await namespace.stop();
    await rm(directory, { recursive: true });
  });
  beforeEach(async () => {
    await namespace.run(["conntrack", "-F"]);
    for (const [, args] of entries) await namespace.run(["conntrack", "-I", ...args]);
  });

  const list = (): Promise<readonly ConntrackEntry[]> => table.list(signal);
  const withoutMark = ({ mark: _mark, ...rest }: ConntrackEntry): string => JSON.stringify(rest);

  test("has an entry for each", async () => {
    expect(await list()).toHaveLength(entries.length);
  });

  test.each(entries.map(([name], index) => [name, index] as const))(
    "marks the entry %s, and no other",
    async (_name, index) => {
      const number = [9, 1, 2, 3, 1, 1, 1][index] ?? 0;
      const protocol = [6, 6, 6, 6, 1, 17, 47][index];
      const before = await list();
      const key = before.find((entry) => entry.protocol === protocol && entry.mark === packetMark(number));
      if (key === undefined) throw new Error("no such entry");
      const mask = REVOKED_BIT;
      expect(await table.change([{ kind: "set-mark", key, value: REVOKED_BIT, mask }], signal)).toBe(1);
      const marked = await list();
      expect(marked.filter(({ mark }) => (mark & REVOKED_BIT) !== 0)).toEqual([
        { ...key, mark: key.mark + REVOKED_BIT },
      ]);
      expect(await table.change([{ kind: "set-mark", key, value: 0, mask }], signal)).toBe(1);
      const markOf = (entry: ConntrackEntry): string => String(entry.mark);
      expect((await list()).map(markOf).toSorted()).toEqual(before.map(markOf).toSorted());
      expect(await table.change([{ kind: "delete", key }], signal)).toBe(1);
      expect((await list()).map(withoutMark).toSorted()).toEqual(
        before
          .filter((entry) => entry !== key)
          .map(withoutMark)
          .toSorted(),
      );
    },
  );

  test("does not get an entry by a mark for one that has ended", async () => {
    const [key] = await list();
    if (key === undefined) throw new Error("no entry");
    await namespace.run(["conntrack", "-F"]);
    expect(
      await table.change([{ kind: "set-mark", key, value: REVOKED_BIT, mask: REVOKED_BIT }], signal),
    ).toBe(0);
    expect(await list()).toEqual([]);
  });

  test("takes a thousand changes at once", async () => {
    const [key] = await list();
    if (key === undefined) throw new Error("no entry");
    const message = { kind: "set-mark", key, value: REVOKED_BIT, mask: REVOKED_BIT } as const;
    expect(
      await table.change(
        Array.from({ length: 1000 }, () => message),
        signal,
      ),
    ).toBe(1000);
  });
});

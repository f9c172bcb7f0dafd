import { mkdir, rm, writeFile } from "node:fs/promises";
import { join } from "node:path";

import { afterAll, beforeAll, describe, expect, test } from "@jest/globals";

import type { z } from "zod";

import { type Probe, readinessProbe } from "../../../src/api/probe.ts";
import { sleep, systemClock } from "../../../src/kube/index.ts";
import { createFilters } from "../../../src/node-agent/filters/index.ts";
import type { RunCommand } from "../../../src/node-agent/host/command.ts";
import { createProbes, type Finding } from "../../../src/node-agent/probes/index.ts";
import { DEFAULT_VXLAN_PORT } from "../../../src/api/network-identity.ts";
import { type PacketNetwork, type PluggedGuest, startPacketNetwork } from "../../testbed/packet-network.ts";
import { programEnvironment } from "../../testbed/programs.ts";
import { makeTemporaryDirectory } from "../../testbed/temporary-directory.ts";
import { waitFor } from "../../testbed/wait.ts";
import { GUEST_SERVER } from "./guest-server.ts";

type ProbeSpec = z.input<typeof readinessProbe>;

const ADDRESS = "10.0.0.11";
const healthy: Finding = { kind: "healthy" };
const unhealthy = (message: string): Finding => ({ kind: "unhealthy", message });

let directory: string;
let network: PacketNetwork;
let red: PluggedGuest;
let blue: PluggedGuest;
let run: RunCommand;

const serve = async (guest: PluggedGuest, status: number): Promise<void> => {
  await guest.namespace.startDaemon("server", [process.execPath, "-e", GUEST_SERVER, String(status)]);
  const connect = ["socat", "-u", "OPEN:/dev/null", "TCP4:127.0.0.1:83"] as const;
  await waitFor("the guest's server", () => guest.namespace.succeeds(connect), { intervalMs: 20 });
};

/** Probes once, and tells what was found; or the node's trouble. */
const find = async (
  guest: Pick<PluggedGuest, "tap">,
  probe: ProbeSpec,
  address = ADDRESS,
): Promise<Finding | { readonly kind: "trouble"; readonly message: string }> => {
  const vmUid = "5a1d7d0e-8f0c-4c52-9f7c-3f0a4f6b8c01";
  const found = Promise.withResolvers<Finding | { kind: "trouble"; message: string }>();
  const probes = createProbes({
    run,
    askAgent: () => Promise.reject(new Error("no agent is asked here")),
    timing: {
      monotonic: () => performance.now(),
      sleep: (ms, signal) => sleep(systemClock, ms, signal),
    },
    now: () => new Date(),
    onResult: () => {},
    onTrouble: (_uid, message) => found.resolve({ kind: "trouble", message }),
  });
  probes.onChange(() => found.resolve(probes.findings(vmUid).readiness ?? { kind: "pending" }));
  const parsed: Probe = readinessProbe.parse({ timeoutSeconds: 10, failureThreshold: 1, ...probe });
  probes.follow({
    vmUid,
    tap: guest.tap,
    address,
    startedAt: new Date(),
    readinessProbe: parsed,
    readyBefore: { kind: "pending" },
  });
  return found.promise.finally(() => probes.close());
};

const http = (path: string, more: ProbeSpec = {}): ProbeSpec => ({ httpGet: { port: 80, path }, ...more });

beforeAll(async () => {
  directory = await makeTemporaryDirectory("probes");
  network = await startPacketNetwork({ nodes: 1, directory });
  const [node] = network.nodes;
  if (node === undefined) throw new Error("there is no node");
  red = await network.plugGuest(node, { name: "red", vni: 1, address: ADDRESS });
  blue = await network.plugGuest(node, { name: "blue", vni: 2, address: ADDRESS });
  // Not even nodes reach these Networks: what is probed depends on no route.
  await network.sync([1, 2].map((vni) => ({ vni, cidr: "10.0.0.0/24", reachableFromNodes: false })));
  await Promise.all([serve(red, 200), serve(blue, 503)]);
  await red.namespace.run(["iptables", "-A", "INPUT", "-p", "tcp", "--dport", "84", "-j", "DROP"]);
  // Somebody's settings, which must not matter.
  const home = join(directory, "home");
  await mkdir(home);
  await writeFile(join(home, ".curlrc"), "location\nfail\nproxy = http://127.0.0.1:1\n");
  const env = { ...programEnvironment(), HOME: home, http_proxy: "http://127.0.0.1:1" };
  run = (file, args, options) => node.namespace.runCommand(file, args, { ...options, env });
}, 60_000);

afterAll(async () => {
  await network.stop();
  await rm(directory, { recursive: true });
}, 30_000);

describe("a probe by TCP", () => {
  test.each<[string, number, Finding]>([
    ["succeeds at a port that accepts and says nothing", 81, healthy],
    ["succeeds at a port that speaks first", 83, healthy],
    ["fails at a closed port", 82, unhealthy("connection refused")],
  ])("%s", async (_, port, expected) => {
    expect(await find(red, { tcpSocket: { port } })).toEqual(expected);
  });

  test("fails after its time at a port whose packets are dropped", async () => {
    const found = await find(red, { tcpSocket: { port: 84 }, timeoutSeconds: 1 });
    expect(found).toEqual(unhealthy("no connection within 1 s"));
  });

  test("fails at an address that nobody has", async () => {
    const found = await find(red, { tcpSocket: { port: 81 }, timeoutSeconds: 1 }, "10.0.0.99");
    expect(found).toEqual(unhealthy("no connection within 1 s"));
  });

  test("says nothing of the guest when its tap is missing", async () => {
    expect(await find({ tap: "vtapmissing" }, { tcpSocket: { port: 81 } })).toMatchObject({
      kind: "trouble",
    });
  });
});

describe("a probe by HTTP", () => {
  test.each<[string, string, Finding]>([
    ["succeeds with 200", "/who", healthy],
    ["succeeds without a body", "/empty", healthy],
    ["succeeds with a redirect", "/elsewhere", healthy],
    ["which it did not follow", "/was-not-trapped", healthy],
    ["comes from the node's own address, not from a gateway's", "/from-the-node", healthy],
    ["fails with 500", "/failing", unhealthy("HTTP status 500")],
    ["fails with 404", "/gone", unhealthy("HTTP status 404")],
    ["succeeds with a body without end", "/endless", healthy],
    ["of which it took little", "/sent-little", healthy],
    ["succeeds with a status, though the body is late", "/half", healthy],
  ])("%s", async (_, path, expected) => {
    expect(await find(red, http(path))).toEqual(expected);
  });

  test("sends a path as it is written", async () => {
    expect(await find(red, http("/a/../b?x=%5b1%5D&y=*"))).toEqual(healthy);
  });

  test.each<[string, ProbeSpec, Finding]>([
    ["a server that says nothing", http("/silent", { timeoutSeconds: 1 }), unhealthy("no answer within 1 s")],
    ["a closed port", { httpGet: { port: 82 } }, unhealthy("cannot connect")],
    ["dropped packets", { httpGet: { port: 84 }, timeoutSeconds: 1 }, unhealthy("no answer within 1 s")],
  ])("fails at %s", async (_, probe, expected) => {
    expect(await find(red, probe)).toEqual(expected);
  });

  test.each<[string, ProbeSpec]>([
    ["what is no HTTP", { httpGet: { port: 83 } }],
    ["HTTPS where there is none", { httpGet: { port: 80, scheme: "HTTPS" } }],
  ])("fails at %s, and says so on one line without control characters", async (_, probe) => {
    const found = await find(red, probe);
    expect(found.kind).toBe("unhealthy");
    expect(found).not.toMatchObject({ message: expect.stringMatching(/\p{Cc}/u) });
  });

  test("says nothing of the guest when its tap is missing", async () => {
    expect(await find({ tap: "vtapmissing" }, http("/who"))).toMatchObject({ kind: "trouble" });
  });
});

test("of two guests with one address, each probe reaches its own", async () => {
  expect(red.interface.address).toBe(blue.interface.address);
  for (let round = 0; round < 3; round += 1) {
    const found = await Promise.all([find(red, http("/who")), find(blue, http("/who"))]);
    expect(found).toEqual([healthy, unhealthy("HTTP status 503")]);
  }
  const ports = await Promise.all(
    [red, blue].map((guest) => find(guest, { tcpSocket: { port: 84 }, timeoutSeconds: 1 })),
  );
  expect(ports).toEqual([unhealthy("no connection within 1 s"), unhealthy("connection refused")]);
});

test("a probe passes the node's packet filter, though the guest's groups allow nobody in", async () => {
  const [node] = network.nodes;
  const filters = createFilters({ run });
  const { signal } = new AbortController();
  await filters.sync(
    {
      guests: [red, blue].map(({ vmUid, name, tap, interface: allocated }) => ({
        vni: allocated.vni,
        macAddress: allocated.macAddress,
        address: allocated.address,
        allowedAddresses: allocated.allowedAddresses,
        gateway: allocated.gateway,
        vmUid,
        namespace: "default",
        name,
        tap,
        securityGroups: [],
      })),
      networks: [1, 2].map((vni) => ({ vni, cidr: "10.0.0.0/24", egress: "NAT", peers: [] })),
      groups: [],
      members: [],
      nodeAddresses: [node?.address ?? ""],
      tunnelAddress: node?.address,
      vxlanPort: DEFAULT_VXLAN_PORT,
    },
    { signal },
  );
  const found = await Promise.all([find(red, http("/who")), find(blue, http("/who"))]);
  expect(found).toEqual([healthy, unhealthy("HTTP status 503")]);
  await filters.tearDown({ signal });
});

import { afterAll, beforeAll, describe, expect, test } from "@jest/globals";

import { virtualMachines } from "../../src/api/virtual-machine.ts";
import { startTestCluster, type TestCluster } from "./support/cluster.ts";
import { type JsonObject, mergePatch, validManifest } from "./support/manifests.ts";
import { type BadSpec, outcomeOf, tryToCreate } from "./support/refusals.ts";

/** What a user may say of probes, and what is refused with the field's name. */

let cluster: TestCluster;

beforeAll(async () => {
  cluster = await startTestCluster();
});

afterAll(() => cluster.stop());

const outcome = async (spec: JsonObject, field: string): Promise<string> => {
  const manifest = mergePatch(validManifest(virtualMachines, "probed"), { spec });
  return outcomeOf(await tryToCreate(cluster, virtualMachines, manifest), field);
};

const tcpSocket = { port: 80 };
const READINESS = "spec.readinessProbe";
const http = (changes: JsonObject) => ({ readinessProbe: { httpGet: { port: 80, ...changes } } });
const exec = (command: unknown) => ({ readinessProbe: { exec: { command } } }) as JsonObject;

const badProbes: readonly BadSpec[] = [
  ["a probe without an action", { readinessProbe: {} }, READINESS],
  ["a probe with two actions", { readinessProbe: { tcpSocket, httpGet: { port: 80 } } }, READINESS],
  [
    "a probe with three",
    { livenessProbe: { tcpSocket, httpGet: { port: 80 }, exec: { command: ["true"] } } },
    "spec.livenessProbe",
  ],
  ["port 0", { readinessProbe: { tcpSocket: { port: 0 } } }, `${READINESS}.tcpSocket.port`],
  ["port 65536", { readinessProbe: { tcpSocket: { port: 65_536 } } }, `${READINESS}.tcpSocket.port`],
  ["a port by name", { readinessProbe: { tcpSocket: { port: "ssh" } } }, `${READINESS}.tcpSocket.port`],
  ["a host, which a probe does not choose", http({ host: "10.0.0.1" }), `${READINESS}.httpGet.host`],
  ["a path that is none", http({ path: "healthz" }), `${READINESS}.httpGet.path`],
  ["a path with a space", http({ path: "/a b" }), `${READINESS}.httpGet.path`],
  ["a path with a newline at its end", http({ path: "/a\n" }), `${READINESS}.httpGet.path`],
  ["a path that curl would take for several", http({ path: "/[1-9]" }), `${READINESS}.httpGet.path`],
  ["a path of 1025 characters", http({ path: `/${"a".repeat(1024)}` }), `${READINESS}.httpGet.path`],
  ["another scheme", http({ scheme: "file" }), `${READINESS}.httpGet.scheme`],
  ["no command", exec([]), `${READINESS}.exec.command`],
  ["a program without a name", exec([""]), `${READINESS}.exec.command`],
  ["a command that is a line", exec("test -f /ready"), `${READINESS}.exec.command`],
  ["33 arguments", exec(Array.from({ length: 33 }, () => "a")), `${READINESS}.exec.command`],
  ["an argument with NUL", exec(["echo", "a\u0000b"]), `${READINESS}.exec.command`],
  ["a period of 0", { readinessProbe: { tcpSocket, periodSeconds: 0 } }, `${READINESS}.periodSeconds`],
  ["a timeout of 0", { readinessProbe: { tcpSocket, timeoutSeconds: 0 } }, `${READINESS}.timeoutSeconds`],
  [
    "a threshold of 0",
    { readinessProbe: { tcpSocket, failureThreshold: 0 } },
    `${READINESS}.failureThreshold`,
  ],
  [
    "a negative delay",
    { readinessProbe: { tcpSocket, initialDelaySeconds: -1 } },
    `${READINESS}.initialDelaySeconds`,
  ],
  [
    "a liveness probe with a success threshold",
    { livenessProbe: { tcpSocket, successThreshold: 2 } },
    "spec.livenessProbe.successThreshold",
  ],
];

describe("refused is", () => {
  test.each(badProbes)("%s", async (_, spec, field) => {
    expect(await outcome(spec, field)).toBe(`refused for ${field}`);
  });
});

describe("taken is", () => {
  test.each<[string, JsonObject]>([
    ["the least of a TCP probe", { livenessProbe: { tcpSocket } }],
    ["the least of an HTTP probe", { livenessProbe: { httpGet: { port: 80 } } }],
    ["a path with a query", http({ path: "/healthz?full=1&x=%20;(a)'*!$@", scheme: "HTTPS" })],
    ["a command with quotes, newlines and emoji", exec(["/bin/sh", "-c", "echo \"$A\" '\n' 🙂"])],
    ["a readiness probe that must succeed twice", { readinessProbe: { tcpSocket, successThreshold: 2 } }],
  ])("%s", async (_, spec) => {
    expect(await outcome(spec, "spec")).toBe("taken");
  });
});

import { once } from "node:events";
import { readFile } from "node:fs/promises";
import { connect } from "node:net";
import { dirname, join } from "node:path";

import { afterAll, beforeAll, beforeEach, describe, expect, test } from "@jest/globals";
import { z } from "zod";

import { virtualMachineSnapshots } from "../../src/api/virtual-machine-snapshot.ts";
import { type VirtualMachine, virtualMachines } from "../../src/api/virtual-machine.ts";
import { buildPlugin, type Plugin, type PluginOptions, type PluginResult } from "../testbed/kubectl-vireo.ts";
import { run } from "../testbed/programs.ts";
import { waitFor } from "../testbed/wait.ts";
import { APPLY_PATCH, MERGE_PATCH } from "./support/api-client.ts";
import type { JsonObject } from "./support/manifests.ts";
import { type FakeNode, openSubresourceStage, type SubresourceStage } from "./support/subresource-stage.ts";

/** kubectl's plugin, as one file, with the real API server and the real api-server behind it. */

let stage: SubresourceStage;
let plugin: Plugin;
let node: FakeNode;
let machine: VirtualMachine;
let editor: PluginOptions;
let viewer: PluginOptions;

const userOptions = async (name: string, roles: readonly string[]): Promise<PluginOptions> => {
  const { token } = await stage.connectUser(name, roles);
  const kubeconfig = join(stage.directory, `${name}.kubeconfig`);
  await stage.cluster.controlPlane.kubeconfigFor({ token }, kubeconfig);
  return { kubeconfig };
};

const inNamespace = (args: readonly string[]): readonly string[] => {
  const [command = "", ...rest] = args;
  return [command, `--namespace=${stage.cluster.namespace}`, ...rest];
};
const vireo = (...args: readonly string[]): Promise<PluginResult> => plugin.run(inNamespace(args), editor);
const start = (args: readonly string[], more: Partial<PluginOptions> = {}) =>
  plugin.start(inNamespace(args), { ...editor, ...more });

const patch = async (name: string, body: object, subresource = ""): Promise<void> => {
  const path = `${stage.cluster.pathOf(virtualMachines, name)}${subresource}`;
  const reply = await stage.cluster.administrator.call({
    method: "PATCH",
    path,
    contentType: MERGE_PATCH,
    body,
  });
  if (reply.code !== 200) throw new Error(JSON.stringify(reply.body));
};

const read = async (name: string): Promise<JsonObject> => {
  const path = stage.cluster.pathOf(virtualMachines, name);
  return (await stage.cluster.administrator.call({ method: "GET", path })).body as JsonObject;
};

const specOf = async (name: string): Promise<JsonObject> => (await read(name))["spec"] as JsonObject;

beforeAll(async () => {
  [stage, plugin] = await Promise.all([openSubresourceStage(), buildPlugin()]);
  const { namespace } = stage.cluster;
  node = await stage.startNode(`${namespace}-a`);
  machine = await stage.placeMachine("web", node.name);
  editor = await userOptions("editor", ["vireo-view", "vireo-edit"]);
  viewer = await userOptions("viewer", ["vireo-view"]);
}, 180_000);

afterAll(async () => {
  await stage.stop();
  await plugin.remove();
});

beforeEach(() => {
  node.guests.calls.length = 0;
  node.guests.off.clear();
});

const managers = z.object({
  metadata: z.object({
    managedFields: z.array(z.object({ manager: z.string(), fieldsV1: z.record(z.string(), z.unknown()) })),
  }),
});

describe("what a manifest would change", () => {
  test("is changed by whoever may, under the name of the program", async () => {
    const { exitCode, out, err } = await vireo("stop", "web", "--no-wait");
    expect([exitCode, err]).toEqual([0, ""]);
    expect(out).toBe(`VirtualMachine ${stage.cluster.namespace}/web is to be stopped\n`);
    const object = await read("web");
    expect(object).toMatchObject({ spec: { runStrategy: "Halted" } });
    const { metadata } = managers.parse(object);
    expect(metadata.managedFields.find(({ manager }) => manager === "kubectl-vireo")?.fieldsV1).toEqual({
      "f:spec": { "f:runStrategy": {} },
    });
  });

  test("is not changed by a dry run, which the API server checks", async () => {
    const before = await specOf("web");
    const dry = await vireo("start", "web", "--dry-run", "-o", "json");
    expect(JSON.parse(dry.out)).toMatchObject({ spec: { runStrategy: "Always" } });
    const refused = await vireo("resize", "web", "--memory", "1Ki", "--dry-run");
    expect([refused.exitCode, refused.err]).toEqual([
      1,
      expect.stringContaining("must be between 64Mi and 16Ti"),
    ]);
    expect(await specOf("web")).toEqual(before);
  });

  test("is awaited until the machine says that it is so", async () => {
    const process = start(["start", "web"]);
    // What the controller says of it meanwhile is its own affair.
    await process.untilErr(/VirtualMachine [^ ]+\/web: ./);
    const { metadata } = await read("web");
    const { generation } = metadata as { readonly generation: number };
    const ready = {
      type: "Ready",
      status: "True",
      reason: "Running",
      message: "the guest runs",
      lastTransitionTime: "2026-11-23T10:20:30Z",
    };
    await patch("web", { status: { observedGeneration: generation, conditions: [ready] } }, "/status");
    expect(await process.ended).toMatchObject({ exitCode: 0, out: expect.stringContaining("is started") });
  });

  test("is changed with a warning where a program applies it", async () => {
    const path = `${stage.cluster.pathOf(virtualMachines, "web")}?fieldManager=argocd-controller&force=true`;
    const body = {
      apiVersion: "vireo.dev/v1alpha1",
      kind: "VirtualMachine",
      spec: { runStrategy: "Always" },
    };
    const reply = await stage.cluster.administrator.call({
      method: "PATCH",
      path,
      contentType: APPLY_PATCH,
      body,
    });
    expect(reply.code).toBe(200);
    const { exitCode, err } = await vireo("stop", "web", "--no-wait");
    expect(exitCode).toBe(0);
    expect(err).toMatch(
      /^warning: .*has this from argocd-controller, which may undo it.*runStrategy: "Halted"/,
    );
    expect(await specOf("web")).toMatchObject({ runStrategy: "Halted" });
  });

  test("is refused to a viewer, with what to do about it", async () => {
    const { exitCode, err } = await plugin.run(inNamespace(["start", "web", "--no-wait"]), viewer);
    expect(exitCode).toBe(1);
    expect(err).toMatch(/403 Forbidden: .*cannot patch resource "virtualmachines".*kubectl auth can-i/);
  });
});

describe("new objects", () => {
  test("snapshots, clones and migrations are such as the API server takes", async () => {
    expect(await vireo("snapshot", "web", "before", "--memory", "--no-wait")).toMatchObject({
      exitCode: 0,
      err: expect.any(String),
    });
    expect(await vireo("restore", "web", "before", "--no-wait")).toMatchObject({ exitCode: 0 });
    expect(await vireo("clone", "web", "twin", "--no-wait")).toMatchObject({ exitCode: 0 });
    const moving = await plugin.run(
      inNamespace("migrate web --node node-b --max-downtime 100 --no-wait --output json".split(" ")),
      { kubeconfig: stage.cluster.controlPlane.kubeconfig },
    );
    expect(JSON.parse(moving.out)).toMatchObject({
      kind: "VirtualMachineMigration",
      spec: { virtualMachine: "web", targetNode: "node-b", maxDowntimeMilliseconds: 100, autoConverge: true },
    });
    const snapshot = await stage.cluster.administrator.call({
      method: "GET",
      path: stage.cluster.pathOf(virtualMachineSnapshots, "before"),
    });
    expect(snapshot.body).toMatchObject({ spec: { virtualMachine: "web", includeMemory: true } });
    const twin = await specOf("twin");
    expect(twin).toMatchObject({ source: { virtualMachine: "web" }, runStrategy: "Halted" });
    expect(twin).not.toHaveProperty("image");
  });

  test("the printed manifest of a machine with every flag is taken, too", async () => {
    const flags =
      "--image images/debian --vcpus 2 --max-vcpus 8 --memory 1Gi --max-memory 4Gi --disk 10Gi --pool fast " +
      "--boot-order 2 --volume data,bus=SCSI,boot=3 --cdrom installer,boot=1 --network lan,address=10.0.0.9 " +
      "--network wan,boot=4 --key-pair me --security-group web --run-strategy Once --grace-period 30 " +
      "--hostname www --user-data-secret seed --network-data-secret net/cfg --firmware UEFI --tpm " +
      "--cpu-model EPYC --cpu-topology 1:4:2 --huge-pages 2Mi --graphics VNC --graphics SPICE --zone north " +
      "--node-selector example.com/disk=fast --liveness-probe tcp:22,period=5 --readiness-probe https:443/x,delay=10";
    const { exitCode, out } = await plugin.run(["create", "vm", "full", ...flags.split(" ")], editor);
    expect(exitCode).toBe(0);
    const { controlPlane, namespace } = stage.cluster;
    const applied = await controlPlane.kubectl(
      ["apply", "--namespace", namespace, "--dry-run=server", "--validate=strict", "-f", "-"],
      { stdin: out },
    );
    expect(applied).toContain("virtualmachine.vireo.dev/full created (server dry run)");
  });
});

describe("requests to the node", () => {
  test.each(["restart", "pause", "unpause"])("%s reaches it, in the user's name", async (command) => {
    expect(await vireo(command, "web", "--no-wait")).toMatchObject({ exitCode: 0 });
    const { namespace } = stage.cluster;
    expect(node.guests.calls).toEqual([
      `${command} ${machine.metadata.uid} for system:serviceaccount:${namespace}:editor`,
    ]);
  });

  test("restart in a dry run asks nothing of it", async () => {
    const { exitCode, out } = await vireo("restart", "web", "--dry-run");
    expect([exitCode, out]).toEqual([0, expect.stringContaining("(dry run: nothing was changed)")]);
    expect(node.guests.calls).toEqual([]);
  });

  test("log and screenshot print what it has", async () => {
    expect(await vireo("log", "web")).toMatchObject({ exitCode: 0, out: "Linux has booted\n" });
    const file = join(stage.directory, "screen.png");
    expect(await vireo("screenshot", "web", file)).toMatchObject({ exitCode: 0 });
    expect(await readFile(file)).toEqual(Buffer.from([0x89, 0x50, 0x4e, 0x47]));
  });

  test("are refused in the node's words", async () => {
    node.guests.off.add(machine.metadata.uid);
    const { exitCode, err } = await vireo("pause", "web");
    expect([exitCode, err]).toEqual([1, expect.stringContaining("the guest is off; start it first")]);
  });
});

describe("console", () => {
  test("joins pipes with the guest, until Ctrl-C", async () => {
    const process = start(["console", "web"]);
    process.write("hello\n");
    process.end();
    await process.untilOut(/console:hello\n/);
    await process.untilErr(/\[connected to the console of web; Ctrl-C leaves\]/);
    process.signal("SIGINT");
    expect(await process.ended).toMatchObject({ exitCode: 0, out: "console:hello\n" });
  });

  test("hands on every key of a terminal, Ctrl-C too, until Ctrl-]", async () => {
    const process = start(["console", "web"], { terminal: true });
    await process.untilOut(/console:/);
    const keys = "a\u0003\u0004b\r";
    process.write(keys);
    await process.untilOut(new RegExp(keys));
    process.write("c\u001d");
    expect(await process.ended).toMatchObject({
      exitCode: 0,
      out: expect.stringContaining(keys),
    });
  });

  test("waits for a guest that is off, and connects when it runs", async () => {
    const running = { guest: { nodeName: node.name, powerState: "Running", restarts: 0 } };
    node.guests.off.add(machine.metadata.uid);
    await patch("web", { status: { guest: { ...running.guest, powerState: "ShutOff" } } }, "/status");
    const process = start(["console", "web"]);
    await process.untilErr(/the guest is off; waiting until it runs/);
    node.guests.off.clear();
    await patch("web", { status: running }, "/status");
    await process.untilOut(/console:/);
    process.signal("SIGINT");
    expect(await process.ended).toMatchObject({ exitCode: 0 });
  });

  test("connects again when the way to the guest breaks", async () => {
    const process = start(["console", "web"]);
    await process.untilOut(/console:/);
    await stage.apiServer.restart();
    await stage.apiServer.ready();
    await process.untilOut(/console:console:/, 60_000);
    process.signal("SIGINT");
    expect(await process.ended).toMatchObject({
      exitCode: 0,
      err: expect.stringContaining("the console has ended"),
    });
  }, 120_000);

  test("is refused to a viewer at once", async () => {
    const { exitCode, err } = await plugin.run(inNamespace(["console", "web"]), viewer);
    expect([exitCode, err]).toEqual([1, expect.stringContaining("virtualmachines/console")]);
  });
});

/** What a server on this port says to a text. */
const converse = async (port: number, text: string, wanted: number): Promise<string> => {
  const socket = connect(port, "127.0.0.1");
  const heard: Buffer[] = [];
  socket.on("data", (chunk: Buffer) => heard.push(chunk));
  await once(socket, "connect");
  socket.write(text);
  await waitFor(`${wanted} bytes`, () => Buffer.concat(heard).length >= wanted);
  socket.destroy();
  return Buffer.concat(heard).toString("utf8");
};

describe("ports", () => {
  test("are forwarded, several at once and one after the other, until Ctrl-C", async () => {
    const process = start(["port-forward", "web", ":22", ":80"]);
    const [, ssh = ""] = await process.untilOut(/127\.0\.0\.1:([0-9]+) -> 22\n/);
    const [, web = ""] = await process.untilOut(/127\.0\.0\.1:([0-9]+) -> 80\n/);
    const said = await Promise.all([
      converse(Number(ssh), "one", 10),
      converse(Number(ssh), "two", 10),
      converse(Number(web), "three", 12),
    ]);
    expect(said).toEqual(["tcp 22:one", "tcp 22:two", "tcp 80:three"]);
    process.signal("SIGINT");
    expect(await process.ended).toMatchObject({ exitCode: 0, err: "" });
  });

  test("let a guest finish what it says after the other side has said its last", async () => {
    const process = start(["port-forward", "web", ":80"]);
    const [, port = ""] = await process.untilOut(/127\.0\.0\.1:([0-9]+) -> 80\n/);
    const socket = connect({ port: Number(port), host: "127.0.0.1", allowHalfOpen: true });
    const heard: Buffer[] = [];
    socket.on("data", (chunk: Buffer) => heard.push(chunk));
    socket.end("x".repeat(100_000));
    await waitFor("all of the echo", () => Buffer.concat(heard).length >= 7 + 100_000);
    expect(Buffer.concat(heard).toString("utf8")).toBe(`tcp 80:${"x".repeat(100_000)}`);
    socket.destroy();
    process.signal("SIGTERM");
    await process.ended;
  });

  test("are joined with standard input and output for ssh", async () => {
    const process = start(["port-forward", "--stdio", "web", "22"]);
    process.write("hello");
    await process.untilOut(/tcp 22:hello/);
    process.end();
    expect(await process.ended).toMatchObject({ exitCode: 0, out: "tcp 22:hello", err: "" });
  });

  test("that are taken here are said to be", async () => {
    const first = start(["port-forward", "web", ":22"]);
    const [, port = ""] = await first.untilOut(/127\.0\.0\.1:([0-9]+) -> 22\n/);
    const { exitCode, err } = await vireo("port-forward", "web", `${port}:22`);
    expect([exitCode, err]).toEqual([1, expect.stringContaining(`cannot listen on 127.0.0.1 port ${port}`)]);
    first.signal("SIGINT");
    await first.ended;
  });

  test("lead a VNC viewer to the screen", async () => {
    const process = start(["vnc", "web", "--proxy-only"]);
    const [, port = ""] = await process.untilOut(/^127\.0\.0\.1:([0-9]+)\n/);
    expect(await converse(Number(port), "RFB", 7)).toBe("vnc:RFB");
    process.signal("SIGINT");
    expect(await process.ended).toMatchObject({ exitCode: 0 });
  });
});

describe("what is shown", () => {
  test("kubectl finds the plugin", async () => {
    const { kubectlPath } = stage.cluster.controlPlane;
    const PATH = [dirname(plugin.file), dirname(process.execPath), process.env["PATH"]].join(":");
    expect(await run(kubectlPath, ["vireo", "--version"], { env: { PATH } })).toMatch(
      /^kubectl-vireo [0-9.]+\n$/,
    );
  });

  test("names of machines complete", async () => {
    const { out } = await plugin.run(
      ["__complete", "stop", `--namespace=${stage.cluster.namespace}`, "w"],
      editor,
    );
    expect(out).toBe("web\n:4\n");
  });

  test("a report has all that a viewer may read, and says what it lacks", async () => {
    const manifest = await plugin.run(
      ["create", "vm", "secretive", "--flavor=small", "--image=tiny", "--network=lan", "--user-data=-"],
      editor,
    );
    expect(manifest.exitCode).toBe(0);
    await stage.cluster.controlPlane.kubectl(["apply", `--namespace=${stage.cluster.namespace}`, "-f", "-"], {
      stdin: manifest.out.replace(/userData: .*/, "userData: hunter2"),
    });
    const directory = join(stage.directory, "report");
    const { exitCode, out, err } = await plugin.run(
      inNamespace(["report", "secretive", "--directory", directory]),
      viewer,
    );
    expect(exitCode).toBe(0);
    expect(err).toContain("not in it: console log");
    expect(out).toMatch(/^about\.json {2,}[0-9]+$/m);
    const text = await readFile(join(directory, "objects/VirtualMachine-secretive.yaml"), "utf8");
    expect(text).toContain("redacted: 7 bytes, sha256:f52fbd32");
    expect(text).not.toMatch(/hunter2|managedFields/);
  });

  test("an API that is not there is said to be missing", async () => {
    const { controlPlane } = stage.cluster;
    await controlPlane.kubectl(["delete", "apiservice", "v1alpha1.subresources.vireo.dev"]);
    const { err } = await waitFor("the API's end", async () => {
      const result = await vireo("log", "web");
      if (!result.err.includes("404")) throw new Error(result.err);
      return result;
    });
    expect(err).toContain('its administrator has to install "vireo api-server"');
  });
});

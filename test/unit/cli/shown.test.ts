import { afterEach, beforeEach, describe, expect, test } from "@jest/globals";

import { floatingIps } from "../../../src/api/floating-ip.ts";
import { hypervisors } from "../../../src/api/hypervisor.ts";
import { keyPairs } from "../../../src/api/key-pair.ts";
import { virtualMachineSnapshots } from "../../../src/api/virtual-machine-snapshot.ts";
import { virtualMachines } from "../../../src/api/virtual-machine.ts";
import { InterruptedError } from "../../../src/cli/errors.ts";
import { events, secrets } from "../../../src/kube/index.ts";
import type { Json } from "../../fakes/kube-api-flat.ts";
import { startFakeCluster, type FakeCluster } from "./support/cluster.ts";

let cluster: FakeCluster;

beforeEach(async () => {
  cluster = await startFakeCluster();
});

afterEach(() => cluster.stop());

const machine = (spec: Json = {}, metadata: Json = {}): Json => ({
  metadata,
  spec: { flavor: "small", image: "debian", networks: [{ name: "lan" }], ...spec },
});

const putMachine = (name: string, spec: Json = {}, metadata: Json = {}): void => {
  cluster.put(virtualMachines, name, machine(spec, metadata));
};

describe("what is shown", () => {
  const guest = (more: Json): Json => ({ nodeName: "node-1", powerState: "Running", restarts: 0, ...more });

  test("top: what guests have, the largest first, and their share", async () => {
    cluster.put(hypervisors, "node-1", {
      spec: {},
      status: { capacity: { cpus: 4, memoryMiB: 8192, diskMiB: 1 } },
    });
    for (const [name, memoryMiB] of [
      ["small", 512],
      ["large", 4096],
    ] as const)
      cluster.put(virtualMachines, name, {
        ...machine(),
        status: { nodeName: "node-1", guest: guest({ vcpus: 2, memoryMiB }) },
      });
    putMachine("new");
    const { out } = await cluster.run(["top"]);
    expect(out.split("\n").map((line) => line.split(/ {2,}/u))).toEqual([
      ["NAME", "STATE", "NODE", "VCPUS", "CPU%", "MEMORY", "MEMORY%"],
      ["large", "Running", "node-1", "2", "50%", "4096Mi", "50%"],
      ["small", "Running", "node-1", "2", "50%", "512Mi", "6%"],
      ["new", "Pending", "-", "0", "-", "0Mi", "-"],
      [""],
    ]);
    const nodes = await cluster.run(["top", "--nodes", "-o", "json"]);
    expect(JSON.parse(nodes.out)).toEqual([
      {
        name: "node-1",
        guests: 2,
        cpus: 4,
        vcpus: 4,
        cpuPercent: 100,
        memoryMiB: 8192,
        guestMemoryMiB: 4608,
        memoryPercent: 56,
      },
    ]);
  });

  const putEvent = (name: string, kind: string, regarding: string, minute: number): void =>
    cluster.put(events, name, {
      regarding: { kind, name: regarding },
      type: "Normal",
      reason: name,
      note: `about ${regarding}`,
      eventTime: `2026-11-23T10:0${minute}:00.000000Z`,
    });

  test("events: of the machine and what belongs to it, the newest last", async () => {
    putMachine("web", { volumes: [{ name: "data" }] });
    cluster.put(virtualMachineSnapshots, "before", { spec: { virtualMachine: "web" } });
    cluster.put(floatingIps, "www", { spec: { pool: "public", targets: ["db", "web"] } });
    putEvent("third", "Volume", "data", 3);
    putEvent("first", "VirtualMachine", "web", 1);
    putEvent("second", "VirtualMachineSnapshot", "before", 2);
    putEvent("fourth", "FloatingIP", "www", 4);
    putEvent("other", "VirtualMachine", "db", 5);
    const { out } = await cluster.run(["events", "web"]);
    expect(out.split("\n").map((line) => line.split(/ {2,}/u)[2])).toEqual([
      "REASON",
      "first",
      "second",
      "third",
      "fourth",
      undefined,
    ]);
  });

  test("events --watch: what comes, once, until Ctrl-C", async () => {
    putMachine("web");
    putEvent("first", "VirtualMachine", "web", 1);
    const controller = new AbortController();
    let watches = 0;
    cluster.server.onRequest = () => {
      if (cluster.server.requests.at(-1)?.verb !== "watch") return;
      watches += 1;
      if (watches === 1) {
        putEvent("second", "VirtualMachine", "web", 2);
        cluster.server.endWatches();
      } else controller.abort(new InterruptedError("SIGINT"));
    };
    const { exitCode, out } = await cluster.run(["events", "web", "--watch"], { signal: controller.signal });
    expect(exitCode).toBe(0);
    expect(out.match(/first|second/gu)).toEqual(["first", "second"]);
  });

  test("report: what the machine names, without user data, and no Secret is read", async () => {
    putMachine("web", {
      keyPairs: ["me"],
      cloudInit: { userData: "password: hunter2", userDataSecretRef: { name: "seed" } },
    });
    cluster.put(keyPairs, "me", { spec: { publicKey: "ssh-ed25519 AAAA me" } });
    cluster.put(secrets, "seed", { data: { userdata: "c2VjcmV0" } });
    const { exitCode, out, err, host } = await cluster.run([
      "report",
      "web",
      "--directory",
      "out",
      "--no-console",
    ]);
    expect(exitCode).toBe(0);
    const text = [...host.written.values()].map(String).join("\n");
    expect(text).toContain("ssh-ed25519 AAAA me");
    expect(text).toMatch(/redacted: 17 bytes, sha256:[0-9a-f]{64}/);
    expect(text).not.toMatch(/hunter2|c2VjcmV0/);
    expect(cluster.server.requests.filter(({ path }) => path.includes("secrets"))).toEqual([]);
    expect([...host.written.keys()]).toEqual([
      "out/objects/VirtualMachine-web.yaml",
      "out/objects/KeyPair-me.yaml",
      "out/events.txt",
      "out/events.json",
      "out/about.json",
    ]);
    for (const file of host.written.keys()) expect(out).toContain(file.slice("out/".length));
    expect(err).toContain("not in it: Flavor small: there is none");
  });
});

describe("vnc", () => {
  const desktop = { environment: { DISPLAY: ":0" }, programs: ["vncviewer"] };

  test("opens the viewer that is installed, and ends with it", async () => {
    putMachine("web");
    const { exitCode, host } = await cluster.run(["vnc", "web"], desktop);
    expect(exitCode).toBe(0);
    expect(host.ran).toEqual([["/usr/bin/vncviewer", expect.stringMatching(/^127\.0\.0\.1::[0-9]+$/)]]);
  });

  test.each([
    [
      "a machine without a VNC screen",
      { graphics: ["SPICE"] },
      [],
      1,
      "has no VNC: spec.graphics is [SPICE]",
    ],
    ["a viewer that is not there", {}, ["--viewer", "xvnc"], 1, "there is no program xvnc"],
    ["two ways at once", {}, ["--browser", "--proxy-only"], 2, "at most one of --proxy-only, --browser"],
    ["a port that is none", {}, ["--port", "x"], 2, '--port: "x" is not a port'],
    ["noVNC in a program without it", {}, ["--browser"], 1, "without noVNC"],
  ] as const)("refuses %s", async (_what, spec, flags, code, message) => {
    putMachine("web", { ...spec });
    const { exitCode, err } = await cluster.run(["vnc", "web", ...flags], desktop);
    expect([exitCode, err]).toEqual([code, expect.stringContaining(message)]);
  });
});

describe("ssh and scp", () => {
  test("run the system's programs, to which all words come as they were", async () => {
    putMachine("web");
    const uid = (cluster.get(virtualMachines, "web")["metadata"] as Json)["uid"] as string;
    const options = { programs: ["ssh", "scp"] };
    const { host } = await cluster.run(
      ["scp", "-r", "-i", "my key", "-o", "LogLevel=ERROR", "a b", "me@web:/srv"],
      options,
    );
    expect(host.ran).toEqual([
      [
        "/usr/bin/scp",
        "-r",
        "-i",
        "my key",
        "-o",
        "LogLevel=ERROR",
        "-o",
        expect.stringMatching(
          /^ProxyCommand='\/opt\/node' '\/opt\/kubectl-vireo' 'port-forward' '--stdio' .*'--namespace=shop' 'web' '22'$/,
        ),
        "-o",
        `HostKeyAlias=vireo-${uid}`,
        "-o",
        'UserKnownHostsFile="/home/me/.local/state/kubectl-vireo/known_hosts"',
        "-o",
        "StrictHostKeyChecking=accept-new",
        "-o",
        "HashKnownHosts=no",
        "-o",
        "CheckHostIP=no",
        "--",
        "a b",
        "me@web.shop.vireo:/srv",
      ],
    ]);
  });

  test("hand on what follows the machine", async () => {
    putMachine("web");
    const words = ["-l", "root", "-i", "key", "web", "-v", "ls", "-l", "--help"];
    const { host } = await cluster.runAfterGlobals(["ssh"], words, { programs: ["ssh"] });
    expect(host.ran[0]?.slice(0, 3)).toEqual(["/usr/bin/ssh", "-i", "key"]);
    expect(host.ran[0]?.slice(-5)).toEqual(["root@web.shop.vireo", "-v", "ls", "-l", "--help"]);
  });

  test("say what is missing", async () => {
    putMachine("web");
    const { exitCode, err } = await cluster.run(["scp", "a", "web:b"]);
    expect([exitCode, err]).toEqual([1, expect.stringContaining("there is no scp in your PATH")]);
  });
});

describe("completion of names", () => {
  test("asks the cluster that the line names", async () => {
    for (const name of ["web", "worker", "db"]) putMachine(name);
    const complete = async (...words: readonly string[]): Promise<string> =>
      (await cluster.runAfterGlobals(["__complete"], words)).out;
    expect(await complete("start", "w")).toBe("web\nworker\n:4\n");
    expect(await complete("clone", "vm/d")).toBe("vm/db\n:4\n");
    expect(await complete("ssh", "-i", "")).toBe(":0\n");
  });

  test("is silent when the cluster does not answer", async () => {
    await cluster.server.stop();
    const { exitCode, out, err } = await cluster.runAfterGlobals(["__complete"], ["start", "w"]);
    expect([exitCode, out, err]).toEqual([0, ":4\n", ""]);
  });
});

describe("errors", () => {
  test("tell what may be done about them", async () => {
    putMachine("web", { runStrategy: "Always" });
    cluster.server.failNext("patch", { kind: "status", status: 403 });
    const forbidden = await cluster.run(["stop", "web"]);
    expect([forbidden.exitCode, forbidden.err]).toEqual([
      1,
      expect.stringContaining("kubectl auth can-i --list"),
    ]);
    await cluster.server.stop();
    const away = await cluster.run(["stop", "web"]);
    expect([away.exitCode, away.err]).toEqual([
      1,
      expect.stringContaining("check --kubeconfig and --context"),
    ]);
  });

  test("name a context that there is not, and those that there are", async () => {
    const { exitCode, err } = await cluster.run(["stop", "web", "--context", "other"]);
    expect([exitCode, err]).toEqual([1, expect.stringContaining("no context named other; it has:")]);
  });
});

import { afterEach, beforeEach, describe, expect, test } from "@jest/globals";

import { virtualMachineMigrations } from "../../../src/api/virtual-machine-migration.ts";
import { virtualMachineRestores } from "../../../src/api/virtual-machine-restore.ts";
import { virtualMachineSnapshots } from "../../../src/api/virtual-machine-snapshot.ts";
import { virtualMachines } from "../../../src/api/virtual-machine.ts";
import { InterruptedError } from "../../../src/cli/errors.ts";
import type { Json } from "../../fakes/kube-api-flat.ts";
import { startFakeCluster, type FakeCluster } from "./support/cluster.ts";

let cluster: FakeCluster;

beforeEach(async () => {
  cluster = await startFakeCluster();
});

afterEach(() => cluster.stop());

const ready = (generation: number, status = "True", reason = "Running"): Json => ({
  observedGeneration: generation,
  conditions: [
    {
      type: "Ready",
      status,
      reason,
      message: "the guest runs",
      lastTransitionTime: "2026-11-23T10:20:30Z",
    },
  ],
});

const machine = (spec: Json = {}, metadata: Json = {}): Json => ({
  metadata,
  spec: { flavor: "small", image: "debian", networks: [{ name: "lan" }], ...spec },
});

const putMachine = (name: string, spec: Json = {}, metadata: Json = {}): void => {
  cluster.put(virtualMachines, name, machine(spec, metadata));
};

/** Plays the controller: whatever of this kind is waited for becomes like that. */
const whenWatched = (act: () => void): void => {
  cluster.server.onRequest = () => {
    if (cluster.server.requests.at(-1)?.verb !== "watch") return;
    cluster.server.onRequest = undefined;
    act();
  };
};

const generationOf = (name: string): number =>
  Number((cluster.get(virtualMachines, name)["metadata"] as Json)["generation"]);

describe("start and stop", () => {
  test("change the run strategy, and wait until the machine says that it is done", async () => {
    putMachine("web", { runStrategy: "Halted" });
    whenWatched(() => cluster.patch(virtualMachines, "web", { status: ready(generationOf("web")) }));
    const { exitCode, out, err } = await cluster.run(["start", "web"]);
    expect([exitCode, out]).toEqual([0, "VirtualMachine shop/web is started\n"]);
    expect(err).toBe("VirtualMachine shop/web: waiting to be noticed\n");
    expect(cluster.get(virtualMachines, "web")).toMatchObject({ spec: { runStrategy: "Always" } });
    const patch = cluster.server.requests.find(({ verb }) => verb === "patch");
    expect(patch?.query.get("fieldManager")).toBe("kubectl-vireo");
  });

  test("write nothing where nothing changes", async () => {
    putMachine("web", { runStrategy: "Once" });
    const { exitCode, err } = await cluster.run(["start", "web", "--no-wait"]);
    expect(exitCode).toBe(0);
    expect(err).toContain("VirtualMachine shop/web has runStrategy Once already");
    expect(cluster.server.requests.filter(({ verb }) => verb === "patch")).toEqual([]);
  });

  test("say who may undo it, and do it all the same", async () => {
    putMachine("web", { runStrategy: "Always" }, { labels: { "argocd.argoproj.io/instance": "store" } });
    const { exitCode, err, out } = await cluster.run(["stop", "vm/web", "--no-wait"]);
    expect([exitCode, out]).toEqual([0, "VirtualMachine shop/web is to be stopped\n"]);
    expect(err).toMatch(/^warning: VirtualMachine shop\/web is managed by Argo CD \(application store\)/);
    expect(cluster.get(virtualMachines, "web")).toMatchObject({ spec: { runStrategy: "Halted" } });
  });

  test("ask the server to throw a dry run away, and do not wait for it", async () => {
    putMachine("web", { runStrategy: "Always" });
    const { out } = await cluster.run(["stop", "web", "--dry-run"]);
    expect(out).toBe("VirtualMachine shop/web is to be stopped (dry run: nothing was changed)\n");
    const patch = cluster.server.requests.find(({ verb }) => verb === "patch");
    expect(patch?.query.get("dryRun")).toBe("All");
  });

  test("change none of several machines when one of them is missing", async () => {
    putMachine("web", { runStrategy: "Always" });
    const { exitCode, err } = await cluster.run(["stop", "web", "wbe"]);
    expect(exitCode).toBe(1);
    expect(err).toContain("there is no VirtualMachine shop/wbe (did you mean web?)");
    expect(cluster.get(virtualMachines, "web")).toMatchObject({ spec: { runStrategy: "Always" } });
  });

  test("fail with the machine's own words when only a person can help", async () => {
    putMachine("web", { runStrategy: "Halted" });
    const stalled = {
      type: "Stalled",
      status: "True",
      reason: "NoSuchImage",
      message: "there is no Image debian",
      lastTransitionTime: "2026-11-23T10:20:30Z",
    };
    whenWatched(() =>
      cluster.patch(virtualMachines, "web", {
        status: { observedGeneration: generationOf("web"), conditions: [stalled] },
      }),
    );
    const { exitCode, err } = await cluster.run(["start", "web"]);
    expect(exitCode).toBe(1);
    expect(err).toContain("error: VirtualMachine shop/web: NoSuchImage: there is no Image debian");
  });

  test("wait on when the connection breaks", async () => {
    putMachine("web", { runStrategy: "Halted" });
    cluster.server.failNext("watch", { kind: "drop" });
    cluster.server.failNext("watch", { kind: "status", status: 503 });
    cluster.server.onRequest = () => {
      const watches = cluster.server.requests.filter(({ verb }) => verb === "watch");
      if (watches.length < 3) return;
      cluster.server.onRequest = undefined;
      cluster.patch(virtualMachines, "web", { status: ready(generationOf("web")) });
    };
    const { exitCode, err } = await cluster.run(["start", "web"]);
    expect(exitCode).toBe(0);
    expect(err).toContain("the connection to the API server broke; trying again");
  });

  test("give up after the time that was allowed, and say what was seen last", async () => {
    putMachine("web", { runStrategy: "Halted" });
    const { exitCode, err } = await cluster.run(["start", "web", "--timeout", "1s"]);
    expect(exitCode).toBe(1);
    expect(err).toContain("gave up waiting after 1 s, while it goes on; it last said: waiting to be noticed");
  });

  test("end with 130 when they are interrupted", async () => {
    putMachine("web", { runStrategy: "Halted" });
    const controller = new AbortController();
    whenWatched(() => controller.abort(new InterruptedError("SIGINT")));
    const { exitCode, err } = await cluster.run(["start", "web"], { signal: controller.signal });
    expect(exitCode).toBe(130);
    expect(err).toContain("interrupted; what was asked for already goes on");
  });

  test("see a machine that is deleted meanwhile", async () => {
    putMachine("web", { runStrategy: "Halted" });
    whenWatched(() => {
      const address = { collection: "vireo.dev/v1alpha1/virtualmachines", namespace: "shop", name: "web" };
      cluster.server.objects.delete(address, {});
    });
    const { exitCode, err } = await cluster.run(["start", "web"]);
    expect([exitCode, err]).toEqual([1, expect.stringContaining("VirtualMachine shop/web is gone")]);
  });
});

describe("resize", () => {
  test("sets what is given, gives up what is the flavor's again, and tells of what stays", async () => {
    putMachine("web", { vcpus: 2, memory: "1Gi" });
    const { exitCode, err } = await cluster.run([
      "resize",
      "web",
      "--flavor",
      "large",
      "--memory",
      "flavor",
      "--no-wait",
    ]);
    expect(exitCode).toBe(0);
    expect(err).toContain("spec.vcpus stays 2, in place of the flavor's; --vcpus flavor gives it up");
    expect(cluster.get(virtualMachines, "web")["spec"]).toEqual({
      flavor: "large",
      image: "debian",
      networks: [{ name: "lan" }],
      vcpus: 2,
    });
  });

  test("lists what waits for a restart", async () => {
    putMachine("web", { vcpus: 4 });
    whenWatched(() =>
      cluster.patch(virtualMachines, "web", {
        status: {
          ...ready(generationOf("web")),
          pendingChanges: [{ path: "vcpus", current: "4", desired: "2" }],
        },
      }),
    );
    const { exitCode, err } = await cluster.run(["resize", "web", "--vcpus", "2"]);
    expect(exitCode).toBe(0);
    expect(err).toContain("vcpus is 4 until the next start, and 2 then");
    expect(err).toContain('"kubectl vireo restart web" applies it now');
  });

  test("fails when the node has no room for it", async () => {
    putMachine("web", {});
    const pending = {
      type: "ResizePending",
      status: "True",
      reason: "InsufficientCapacity",
      message: "node-1 has 512 MiB left",
      lastTransitionTime: "2026-11-23T10:20:30Z",
    };
    whenWatched(() => {
      const { conditions, ...rest } = ready(generationOf("web"));
      const status = { ...rest, conditions: [...(conditions as Json[]), pending] };
      cluster.patch(virtualMachines, "web", { status });
    });
    const { exitCode, err } = await cluster.run(["resize", "web", "--memory", "64Gi"]);
    expect([exitCode, err]).toEqual([
      1,
      expect.stringContaining("InsufficientCapacity: node-1 has 512 MiB left"),
    ]);
  });

  test("is refused without anything to change", async () => {
    const { exitCode, err } = await cluster.run(["resize", "web"]);
    expect([exitCode, err]).toEqual([2, expect.stringContaining("resize needs what to change")]);
  });
});

describe("snapshot, restore and clone", () => {
  const putSnapshot = (name: string, status: Json = {}, of = "web"): void =>
    cluster.put(virtualMachineSnapshots, name, { spec: { virtualMachine: of }, status });

  test("make the objects that a manifest would make", async () => {
    putMachine("web", { runStrategy: "Halted", volumes: [{ name: "data" }] });
    putSnapshot("before");
    const flags = ["--no-wait"];
    await cluster.run(["snapshot", "web", "first", "--memory", "--quiesce", "Required", ...flags]);
    await cluster.run(["restore", "web", "before", ...flags]);
    const { err } = await cluster.run([
      "clone",
      "web",
      "twin",
      "--key-pair",
      "me",
      "--label",
      "a=b",
      ...flags,
    ]);
    expect(cluster.get(virtualMachineSnapshots, "first")["spec"]).toEqual({
      virtualMachine: "web",
      includeMemory: true,
      quiesce: "Required",
    });
    expect(cluster.list(virtualMachineRestores).map(({ spec }) => spec)).toEqual([
      { virtualMachine: "web", snapshot: "before", powerState: "Halted" },
    ]);
    expect(cluster.get(virtualMachines, "twin")).toMatchObject({
      metadata: { labels: { a: "b" } },
      spec: {
        flavor: "small",
        networks: [{ name: "lan" }],
        keyPairs: ["me"],
        runStrategy: "Halted",
        source: { virtualMachine: "web" },
      },
    });
    expect(err).toContain("the clone has none of the volumes data");
  });

  test("wait, and tell how it went", async () => {
    putMachine("web");
    whenWatched(() =>
      cluster.patch(virtualMachineSnapshots, "first", {
        status: { ...ready(1, "True", "Taken"), phase: "Ready", consistency: "Quiesced" },
      }),
    );
    const { exitCode, out } = await cluster.run(["snapshot", "web", "first"]);
    expect([exitCode, out]).toEqual([
      0,
      "VirtualMachineSnapshot first of VirtualMachine shop/web is taken (Quiesced)\n",
    ]);
  });

  test("refuse a snapshot of another machine, and of an earlier one of the same name", async () => {
    putMachine("web");
    putSnapshot("foreign", {}, "db");
    putSnapshot("old", { machineUid: "145484f2-8d1a-4016-aef2-d8fe7e21ccff" });
    for (const [name, message] of [
      ["foreign", "is one of db, not of web"],
      ["old", "is one of an earlier machine named web"],
    ] as const) {
      const { exitCode, err } = await cluster.run(["restore", "web", name]);
      expect([exitCode, err]).toEqual([1, expect.stringContaining(message)]);
    }
    expect(cluster.list(virtualMachineRestores)).toEqual([]);
  });

  test("tell how far a migration has come, and where the machine is then", async () => {
    putMachine("web");
    const steps: readonly Json[] = [
      { observedGeneration: 1, phase: "Copying", progress: { percent: 40, remainingMiB: 300 } },
      {
        ...ready(1, "True", "Migrated"),
        phase: "Succeeded",
        targetNode: "node-2",
        downtimeMilliseconds: 80,
      },
    ];
    whenWatched(() => {
      const [{ metadata } = {}] = cluster.list(virtualMachineMigrations);
      const { name } = metadata as { readonly name: string };
      for (const status of steps) cluster.patch(virtualMachineMigrations, name, { status });
    });
    const { exitCode, out, err } = await cluster.run(["migrate", "web", "--node", "node-2"]);
    expect(exitCode).toBe(0);
    expect(err).toContain("Copying: 40 %, 300 MiB left");
    expect(out).toBe("VirtualMachine shop/web is on node-2, and stood still for 80 ms\n");
  });

  test("clone the configuration of the machine that a snapshot is of", async () => {
    putMachine("web", { flavor: "large" });
    putSnapshot("before");
    await cluster.run(["clone", "snapshot/before", "old-web", "--no-wait"]);
    expect(cluster.get(virtualMachines, "old-web")["spec"]).toEqual({
      flavor: "large",
      networks: [{ name: "lan" }],
      source: { snapshot: "before" },
    });
  });

  test("need a configuration where there is none", async () => {
    putSnapshot("before");
    const { exitCode, err } = await cluster.run(["clone", "snapshot/before", "old-web"]);
    expect(exitCode).toBe(2);
    expect(err).toContain("VirtualMachine web is gone");
    expect(err).toContain("without --flavor");
  });
});

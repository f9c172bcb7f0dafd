import { join } from "node:path";

import { afterAll, beforeAll, beforeEach, describe, expect, test } from "@jest/globals";

import { floatingIps } from "../../src/api/floating-ip.ts";
import { hypervisors } from "../../src/api/hypervisor.ts";
import { virtualMachineRestores } from "../../src/api/virtual-machine-restore.ts";
import { virtualMachineSnapshots } from "../../src/api/virtual-machine-snapshot.ts";
import { virtualMachines } from "../../src/api/virtual-machine.ts";
import { volumes } from "../../src/api/volume.ts";
import { createKubeClient, loadKubeConfig, silentLogger } from "../../src/kube/index.ts";
import { createPeerClient, createPeerCredentials, type PeerClient } from "../../src/pki/index.ts";
import { run } from "../testbed/programs.ts";
import { waitFor } from "../testbed/wait.ts";
import { Capture } from "./support/capture.ts";
import { EchoTalk } from "./support/echo-talk.ts";
import { type Guest, guestOf } from "./support/guest.ts";
import { guestDisk } from "./support/guest-disk.ts";
import { manifests } from "./support/manifests.ts";
import { expectNothingOf, isOver, migrationsOn, type MigrationVerbs, saysOf } from "./support/migrations.ts";
import { conditionOf, isReady, NAMESPACE, type Stage, startStage } from "./support/stage.ts";

/**
 * One guest that moves between node-1 and node-2. node-3 takes no machines: it
 * is where somebody else is.
 */

/** Emulated guests on a busy machine. */
const PATIENCE_MS = 300_000;
const { signal } = new AbortController();

let stage: Stage;
let migrations: MigrationVerbs;
let walker: Guest;

const otherNode = (): string => (walker.node.name === "node-1" ? "node-2" : "node-1");
const floatingAddress = (): string => `${stage.testbed.underlay.hostAddress.replace(/\d+$/, "")}80`;
const uptimeOf = async (guest: Guest): Promise<number> =>
  Number.parseFloat(await guest.run("cat /proc/uptime"));
const bootIdOf = (guest: Guest): Promise<string> => guest.run("cat /proc/sys/kernel/random/boot_id");
const eventsOf = (object: string): Promise<string> =>
  stage.testbed.kubectl(["events", `--for=${object}`, "-n", NAMESPACE]);

beforeAll(async () => {
  stage = await startStage({ nodes: 3 });
  migrations = migrationsOn(stage);
  await stage.cordon("node-3", true);
  await stage.applyBasics();
  await stage.apply(
    manifests.securityGroup("open", {
      ingress: [
        { remote: { cidrs: ["0.0.0.0/0"] } },
        { protocol: "tcp", port: 22, remote: { group: "open" } },
      ],
    }),
    manifests.floatingIpPool("public", { cidrs: [`${floatingAddress()}/32`] }),
    manifests.volume("data"),
    manifests.machine("walker", {
      securityGroups: ["open"],
      volumes: [{ name: "data" }],
      // Guests that a test is done with need not be asked to end.
      terminationGracePeriodSeconds: 0,
    }),
    manifests.floatingIp("www", { pool: "public", targets: ["walker"] }),
  );
  await stage.until(virtualMachines, "walker", isReady);
  walker = await guestOf(stage, "walker");
  await walker.untilBooted();
  await stage.until(floatingIps, "www", isReady);
}, PATIENCE_MS);

/** Whatever has become of it in the test before. */
beforeEach(async () => {
  walker = await guestOf(stage, "walker");
});

afterAll(() => stage.stop(), 60_000);

describe("a migration that cannot be", () => {
  test.each<[string, () => string, RegExp]>([
    ["a node that does not exist", () => "node-9", /^NodeNotFound: There is no Hypervisor node-9/],
    ["the node that it is on", () => walker.node.name, /^AlreadyThere: /],
    ["a cordoned node", () => "node-3", /^Unschedulable: .*node-3 is cordoned/],
  ])("to %s says why, and the machine stays", async (_what, targetNode, says) => {
    await migrations.start("wrong", "walker", { targetNode: targetNode() });
    const refused = await migrations.until("wrong", (migration) => says.test(saysOf(migration)));
    expect(refused.status?.sourceNode).toBeUndefined();
    await migrations.remove("wrong");
    await migrations.untilGone("wrong");
    expect(isReady(await stage.machine("walker"))).toBe(true);
  });
});

/** A text of which there is enough to be seen in clear, if anything is. */
const inMemory = "walkers-own-thoughts";
const onDisk = "walkers-own-diary";
const fill = (text: string, path: string): string => `yes ${text} | head -c 1048576 > ${path} && sync`;

describe("a machine that runs", () => {
  test(
    "moves with its disks, its snapshot, its addresses and all connections, and nobody can listen",
    async () => {
      const source = walker.node.name;
      const volume = await stage.until(volumes, "data", isReady);
      const data = await guestDisk(walker, volume.metadata.uid).write(4);
      await walker.run(`${fill(onDisk, "/root/frozen")}; echo kept > /root/file; sync`);
      await stage.apply(manifests.snapshot("before", "walker"));
      await stage.until(virtualMachineSnapshots, "before", isReady);
      await walker.run(
        `${fill(onDisk, "/root/fresh")}; ${fill(inMemory, "/tmp/thoughts")}; echo later > /root/file; sync`,
      );
      const remembered = "sha256sum /root/frozen /root/fresh /root/file /tmp/thoughts";
      const memory = await walker.run(remembered);
      const [boot, uptime, before] = [
        await bootIdOf(walker),
        await uptimeOf(walker),
        await stage.machine("walker"),
      ];
      const outside = stage.testbed.underlay.outsidePid;
      using floating = new EchoTalk(outside, floatingAddress(), "said-in-the-open");
      using direct = new EchoTalk(stage.testbed.node("node-3").pid, walker.address);
      const talks = [floating, direct];
      for (const talk of talks) await talk.untilEverythingIsHeard();
      using capture = await Capture.start(walker.node, join(stage.testbed.directory, "migration.pcap"));
      const progress = new Set<number>();

      await migrations.start("walk", "walker", { bandwidthMiBps: 24 });
      await migrations.until("walk", (migration) => {
        if (migration.status?.progress !== undefined) progress.add(migration.status.progress.percent);
        return isOver(migration);
      });
      const status = await migrations.untilSucceeded("walk");
      for (const talk of talks) await talk.untilEverythingIsHeard();
      capture.stop();
      expect(status).toMatchObject({
        live: true,
        sourceNode: source,
        progress: { percent: 100, remainingMiB: 0 },
      });
      expect(status.downtimeMilliseconds).toBeGreaterThan(0);
      expect(progress.size).toBeGreaterThan(1);

      const left = walker;
      walker = await migrations.arrivedAt("walker", status.targetNode);
      expect(walker.node.name).not.toBe(source);
      expect(left.processId()).toBeUndefined();
      expect(await bootIdOf(walker)).toBe(boot);
      expect(await uptimeOf(walker)).toBeGreaterThan(uptime);
      expect((await stage.machine("walker")).status?.allocation).toEqual(before.status?.allocation);
      // From the guest's memory, and then from its disk.
      expect(await walker.run(remembered)).toBe(memory);
      expect(await walker.run(`echo 3 >/proc/sys/vm/drop_caches; ${remembered}`)).toBe(memory);
      expect(await guestDisk(walker, volume.metadata.uid).read(4)).toBe(data);
      const isHere = (object: { status?: { nodeName?: string | undefined } | undefined }): boolean =>
        object.status?.nodeName === walker.node.name;
      await stage.until(volumes, "data", (object) => isHere(object) && isReady(object));
      await stage.until(virtualMachineSnapshots, "before", (object) => isHere(object) && isReady(object));
      for (const talk of talks) await talk.untilEverythingIsHeard();
      expect(await eventsOf("vm/walker")).toMatch(/Normal\s+Migrated\s/);
      await expectNothingOf(stage, source, walker.vmUid);

      // All that was sent has been seen, and what was said in the open found in it.
      expect(await capture.sizeBytes()).toBeGreaterThan(20 * 2 ** 20);
      expect(await capture.findInClear([inMemory, onDisk, "said-in-the-open"])).toEqual(["said-in-the-open"]);
    },
    PATIENCE_MS,
  );

  test(
    "keeps whom it allows while it is at another node",
    async () => {
      await stage.apply(manifests.securityGroup("open", { ingress: [{ protocol: "tcp", port: 22 }] }));
      const outsider = stage.testbed.node("node-3");
      const reaches = (port: number): Promise<boolean> =>
        outsider.run(["timeout", "2", "bash", "-c", `exec 3<>/dev/tcp/${walker.address}/${port}`]).then(
          () => true,
          () => false,
        );
      await waitFor("the group to allow ssh alone", async () => !(await reaches(7777)));
      expect(await reaches(22)).toBe(true);
    },
    PATIENCE_MS,
  );
});

/** Who asks as another node's agent, with that one's own credentials. */
const asAgentOf = async (nodeName: string, act: (peers: PeerClient) => Promise<void>): Promise<void> => {
  const kubeconfig = join(stage.testbed.node(nodeName).directory, "node-agent.kubeconfig");
  const client = createKubeClient({ kubeConfig: loadKubeConfig({ kubeconfig }), userAgent: "vireo-e2e" });
  const credentials = createPeerCredentials({
    identity: { kind: "node-agent", nodeName },
    client,
    logger: silentLogger,
  });
  const over = new AbortController();
  const running = credentials.run(over.signal);
  try {
    await credentials.whenReady(signal);
    await act(createPeerClient(() => credentials.current()));
  } finally {
    over.abort();
    await running.catch(() => {});
    await client.close();
  }
};

test(
  "a migration is closed to all but its two nodes, and is cancelled by its deletion; another one waits for it",
  async () => {
    const { name: source } = walker.node;
    const target = otherNode();
    await migrations.start("slow", "walker", { bandwidthMiBps: 1 });
    await migrations.start("second", "walker");
    const { metadata } = await migrations.until("slow", ({ status }) => status?.phase === "Copying");
    const held = await migrations.until(
      "second",
      (migration) => conditionOf(migration, "Ready") !== undefined,
    );
    expect(saysOf(held)).toMatch(/^WaitingForTurn: /);
    expect(held.status?.sourceNode).toBeUndefined();
    await migrations.remove("second");

    const endpointOf = async (nodeName: string): Promise<string> =>
      (await stage.until(hypervisors, nodeName, isReady)).status?.agentEndpoint ?? "";
    await asAgentOf("node-3", async (peers) => {
      const ask = async (nodeName: string, what: string, method: "GET" | "POST" = "POST") =>
        peers.request(
          { endpoint: await endpointOf(nodeName), identity: { kind: "node-agent", nodeName } },
          { method, path: `/v1/migrations/${metadata.uid}/${what}`, signal },
        );
      const open = async (what: string) =>
        peers.upgrade(
          { endpoint: await endpointOf(target), identity: { kind: "node-agent", nodeName: target } },
          { path: `/v1/migrations/${metadata.uid}/${what}`, signal },
        );
      const refusal = { name: "PeerRefusal", status: 404 };
      for (const what of ["describe", "prepare", "finish"])
        await expect(ask(target, what)).rejects.toMatchObject(refusal);
      for (const what of ["memory", "disks"]) await expect(open(what)).rejects.toMatchObject(refusal);
      await expect(ask(source, `disks/root/${walker.vmUid}`, "GET")).rejects.toMatchObject(refusal);
    });
    const unknown = run("curl", [
      "--silent",
      "--show-error",
      "--insecure",
      `https://${await endpointOf(target)}/`,
    ]);
    await expect(unknown).rejects.toThrow(/certificate required|handshake/i);

    await migrations.remove("slow");
    await migrations.untilGone("slow");
    await expectNothingOf(stage, target, walker.vmUid);
    await stage.until(virtualMachines, "walker", isReady);
    expect((await guestOf(stage, "walker")).node.name).toBe(source);
    expect(await walker.run("echo alive")).toBe("alive\n");
    await migrations.untilGone("second");
  },
  PATIENCE_MS,
);

test(
  "a machine that is off moves with its data, and goes back to its snapshot there",
  async () => {
    const source = walker.node.name;
    await walker.run("echo again > /root/file; sync");
    await stage.patchMachine("walker", { runStrategy: "Halted" });
    await stage.untilStatus("walker", "Stopped");
    await migrations.start("carry", "walker");
    expect((await migrations.untilSucceeded("carry")).live).toBe(false);
    await expectNothingOf(stage, source, walker.vmUid);
    await stage.patchMachine("walker", { runStrategy: "Always" });
    await stage.untilStatus("walker", "Running");
    walker = await guestOf(stage, "walker");
    expect(walker.node.name).not.toBe(source);
    await walker.untilBooted();
    expect(await walker.run("cat /root/file")).toBe("again\n");

    await stage.apply(
      manifests.restore("back", { virtualMachine: "walker", snapshot: "before", powerState: "Running" }),
    );
    await stage.until(virtualMachineRestores, "back", isReady);
    await walker.untilBooted(2);
    expect(await walker.run("cat /root/file")).toBe("kept\n");
  },
  PATIENCE_MS,
);

test(
  "a machine that is deleted while it is copied is gone from both nodes",
  async () => {
    await migrations.start("useless", "walker", { bandwidthMiBps: 1 });
    await migrations.until("useless", ({ status }) => status?.phase === "Copying");
    await stage.testbed.kubectl(["delete", "vmsnapshot", "before", "-n", NAMESPACE, "--wait=false"]);
    await stage.deleteMachines("walker");
    const migration = await migrations.until("useless", isOver);
    expect(saysOf(migration)).toMatch(/^MachineTerminating: /);
    for (const node of ["node-1", "node-2"]) await expectNothingOf(stage, node, walker.vmUid);
  },
  PATIENCE_MS,
);

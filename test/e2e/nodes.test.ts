import { afterAll, beforeAll, describe, expect, test } from "@jest/globals";

import { flavors } from "../../src/api/flavor.ts";
import { hypervisors, SYSTEM_NAMESPACE } from "../../src/api/hypervisor.ts";
import { type VirtualMachine, virtualMachines } from "../../src/api/virtual-machine.ts";
import { leases } from "../../src/kube/index.ts";
import { type Guest, guestOf } from "./support/guest.ts";
import { expectLeftovers } from "./support/leftovers.ts";
import { manifests } from "./support/manifests.ts";
import { conditionOf, isReady, NAMESPACE, startStage, type Stage } from "./support/stage.ts";

const BOOT_MS = 240_000;
const NO_BOOT_MS = 90_000;
const NODES = ["node-1", "node-2"] as const;

const { signal } = new AbortController();

let stage: Stage;

beforeAll(async () => {
  stage = await startStage({
    nodes: 2,
    agentFlags: (name) => [`--node-labels=host=${name}`, `--zone=${name}-zone`],
  });
  await stage.applyBasics();
}, 180_000);

afterAll(() => stage.stop(), 60_000);

describe("where machines are placed", () => {
  /** Placed like any other, and never booted. */
  const idle = (name: string, spec: object = {}) =>
    manifests.machine(name, { runStrategy: "Halted", ...spec });

  const placeOf = async (name: string): Promise<string | undefined> =>
    (await stage.untilStatus(name, "Stopped")).status?.nodeName;

  const isUnschedulable = (machine: VirtualMachine): boolean =>
    conditionOf(machine, "Scheduled")?.reason === "Unschedulable";

  const isPlaced = ({ status }: VirtualMachine): boolean => status?.nodeName !== undefined;

  /** A flavor of all the virtual CPUs that a node of this machine gives out. */
  beforeAll(async () => {
    for (const name of NODES) {
      await stage.api.mergePatch(hypervisors, { name }, { spec: { cpuOvercommitPercent: 100 } }, { signal });
    }
    const { status } = await stage.until(hypervisors, "node-1", isReady);
    await stage.apply(manifests.flavor("whole-node", { vcpus: status?.capacity?.cpus ?? 1 }));
    await stage.until(flavors, "whole-node", isReady);
  }, NO_BOOT_MS);

  afterAll(async () => {
    for (const name of NODES) {
      const spec = { unschedulable: false, cpuOvercommitPercent: 400 };
      await stage.api.mergePatch(hypervisors, { name }, { spec }, { signal });
    }
  }, NO_BOOT_MS);

  test(
    "two of them go to two nodes",
    async () => {
      await stage.apply(idle("left", { flavor: "whole-node" }), idle("right", { flavor: "whole-node" }));
      expect(new Set([await placeOf("left"), await placeOf("right")])).toEqual(new Set(NODES));
    },
    NO_BOOT_MS,
  );

  test(
    "one that fits nowhere says why for each node, and is placed when another is deleted",
    async () => {
      await stage.apply(idle("third", { flavor: "whole-node" }));
      const waiting = await stage.until(virtualMachines, "third", isUnschedulable);
      const scheduled = conditionOf(waiting, "Scheduled");
      for (const node of NODES) expect(scheduled?.message).toContain(`${node} has too few virtual CPUs free`);
      expect(waiting.status?.printableStatus).toBe("Pending");
      const events = await stage.testbed.kubectl(["events", "--for=vm/third", "-n", NAMESPACE]);
      expect(events).toMatch(/Warning\s+FailedScheduling/);

      const place = await placeOf("left");
      await stage.deleteMachines("left");
      const placed = await stage.until(virtualMachines, "third", isPlaced);
      expect(placed.status?.nodeName).toBe(place);
      await stage.deleteMachines("third", "right");
    },
    NO_BOOT_MS,
  );

  test(
    "a cordoned node takes none, and the one that waited is placed when it is uncordoned",
    async () => {
      await stage.cordon("node-1", true);
      await stage.apply(idle("elsewhere"));
      expect(await placeOf("elsewhere")).toBe("node-2");

      await stage.cordon("node-2", true);
      await stage.apply(idle("patient"));
      const waiting = await stage.until(virtualMachines, "patient", isUnschedulable);
      for (const node of NODES) {
        expect(conditionOf(waiting, "Scheduled")?.message).toContain(`${node} is cordoned`);
      }
      await stage.cordon("node-1", false);
      const placed = await stage.until(virtualMachines, "patient", isPlaced);
      expect(placed.status?.nodeName).toBe("node-1");
      await stage.cordon("node-2", false);
      await stage.deleteMachines("elsewhere", "patient");
    },
    NO_BOOT_MS,
  );

  test.each([
    ["its node selector", { nodeSelector: { host: "node-2" } }],
    ["its zone", { availabilityZone: "node-2-zone" }],
  ])(
    "one goes where %s says",
    async (_what, spec) => {
      await stage.apply(idle("picky", spec));
      expect(await placeOf("picky")).toBe("node-2");
      await stage.deleteMachines("picky");
    },
    NO_BOOT_MS,
  );
});

/** Two guests on node-1, and a service on every address of that node. */
describe("what guests reach, and who reaches them", () => {
  const SERVICE_PORT = 4444;
  let one: Guest;
  let two: Guest;

  const connect = (address: string, port: number | string): string =>
    `nc -w 3 ${address} ${port} </dev/null >/dev/null 2>&1 && echo reached || echo refused`;

  /** Which of the targets the guest can open a TCP connection to, in one login. */
  const reachedFrom = async (guest: Guest, targets: Readonly<Record<string, string>>): Promise<string[]> => {
    const lines = await guest.run(Object.values(targets).join("; "));
    return Object.keys(targets).map((target, index) => `${target}: ${lines.split("\n")[index] ?? ""}`);
  };

  /** From node-2, which has a route to all guests, and is nobody to them. */
  const reachedFromOutside = async (address: string, port: number): Promise<boolean> =>
    stage.testbed
      .node("node-2")
      .run(["timeout", "5", "bash", "-c", `exec 3<>/dev/tcp/${address}/${port}`])
      .then(
        () => true,
        () => false,
      );

  /** Packets that the guest's kernel has seen and nobody had asked for. */
  const unexpected = async (guest: Guest): Promise<{ pings: number; datagrams: number }> => {
    const lines = (await guest.run("cat /proc/net/snmp")).split("\n");
    const counter = (protocol: string, name: string): number => {
      const [names = "", values = ""] = lines.filter((line) => line.startsWith(`${protocol}: `));
      return Number(values.split(" ")[names.split(" ").indexOf(name)]);
    };
    return { pings: counter("Icmp", "InEchos"), datagrams: counter("Udp", "NoPorts") };
  };

  beforeAll(async () => {
    const here = { nodeSelector: { host: "node-1" }, securityGroups: ["ssh"] };
    const ingress = [
      { protocol: "icmp", icmp: { type: 8 } },
      { protocol: "tcp", port: 22 },
    ];
    await stage.apply(
      manifests.securityGroup("ssh", { ingress }),
      manifests.machine("one", here),
      manifests.machine("two", here),
    );
    for (const name of ["one", "two"]) await stage.untilStatus(name, "Running");
    one = await guestOf(stage, "one");
    two = await guestOf(stage, "two");
    await stage.testbed.node("node-1").startDaemon({
      name: "service",
      argv: ["socat", `TCP-LISTEN:${SERVICE_PORT},fork,reuseaddr`, "SYSTEM:echo service"],
    });
    await one.untilBooted();
    await two.untilBooted();
  }, BOOT_MS);

  test(
    "a guest reaches its neighbour by ping and on port 22, and on no other",
    async () => {
      expect(
        await reachedFrom(one, {
          ping: `ping -c 1 -W 5 ${two.address} >/dev/null && echo reached || echo refused`,
          ssh: connect(two.address, 22),
          http: connect(two.address, 80),
          // It does listen.
          "its own http": connect("127.0.0.1", 80),
        }),
      ).toEqual(["ping: reached", "ssh: reached", "http: refused", "its own http: reached"]);
    },
    NO_BOOT_MS,
  );

  test(
    "from outside a guest is reached by ping and on port 22; nothing else arrives in it",
    async () => {
      const before = await unexpected(two);
      const outside = stage.testbed.node("node-2");
      await outside.run(["ping", "-c", "1", "-W", "5", two.address]);
      expect(await reachedFromOutside(two.address, 22)).toBe(true);
      expect(await reachedFromOutside(two.address, 80)).toBe(false);
      await outside.run(["bash", "-c", `for i in 1 2 3; do echo x >/dev/udp/${two.address}/9; done`]);
      // On the heels of the datagrams: what arrives after this has overtaken nothing.
      await outside.run(["ping", "-c", "1", "-W", "5", two.address]);
      expect(await unexpected(two)).toEqual({ pings: before.pings + 2, datagrams: before.datagrams });
    },
    NO_BOOT_MS,
  );

  test(
    "a guest reaches no service of any node, nor the API server",
    async () => {
      const [node1, node2] = [stage.testbed.node("node-1"), stage.testbed.node("node-2")];
      // The service answers those who may ask.
      expect(await reachedFromOutside(node1.address, SERVICE_PORT)).toBe(true);
      const gateway = (await stage.machine("one")).status?.allocation?.interfaces[0]?.gateway ?? "";
      const { hostname, port } = new URL(stage.testbed.controlPlane.url);
      const agentPort = new URL(stage.testbed.agent("node-2").metricsUrl).port;
      const reached = await reachedFrom(one, {
        "ping of the gateway": `ping -c 1 -W 5 ${gateway} >/dev/null && echo reached || echo refused`,
        "service at the gateway": connect(gateway, SERVICE_PORT),
        "service of its node": connect(node1.address, SERVICE_PORT),
        "agent of its node": connect(node1.address, agentPort),
        "agent of another node": connect(node2.address, agentPort),
        "API server": connect(hostname, port),
      });
      expect(reached).toEqual([
        "ping of the gateway: reached",
        "service at the gateway: refused",
        "service of its node: refused",
        "agent of its node: refused",
        "agent of another node: refused",
        "API server: refused",
      ]);
    },
    NO_BOOT_MS,
  );

  test(
    "what a guest sends under an address that is not its own is dropped",
    async () => {
      const before = await unexpected(two);
      const stolen = one.address.replace(/\d+$/, "200");
      await one.run(`ip address add ${stolen}/32 dev eth0`);
      expect(
        await reachedFrom(one, {
          "as somebody else": `ping -c 2 -W 1 -I ${stolen} ${two.address} >/dev/null && echo reached || echo refused`,
          "as itself": `ping -c 1 -W 5 -I ${one.address} ${two.address} >/dev/null && echo reached || echo refused`,
        }),
      ).toEqual(["as somebody else: refused", "as itself: reached"]);
      expect(await unexpected(two)).toEqual({ ...before, pings: before.pings + 1 });
    },
    NO_BOOT_MS,
  );

  test(
    "a node that loses power is Unknown; with power its machines run again from the same disks",
    async () => {
      const { testbed } = stage;
      await one.run("echo kept >/root/kept; sync");
      const before = await stage.machine("one");
      await testbed.node("node-1").powerOff();
      // Nobody renews it, and the controller need not wait the usual 40 s to see that.
      const lease = { namespace: SYSTEM_NAMESPACE, name: "node-1" };
      await stage.api.mergePatch(leases, lease, { spec: { leaseDurationSeconds: 2 } }, { signal });
      const lost = await stage.untilStatus("one", "Unknown");
      expect(conditionOf(lost, "Ready")).toMatchObject({ status: "Unknown", reason: "NodeLost" });

      // Its node cannot remove it yet, and another must not be placed there.
      await stage.api.delete(virtualMachines, { namespace: NAMESPACE, name: "two" }, { signal });
      expect(conditionOf(await stage.untilStatus("two", "Terminating"), "Ready")?.reason).toBe("NodeLost");
      await stage.apply(manifests.machine("third", { runStrategy: "Halted" }));
      expect((await stage.untilStatus("third", "Stopped")).status?.nodeName).toBe("node-2");

      await testbed.node("node-1").powerOn();
      await testbed.agent("node-1").start();
      const back = await stage.untilStatus("one", "Running");
      await one.untilBooted(2);
      expect(await one.run("cat /root/kept")).toBe("kept\n");
      expect(back.status?.allocation).toEqual(before.status?.allocation);
      expect(await reachedFromOutside(one.address, 22)).toBe(true);
      expect(await reachedFromOutside(one.address, 80)).toBe(false);

      await stage.deleteMachines("one", "two", "third");
      for (const name of NODES) await expectLeftovers(testbed, name);
    },
    BOOT_MS,
  );
});

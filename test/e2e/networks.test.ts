import { type ChildProcess, spawn } from "node:child_process";

import { afterAll, beforeAll, describe, expect, test } from "@jest/globals";

import { type FloatingIp, floatingIps } from "../../src/api/floating-ip.ts";
import { securityGroups } from "../../src/api/security-group.ts";
import { waitFor } from "../testbed/wait.ts";
import { type Guest, guestOf } from "./support/guest.ts";
import { expectLeftovers } from "./support/leftovers.ts";
import { manifests } from "./support/manifests.ts";
import { isReady, NAMESPACE, startStage, type Stage } from "./support/stage.ts";

/**
 * Real guests on three nodes: what examples/web-with-security-groups.yaml
 * promises, seen from inside the guests and from a host outside of the cluster.
 */

const BOOT_MS = 300_000;
const TEST_MS = 120_000;
const MACHINES = ["web-0", "web-1", "db-0"] as const;
/** What a guest of the tiny image serves: its name over HTTP, and an echo. */
const HTTP_PORT = 80;
const ECHO_PORT = 7777;

let stage: Stage;
const guests = new Map<string, Guest>();
const baseline = new Map<string, readonly string[]>();

const guest = (name: (typeof MACHINES)[number]): Guest => {
  const found = guests.get(name);
  if (found === undefined) throw new Error(`there is no guest ${name}`);
  return found;
};

const floatingAddress = (): string => `${stage.testbed.underlay.hostAddress.replace(/\d+$/, "")}70`;

const groups = {
  web: {
    ingress: [
      { protocol: "tcp", port: HTTP_PORT },
      { protocol: "icmp", icmp: { type: 8 } },
    ],
  },
  db: { ingress: [{ protocol: "tcp", port: ECHO_PORT, remote: { group: "web" } }] },
};

const applyAll = async (): Promise<void> => {
  const { outsideAddress } = stage.testbed.underlay;
  await stage.apply(
    manifests.securityGroup("web", groups.web),
    manifests.securityGroup("ops", {
      ingress: [{ protocol: "tcp", port: 22, remote: { cidrs: [`${outsideAddress}/32`] } }],
    }),
    manifests.securityGroup("db", groups.db),
    manifests.floatingIpPool("public", { cidrs: [`${floatingAddress()}/32`] }),
    ...MACHINES.map((name, index) =>
      manifests.machine(name, {
        securityGroups: name.startsWith("web") ? ["web"] : ["db"],
        nodeSelector: { host: `node-${index + 1}` },
      }),
    ),
  );
};

beforeAll(async () => {
  stage = await startStage({
    nodes: 3,
    program: "bundle",
    agentFlags: (name) => [`--node-labels=host=${name}`],
  });
  await stage.applyBasics();
  for (const { name } of stage.testbed.nodes) baseline.set(name, await stage.testbed.leftovers(name));
  await applyAll();
  for (const name of MACHINES) {
    await stage.untilStatus(name, "Running");
    guests.set(name, await guestOf(stage, name));
  }
  await Promise.all([...guests.values()].map((one) => one.untilBooted()));
}, BOOT_MS);

afterAll(() => stage.stop(), 60_000);

/** Whether a guest gets an answer on that port within two seconds. */
const reaches = (from: Guest, address: string, port: number): Promise<boolean> =>
  from
    .run(`timeout 3 nc -w 2 ${address} ${port} </dev/null && echo reached || echo refused`)
    .then((said) => said.includes("reached"));

const outsideReaches = (address: string, port: number): Promise<boolean> =>
  stage.testbed.underlay
    .runOutside(["socat", "-u", "/dev/null", `TCP4:${address}:${port},connect-timeout=2`])
    .then(
      () => true,
      () => false,
    );

const servedFrom = (address: string): Promise<string> =>
  stage.testbed.underlay
    .runOutside(["curl", "--silent", "--max-time", "2", `http://${address}/`])
    .then((text) => text.trim());

describe("machines of one Network on different nodes", () => {
  test(
    "reach each other with packets as large as the Network allows",
    async () => {
      const { address } = guest("web-1");
      // 28 bytes of headers make 1450.
      const said = await guest("web-0").run(`ping -c 3 -W 2 -s 1422 ${address}`);
      expect(said).toMatch(/3 packets received/);
    },
    TEST_MS,
  );

  test(
    "are reached by what their groups allow, and by nothing else",
    async () => {
      const { address } = guest("db-0");
      expect({
        echoFromMember: await reaches(guest("web-0"), address, ECHO_PORT),
        echoFromOtherMember: await reaches(guest("web-1"), address, ECHO_PORT),
        httpFromMember: await reaches(guest("web-0"), address, HTTP_PORT),
        httpToWeb: await reaches(guest("db-0"), guest("web-0").address, HTTP_PORT),
        echoToWeb: await reaches(guest("db-0"), guest("web-0").address, ECHO_PORT),
      }).toEqual({
        echoFromMember: true,
        echoFromOtherMember: true,
        httpFromMember: false,
        httpToWeb: true,
        echoToWeb: false,
      });
    },
    TEST_MS,
  );

  test(
    "say in their groups who is in them and where the rules are in force",
    async () => {
      const db = await stage.until(
        securityGroups,
        "db",
        (group) => isReady(group) && group.status?.members === 1,
      );
      expect(db.status).toMatchObject({ rules: 1, members: 1, nodes: [{ name: "node-3", generation: 1 }] });
      const described = await stage.testbed.kubectl(["describe", "securitygroup", "web", "-n", NAMESPACE]);
      expect(described).toMatch(/Members:\s+2/);
      expect(described).toMatch(/node-1/);
    },
    TEST_MS,
  );
});

test(
  "what is refused is counted on the node of the machine that it was for",
  async () => {
    const refused = async (): Promise<number> => {
      const { metricsUrl } = stage.testbed.agent("node-3");
      const text = await guest("db-0").node.run(["curl", "--silent", `${metricsUrl}/metrics`]);
      return Number(/^vireo_refused_packets_total\{reason="ingress"\} (\d+)/m.exec(text)?.[1] ?? "0");
    };
    const before = await refused();
    expect(await reaches(guest("web-0"), guest("db-0").address, HTTP_PORT)).toBe(false);
    expect(await refused()).toBeGreaterThan(before);
  },
  TEST_MS,
);

/** Keeps saying a word a second to db-0's echo from inside web-0, and writes what comes back into a file there. */
const startTalk = (from: Guest, address: string): Promise<string> =>
  from.run(
    `rm -f /tmp/talk; (while sleep 0.2; do echo word; done | nc ${address} ${ECHO_PORT} >/tmp/talk 2>&1; echo ended >>/tmp/talk) >/dev/null 2>&1 & echo $!`,
  );

const heard = async (from: Guest): Promise<{ words: number; ended: boolean }> => {
  const text = await from.run("cat /tmp/talk");
  return { words: text.split("word").length - 1, ended: text.includes("ended") };
};

describe("a connection between machines", () => {
  test(
    "outlives the agents and changes elsewhere, and is cut when it is no longer allowed",
    async () => {
      const from = guest("web-0");
      await startTalk(from, guest("db-0").address);
      const moreThan = (words: number): Promise<unknown> =>
        waitFor(`more than ${words} words`, async () => (await heard(from)).words > words, {
          timeoutMs: 30_000,
        });
      await moreThan(2);

      for (const node of ["node-1", "node-3"]) {
        await stage.testbed.agent(node).kill("SIGKILL");
        await stage.testbed.agent(node).start();
      }
      await stage.apply(manifests.securityGroup("ops", { ingress: [{ protocol: "tcp", port: 2222 }] }));
      const { words } = await heard(from);
      await moreThan(words + 3);
      expect((await heard(from)).ended).toBe(false);

      await stage.apply(manifests.securityGroup("db", { ingress: [] }));
      await waitFor("the end of the talk", async () => (await heard(from)).ended, { timeoutMs: 30_000 });
      expect(await reaches(from, guest("db-0").address, ECHO_PORT)).toBe(false);
      await stage.apply(manifests.securityGroup("db", groups.db));
      await waitFor("a new talk", () => reaches(from, guest("db-0").address, ECHO_PORT), {
        timeoutMs: 30_000,
      });
    },
    TEST_MS,
  );

  test(
    "is allowed as soon as the machine is in a group, without its restart",
    async () => {
      const { address } = guest("db-0");
      const boots = (await guest("db-0").boots()).length;
      expect(await reaches(guest("web-1"), address, HTTP_PORT)).toBe(false);
      await stage.patchMachine("db-0", { securityGroups: ["db", "web"] });
      await waitFor("the new group", () => reaches(guest("web-1"), address, HTTP_PORT), {
        timeoutMs: 30_000,
      });
      await stage.patchMachine("db-0", { securityGroups: ["db"] });
      await waitFor("the old groups", async () => !(await reaches(guest("web-1"), address, HTTP_PORT)), {
        timeoutMs: 30_000,
      });
      expect(await guest("db-0").boots()).toHaveLength(boots);
    },
    TEST_MS,
  );
});

const placeOf = ({ status }: FloatingIp) => ({
  address: status?.address,
  target: status?.claim?.machine,
  node: status?.holder?.nodeName,
});

/** Asks for the address by ARP all the time, and notes who answers. */
class ArpWatch {
  readonly #process: ChildProcess;
  readonly #answers: string[] = [];

  constructor(outsidePid: number, address: string) {
    this.#process = spawn("nsenter", [
      "--target",
      String(outsidePid),
      "--net",
      "--",
      "tcpdump",
      "-lne",
      "-i",
      "underlay",
      `arp and arp[6:2] = 2 and src host ${address}`,
    ]);
    this.#process.stdout?.on("data", (chunk: Buffer) => this.#answers.push(...chunk.toString().split("\n")));
  }

  /** Hardware addresses of those who answered, in the order of their first answer. */
  async stop(): Promise<readonly string[]> {
    this.#process.kill("SIGKILL");
    const senders = this.#answers.flatMap((line) => / ([0-9a-f:]{17}) >/.exec(line)?.[1] ?? []);
    return [...new Set(senders)];
  }
}

describe("a floating address", () => {
  beforeAll(
    () => stage.apply(manifests.floatingIp("www", { pool: "public", targets: ["web-0", "web-1"] })),
    TEST_MS,
  );

  const www = (): Promise<FloatingIp> => stage.until(floatingIps, "www", isReady);

  test(
    "reaches the first of its machines from outside",
    async () => {
      expect(placeOf(await www())).toEqual({ address: floatingAddress(), target: "web-0", node: "node-1" });
      expect(await servedFrom(floatingAddress())).toContain("web-0");
      expect(await outsideReaches(floatingAddress(), ECHO_PORT)).toBe(false);
    },
    TEST_MS,
  );

  test(
    "is what the machine is seen with outside, and reaches it from itself and its neighbours",
    async () => {
      const address = floatingAddress();
      expect(await reaches(guest("web-0"), address, HTTP_PORT)).toBe(true);
      expect(await reaches(guest("web-1"), address, HTTP_PORT)).toBe(true);
    },
    TEST_MS,
  );

  test(
    "moves when its machine is halted, and two nodes never answer for it",
    async () => {
      const address = floatingAddress();
      const watch = new ArpWatch(stage.testbed.underlay.outsidePid, address);
      await stage.patchMachine("web-0", { runStrategy: "Halted" });
      await waitFor("the other machine", async () => (await servedFrom(address)).includes("web-1"), {
        timeoutMs: 30_000,
        intervalMs: 50,
      });
      const moved = await stage.until(
        floatingIps,
        "www",
        ({ status }) => status?.holder?.nodeName === "node-2",
      );
      expect(placeOf(moved)).toMatchObject({ target: "web-1", node: "node-2" });
      await watch.stop();
      await stage.untilStatus("web-0", "Stopped");
      await stage.patchMachine("web-0", { runStrategy: "Always" });
      await stage.untilStatus("web-0", "Running");
      // It is not given back: failback is Never.
      expect(placeOf(await www())).toMatchObject({ target: "web-1" });
    },
    TEST_MS,
  );

  test(
    "stays where it is while its node's agent is killed and started again",
    async () => {
      const address = floatingAddress();
      await stage.testbed.agent("node-2").kill("SIGKILL");
      await stage.testbed.agent("node-2").start();
      await stage.testbed.agent("node-2").ready();
      expect(await servedFrom(address)).toContain("web-1");
      expect(placeOf(await www())).toMatchObject({ target: "web-1", node: "node-2" });
    },
    TEST_MS,
  );

  test(
    "moves when its node is switched off",
    async () => {
      const address = floatingAddress();
      await guest("web-0").untilBooted(2);
      await stage.testbed.node("node-2").powerOff();
      await waitFor("the other machine", async () => (await servedFrom(address)).includes("web-0"), {
        timeoutMs: 30_000,
        intervalMs: 50,
      });
      expect(placeOf(await www())).toMatchObject({ target: "web-0", node: "node-1" });
    },
    TEST_MS,
  );
});

test(
  "nothing is left when the last machine is gone",
  async () => {
    await stage.testbed.node("node-2").powerOn();
    await stage.testbed.agent("node-2").start();
    await stage.testbed.kubectl(["delete", "floatingip", "www", "-n", NAMESPACE, "--timeout=60s"]);
    await stage.deleteMachines(...MACHINES);
    await stage.testbed.kubectl([
      "delete",
      "securitygroup",
      "web",
      "db",
      "ops",
      "-n",
      NAMESPACE,
      "--timeout=60s",
    ]);
    for (const { name } of stage.testbed.nodes) {
      await expectLeftovers(stage.testbed, name, baseline.get(name));
    }
  },
  TEST_MS,
);

import { spawn } from "node:child_process";
import { floatingIps } from "../src/api/floating-ip.ts";
import { guestOf } from "../test/e2e/support/guest.ts";
import { manifests } from "../test/e2e/support/manifests.ts";
import { isReady, type Stage, startStage } from "../test/e2e/support/stage.ts";
import { setWire } from "../test/e2e/support/wire.ts";
import { waitFor } from "../test/testbed/wait.ts";

/** How long a client saw no answer, and who answered for the address meanwhile. */
export interface Outage {
  readonly name: string;
  /** Longest time between two answers, in ms, to a client that asks every 10 ms. */
  readonly gapMs: number;
  /** Whether a node answered for the address by ARP after another one had begun to. */
  readonly twoAnswers: boolean;
}

const MACHINES = ["web-0", "web-1"] as const;
const PATIENCE_MS = 60_000;

/** A program beside the cluster, with the lines that it has printed. */
const listen = (stage: Stage, argv: readonly string[]) => {
  const child = spawn("nsenter", [
    "--target",
    String(stage.testbed.underlay.outsidePid),
    "--net",
    "--",
    ...argv,
  ]);
  let text = "";
  child.stdout.on("data", (chunk: Buffer) => (text += chunk.toString()));
  return {
    lines: (): readonly string[] => text.split("\n"),
    stop: () => child.kill("SIGKILL"),
  };
};

/** Times of the answers in ms, as `ping -D` prints them. */
const answersIn = (lines: readonly string[]): readonly number[] =>
  lines.flatMap((line) => {
    const [, seconds] = /^\[(\d+\.\d+)\] \d+ bytes from/.exec(line) ?? [];
    return seconds === undefined ? [] : [Number(seconds) * 1000];
  });

const longestGap = (times: readonly number[]): number =>
  times.slice(1).reduce((longest, time, index) => Math.max(longest, time - (times[index] ?? time)), 0);

/** Somebody answers, somebody else does, and the first one again: two have the address. */
const answeredTwice = (lines: readonly string[]): boolean => {
  const senders = lines.flatMap((line) => / ([0-9a-f:]{17}) >/.exec(line)?.[1] ?? []);
  const changes = senders.filter((sender, index) => sender !== senders[index - 1]);
  return new Set(changes).size !== changes.length;
};

const addressOf = async (stage: Stage): Promise<string> => {
  const { status } = await stage.until(floatingIps, "www", isReady);
  if (status?.address === undefined) throw new Error("FloatingIP www is Ready and has no address");
  return status.address;
};

/** Lets something happen while a client asks for the address. */
const observe = async (stage: Stage, name: string, act: () => Promise<void>): Promise<Outage> => {
  const address = await addressOf(stage);
  const ping = listen(stage, ["ping", "-D", "-n", "-i", "0.01", address]);
  const arp = listen(stage, [
    "tcpdump",
    "-lne",
    "-i",
    "underlay",
    `arp and arp[6:2] = 2 and src host ${address}`,
  ]);
  const questions = listen(stage, ["arping", "-I", "underlay", address]);
  const answers = (): readonly number[] => answersIn(ping.lines());
  try {
    await waitFor("answers before", () => answers().length > 100, { timeoutMs: PATIENCE_MS });
    await act();
    await waitFor(
      "answers again",
      () => {
        const latest = answers().at(-1) ?? 0;
        return Date.now() - latest < 500;
      },
      { timeoutMs: PATIENCE_MS },
    );
    await stage.until(floatingIps, "www", isReady);
    const before = answers().length;
    await waitFor("answers afterwards", () => answers().length > before + 200, { timeoutMs: PATIENCE_MS });
    return { name, gapMs: longestGap(answers()), twoAnswers: answeredTwice(arp.lines()) };
  } finally {
    for (const program of [ping, arp, questions]) program.stop();
  }
};

const holderOf = async (stage: Stage): Promise<{ machine: string; node: string }> => {
  const { status } = await stage.until(floatingIps, "www", isReady);
  return { machine: status?.claim?.machine ?? "", node: status?.holder?.nodeName ?? "" };
};

const prepare = async (stage: Stage): Promise<void> => {
  await stage.applyBasics();
  const address = stage.testbed.underlay.hostAddress.replace(/\d+$/, "70");
  await stage.apply(
    manifests.securityGroup("open", { ingress: [{}] }),
    manifests.floatingIpPool("public", { cidrs: [`${address}/32`] }),
    ...MACHINES.map((name, index) =>
      manifests.machine(name, {
        securityGroups: ["open"],
        nodeSelector: { host: `node-${index + 1}` },
        terminationGracePeriodSeconds: 30,
      }),
    ),
    manifests.floatingIp("www", { pool: "public", targets: MACHINES }),
  );
};

const boots = new Map<string, number>();

/** Both machines run, and have booted since they were last switched on. */
const bothBooted = async (stage: Stage): Promise<void> => {
  for (const name of MACHINES) {
    await stage.untilStatus(name, "Running");
    const times = (boots.get(name) ?? 0) + 1;
    await (await guestOf(stage, name)).untilBooted(times);
    boots.set(name, times - 1);
  }
};

const booted = (name: string): void => void boots.set(name, (boots.get(name) ?? 0) + 1);

interface Scenario {
  readonly name: string;
  readonly act: () => Promise<void>;
  /** Makes the next scenario possible, when the address is where it belongs. */
  readonly restore?: () => Promise<void>;
}

const scenarios = (stage: Stage): readonly Scenario[] => {
  const { testbed } = stage;
  let cutOff = "";
  return [
    {
      name: "machine halted",
      act: async () => {
        const { machine } = await holderOf(stage);
        booted(machine);
        await stage.patchMachine(machine, { runStrategy: "Halted" });
        await stage.untilStatus(machine, "Stopped");
        await stage.patchMachine(machine, { runStrategy: "Always" });
      },
    },
    {
      name: "machine crashed",
      act: async () => {
        const { machine } = await holderOf(stage);
        booted(machine);
        await (await guestOf(stage, machine)).crash();
      },
    },
    {
      name: "agent killed",
      act: async () => {
        const agent = testbed.agent((await holderOf(stage)).node);
        await agent.kill("SIGKILL");
        await agent.start();
        await agent.ready();
      },
    },
    {
      name: "node cut off",
      act: async () => {
        cutOff = (await holderOf(stage)).node;
        await setWire(testbed, cutOff, "down");
      },
      restore: async () => {
        await setWire(testbed, cutOff, "up");
        await waitFor(
          "an agent that is back",
          () =>
            testbed
              .agent(cutOff)
              .ready()
              .then(() => true),
          {
            timeoutMs: PATIENCE_MS,
          },
        );
      },
    },
    {
      name: "node powered off",
      act: async () => testbed.node((await holderOf(stage)).node).powerOff(),
    },
  ];
};

/** What a client sees of a floating address while machines and nodes fail. */
export const measureFailovers = async (progress: (text: string) => void): Promise<readonly Outage[]> => {
  const stage = await startStage({
    nodes: 3,
    program: "bundle",
    agentFlags: (name) => [`--node-labels=host=${name}`],
  });
  try {
    await prepare(stage);
    const outages: Outage[] = [];
    for (const { name, act, restore } of scenarios(stage)) {
      await bothBooted(stage);
      progress(`floating address: ${name}`);
      outages.push(await observe(stage, name, act));
      await restore?.();
    }
    return outages;
  } finally {
    await stage.stop();
  }
};

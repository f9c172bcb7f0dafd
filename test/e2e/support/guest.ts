import { readFile } from "node:fs/promises";
import { join } from "node:path";

import { argumentsOf, processesInNamespaceOf } from "../../testbed/process-table.ts";
import type { TestNode } from "../../testbed/node.ts";
import { ssh } from "../../testbed/ssh.ts";
import { waitFor } from "../../testbed/wait.ts";
import type { Stage } from "./stage.ts";

/** What the tiny guest says on its console when ssh works. */
export interface Boot {
  readonly hostname: string;
  /** With prefix lengths, separated by commas. */
  readonly addresses: string;
  /** Kernel's id of this boot: another one after each restart. */
  readonly bootId: string;
}

/** One machine's guest, seen from outside of Vireo: on its node, by ssh, through its console log. */
export interface Guest {
  readonly vmUid: string;
  readonly node: TestNode;
  readonly address: string;
  readonly macAddress: string;
  /** Runs a command in the guest as root and resolves with its standard output. */
  run(command: string): Promise<string>;
  /** All that its serial console has said. */
  console(): Promise<string>;
  /** Every boot that its console log tells of, oldest first. */
  boots(): Promise<readonly Boot[]>;
  /** Waits until the guest has come up so many times since its disk was made, and resolves with that boot. */
  untilBooted(times?: number): Promise<Boot>;
  /** Waits until its console has said that. */
  untilSaid(pattern: RegExp): Promise<void>;
  /** Process id of its QEMU as seen from the machine; undefined while it is off. */
  processId(): number | undefined;
  /** SIGKILL to its QEMU. */
  crash(): Promise<void>;
}

const READY_LINE = /vireo-guest ready hostname=(\S+) addresses=(\S+) uptime=\S+ boot=(\S+)/g;
const BOOT_PATIENCE_MS = 180_000;

const bootsIn = (text: string): readonly Boot[] =>
  [...text.matchAll(READY_LINE)].map(([, hostname = "", addresses = "", bootId = ""]) => ({
    hostname,
    addresses,
    bootId,
  }));

const processIdOf = (node: TestNode, vmUid: string): number | undefined =>
  processesInNamespaceOf(node.pid).find(
    ({ pid, command, state }) =>
      command.startsWith("qemu-system") && state !== "Z" && argumentsOf(pid).join(" ").includes(vmUid),
  )?.pid;

/** The guest of a machine that has been placed; the key is the stage's own unless another is given. */
export const guestOf = async (
  stage: Pick<Stage, "machine" | "testbed" | "privateKeyFile">,
  name: string,
  privateKeyFile = stage.privateKeyFile,
): Promise<Guest> => {
  const { metadata, status } = await stage.machine(name);
  const [link] = status?.allocation?.interfaces ?? [];
  if (status?.nodeName === undefined || link === undefined)
    throw new Error(`machine ${name} has no place yet`);
  const node = stage.testbed.node(status.nodeName);
  const vmUid = metadata.uid;
  const { address, macAddress } = link;
  const console = (): Promise<string> =>
    readFile(join(node.stateDirectory, "consoles", `${vmUid}.log`), "utf8").catch(
      (error: NodeJS.ErrnoException) => {
        // QEMU makes it when the guest is switched on for the first time.
        if (error.code === "ENOENT") return "";
        throw error;
      },
    );
  const boots = async (): Promise<readonly Boot[]> => bootsIn(await console());
  const seen = async (): Promise<string> => `console of ${name} ends with: ${(await console()).slice(-500)}`;
  const processId = (): number | undefined => processIdOf(node, vmUid);
  return {
    vmUid,
    node,
    address,
    macAddress,
    run: (command) => ssh(node, { address, privateKeyFile, command }),
    console,
    boots,
    untilBooted: (times = 1) =>
      waitFor(
        `boot ${times} of the guest of ${name}`,
        async () => {
          const boot = (await boots())[times - 1];
          if (boot === undefined) throw new Error(await seen());
          return boot;
        },
        { timeoutMs: BOOT_PATIENCE_MS, intervalMs: 100 },
      ),
    untilSaid: async (pattern) => {
      await waitFor(
        `${String(pattern)} on the console of ${name}`,
        async () => {
          if (!pattern.test(await console())) throw new Error(await seen());
          return true;
        },
        { timeoutMs: BOOT_PATIENCE_MS, intervalMs: 100 },
      );
    },
    processId,
    crash: async () => {
      const pid = processId();
      if (pid === undefined) throw new Error(`the guest of ${name} does not run`);
      process.kill(pid, "SIGKILL");
      await waitFor(`the end of process ${pid}`, () => processId() !== pid, { intervalMs: 10 });
    },
  };
};

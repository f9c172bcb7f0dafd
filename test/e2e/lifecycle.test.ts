import { readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";

import { afterAll, beforeAll, describe, expect, test } from "@jest/globals";

import { keyPairs } from "../../src/api/key-pair.ts";
import { virtualMachines } from "../../src/api/virtual-machine.ts";
import { secrets } from "../../src/kube/index.ts";
import { type Guest, guestOf } from "./support/guest.ts";
import { expectLeftovers } from "./support/leftovers.ts";
import { manifests } from "./support/manifests.ts";
import { conditionOf, isReady, NAMESPACE, startStage, type Stage } from "./support/stage.ts";

const QUICKSTART = join(import.meta.dirname, "../../examples/quickstart.yaml");
/** An emulated guest boots in 10 s on a quiet machine; here are up to four at a time, on a busy one. */
const BOOT_MS = 240_000;
const NO_BOOT_MS = 90_000;

let stage: Stage;

beforeAll(async () => {
  stage = await startStage({ nodes: 2 });
}, 180_000);

afterAll(() => stage.stop(), 60_000);

describe("examples/quickstart.yaml, as the README walks through it", () => {
  /** What is on each node before there is a machine. */
  const nothing = new Map<string, readonly string[]>();
  let guest: Guest;

  const saveGeneratedKey = async (): Promise<string> => {
    const pair = await stage.until(keyPairs, "me", isReady);
    const secretName = pair.spec.generate?.secretName ?? "";
    const secret = await stage.read(secrets, secretName);
    const file = join(stage.testbed.directory, "generated-key");
    await writeFile(file, Buffer.from(secret?.data["ssh-privatekey"] ?? "", "base64"), { mode: 0o600 });
    return file;
  };

  /** Right after the patch Ready is still that of the spec before; kubectl must not take it for this one's. */
  const patchAndWait = async (runStrategy: string): Promise<void> => {
    const { kubectl } = stage.testbed;
    await kubectl(["patch", "vm", "hello", "--type=merge", "-p", JSON.stringify({ spec: { runStrategy } })]);
    await kubectl(["wait", "vm/hello", "--for=condition=Ready", "--timeout=80s"], { timeoutMs: 85_000 });
  };

  test(
    "kubectl apply and kubectl wait end with a machine that is Ready",
    async () => {
      for (const { name } of stage.testbed.nodes) nothing.set(name, await stage.testbed.leftovers(name));
      await stage.testbed.kubectl(["apply", "-f", QUICKSTART]);
      const said = await stage.testbed.kubectl(
        ["wait", "vm/hello", "--for=condition=Ready", "--timeout=3m"],
        { timeoutMs: 185_000 },
      );
      expect(said).toBe("virtualmachine.vireo.dev/hello condition met\n");
      guest = await guestOf(stage, "hello", await saveGeneratedKey());
    },
    NO_BOOT_MS,
  );

  test(
    "kubectl get -o wide has it in a line, and kubectl describe tells its story",
    async () => {
      const [header = "", line = ""] = (await stage.testbed.kubectl(["get", "vm", "-o", "wide"])).split("\n");
      expect(header.split(/\s+/)).toEqual([
        "NAME",
        "STATUS",
        "READY",
        "NODE",
        "IP",
        "FLAVOR",
        "IMAGE",
        "STRATEGY",
        "REASON",
        "AGE",
      ]);
      expect(line.split(/\s+/).slice(0, -1)).toEqual([
        "hello",
        "Running",
        "True",
        guest.node.name,
        guest.address,
        "small",
        "tiny",
        "Always",
        "Running",
      ]);
      const story = await stage.testbed.kubectl(["describe", "vm", "hello"]);
      for (const part of ["Storage Ready", "Type:.*Scheduled", "Placed on node-", "The guest was started"]) {
        expect(story.replaceAll("StorageReady", "Storage Ready")).toMatch(new RegExp(part));
      }
      expect(await stage.testbed.kubectl(["get", "vireo", "-A"])).toMatch(
        /flavor\.vireo\.dev\/small[^]*hypervisor\.vireo\.dev\/node-1[^]*image\.vireo\.dev\/tiny[^]*keypair\.vireo\.dev\/me[^]*network\.vireo\.dev\/default[^]*virtualmachine\.vireo\.dev\/hello/,
      );
    },
    NO_BOOT_MS,
  );

  test(
    "the guest has its name, address, key and user data, by ssh and on its console",
    async () => {
      expect(await guest.untilBooted()).toMatchObject({
        hostname: "hello",
        addresses: `${guest.address}/24`,
      });
      await guest.untilSaid(/Hello from a virtual machine\./);
      const facts = await guest.run(
        "hostname; cat /sys/class/net/eth0/address /root/.ssh/authorized_keys; echo kept >/root/kept; sync",
      );
      const { status } = await stage.machine("hello");
      expect(facts.split("\n")).toEqual([
        "hello",
        guest.macAddress,
        ...(status?.allocation?.sshPublicKeys ?? ["a key"]),
        "",
      ]);
    },
    BOOT_MS,
  );

  test(
    "Halted presses the power button, and the machine is Ready when it is off",
    async () => {
      await patchAndWait("Halted");
      const machine = await stage.machine("hello");
      expect(machine.status?.printableStatus).toBe("Stopped");
      expect(conditionOf(machine, "Ready")).toMatchObject({ status: "True", reason: "Stopped" });
      expect(machine.status?.guest?.lastExit?.reason).toBe("Stopped");
      // The guest itself says so: its power was not cut.
      expect(await guest.console()).toMatch(/Requesting system poweroff[^]*reboot: Power down/);
      expect(guest.processId()).toBeUndefined();
    },
    NO_BOOT_MS,
  );

  test(
    "Always boots the same disk again, at the same address",
    async () => {
      const before = (await stage.machine("hello")).status?.allocation;
      await patchAndWait("Always");
      expect((await stage.machine("hello")).status?.printableStatus).toBe("Running");
      const [first, second] = [(await guest.boots())[0], await guest.untilBooted(2)];
      expect(second.bootId).not.toBe(first?.bootId);
      const facts = await guest.run("cat /root/kept /sys/class/net/eth0/address");
      expect(facts).toBe(`kept\n${guest.macAddress}\n`);
      const { status } = await stage.machine("hello");
      expect(status?.allocation).toEqual(before);
      expect(status?.guest?.restarts).toBe(0);
    },
    BOOT_MS,
  );

  test(
    "kubectl delete leaves nothing on the nodes, and the address is free again",
    async () => {
      await stage.testbed.kubectl(["delete", "vm", "hello"], { timeoutMs: 80_000 });
      for (const [nodeName, held] of nothing) await expectLeftovers(stage.testbed, nodeName, held);
      const heir = manifests.machine("heir", {
        flavor: "small",
        image: "tiny",
        keyPairs: ["me"],
        networks: [{ name: "default" }],
        runStrategy: "Halted",
      });
      await stage.apply(heir);
      const { status } = await stage.untilStatus("heir", "Stopped");
      expect(status?.allocation?.interfaces[0]?.address).toBe(guest.address);
      await stage.deleteMachines("heir");
    },
    NO_BOOT_MS,
  );
});

describe("how a guest ends, and what becomes of its machine", () => {
  /** Guests that a test is done with need not be asked to end. */
  const atOnce = { terminationGracePeriodSeconds: 0 };
  /** Runs once in the life of the disk. */
  const powersItselfOff = { ...atOnce, cloudInit: { userData: "#!/bin/sh\npoweroff\n" } };

  beforeAll(async () => {
    await stage.applyBasics();
    await stage.apply(
      manifests.machine("always", powersItselfOff),
      manifests.machine("rerun", { ...powersItselfOff, runStrategy: "RerunOnFailure" }),
      manifests.machine("once", { ...powersItselfOff, runStrategy: "Once" }),
    );
  }, NO_BOOT_MS);

  test.each(["rerun", "once"])(
    "it powers itself off: %s is left off, and has succeeded",
    async (name) => {
      const machine = await stage.untilStatus(name, "Succeeded");
      expect(isReady(machine)).toBe(true);
      expect(machine.status?.guest).toMatchObject({ restarts: 0, lastExit: { reason: "GuestShutdown" } });
      const guest = await guestOf(stage, name);
      expect(guest.processId()).toBeUndefined();
      expect(await guest.console()).toContain("Requesting system poweroff");
    },
    BOOT_MS,
  );

  test(
    "it powers itself off: Always starts it again at once",
    async () => {
      const machine = await stage.until(
        virtualMachines,
        "always",
        ({ status }) => status?.guest?.restarts === 1 && status.printableStatus === "Running",
        { timeoutMs: BOOT_MS },
      );
      expect(machine.status?.guest?.lastExit?.reason).toBe("GuestShutdown");
      await stage.deleteMachines("always", "rerun", "once");
    },
    BOOT_MS,
  );

  test(
    "its process is killed: Always starts it again, and later each time that it happens again",
    async () => {
      const restarted = (times: number) =>
        stage.until(
          virtualMachines,
          "fragile",
          ({ status }) => status?.guest?.restarts === times && status.printableStatus === "Running",
        );
      await stage.apply(manifests.machine("fragile", atOnce));
      await stage.untilStatus("fragile", "Running");
      const guest = await guestOf(stage, "fragile");

      await guest.crash();
      expect((await restarted(1)).status?.guest?.lastExit?.reason).toBe("Crashed");

      await guest.crash();
      const waiting = await stage.untilStatus("fragile", "CrashLoopBackOff");
      expect(conditionOf(waiting, "Ready")).toMatchObject({ status: "False", reason: "CrashLoopBackOff" });
      expect(guest.processId()).toBeUndefined();

      const again = (await restarted(2)).status?.guest;
      const [ended, started] = [again?.lastExit?.at ?? "", again?.startedAt ?? ""].map(Date.parse);
      expect(Number(started) - Number(ended)).toBeGreaterThanOrEqual(9_000);
      const events = await stage.testbed.kubectl(["events", "--for=vm/fragile", "-n", NAMESPACE]);
      for (const reason of ["GuestCrashed", "CrashLoopBackOff", "GuestStarted"]) {
        expect(events).toContain(reason);
      }
      await stage.deleteMachines("fragile");
    },
    BOOT_MS,
  );

  test(
    "its process is killed: Once has failed, RerunOnFailure runs again",
    async () => {
      await stage.apply(
        manifests.machine("once", { ...atOnce, runStrategy: "Once" }),
        manifests.machine("rerun", { ...atOnce, runStrategy: "RerunOnFailure" }),
      );
      for (const name of ["once", "rerun"]) {
        await stage.untilStatus(name, "Running");
        await (await guestOf(stage, name)).crash();
      }
      const failed = await stage.untilStatus("once", "Failed");
      expect(conditionOf(failed, "Stalled")).toMatchObject({ status: "True", reason: "RunFailed" });
      await stage.until(
        virtualMachines,
        "rerun",
        ({ status }) => status?.guest?.restarts === 1 && status.printableStatus === "Running",
      );
      await stage.deleteMachines("once", "rerun");
    },
    BOOT_MS,
  );

  test(
    "it ignores the power button: its power is cut when the grace period is over",
    async () => {
      const graceSeconds = 3;
      await stage.apply(
        manifests.machine("deaf", {
          terminationGracePeriodSeconds: graceSeconds,
          cloudInit: { userData: "#!/bin/sh\nrm /etc/acpi/PWRF/00000080 && echo deaf now\n" },
        }),
      );
      await stage.untilStatus("deaf", "Running");
      const guest = await guestOf(stage, "deaf");
      await guest.untilSaid(/^deaf now/m);

      await stage.patchMachine("deaf", { runStrategy: "Halted" });
      const stopping = await stage.untilStatus("deaf", "Stopping");
      const stopped = await stage.untilStatus("deaf", "Stopped");
      const asked = Date.parse(stopping.status?.guest?.shutdownRequestedAt ?? "");
      const ended = Date.parse(stopped.status?.guest?.lastExit?.at ?? "");
      expect(ended - asked).toBeGreaterThanOrEqual(graceSeconds * 1000);
      expect(await guest.console()).not.toContain("Requesting system poweroff");
      await stage.deleteMachines("deaf");
    },
    BOOT_MS,
  );

  test("neither controller nor agents complained of what is ordinary", async () => {
    for (const { logPath } of [stage.testbed.controller, ...stage.testbed.agents]) {
      const errors = (await readFile(logPath, "utf8"))
        .split("\n")
        .filter((line) => /"level":(50|"error")/.test(line));
      expect(errors).toEqual([]);
    }
  });
});

import { afterAll, beforeAll, describe, expect, test } from "@jest/globals";

import { images } from "../../src/api/image.ts";
import { virtualMachines } from "../../src/api/virtual-machine.ts";
import { waitFor } from "../testbed/wait.ts";
import { type Guest, guestOf } from "./support/guest.ts";
import { manifests } from "./support/manifests.ts";
import { conditionOf, isReady, NAMESPACE, startStage, type Stage } from "./support/stage.ts";

/** What a person does to a machine that runs: restart, pause, another size, copies of it, images out of it. */

const BOOT_MS = 240_000;
const NO_BOOT_MS = 120_000;
const atOnce = { terminationGracePeriodSeconds: 0 };
const SECRET_WORD = "only the guest and the Secret know this";

let stage: Stage;
let guest: Guest;
let boots = 1;

/** POST to a subresource, as kubectl vireo does it. */
const ask = (name: string, subresource: string): Promise<string> =>
  stage.testbed.kubectl(
    [
      "create",
      "--raw",
      `/apis/subresources.vireo.dev/v1alpha1/namespaces/${NAMESPACE}/virtualmachines/${name}/${subresource}`,
      "-f",
      "-",
    ],
    { stdin: "{}" },
  );

const untilReady = (name: string) =>
  stage.until(
    virtualMachines,
    name,
    (machine) => isReady(machine) && machine.status?.observedGeneration === machine.metadata.generation,
  );

beforeAll(async () => {
  stage = await startStage({ nodes: 2 });
  await stage.applyBasics();
  const secret = {
    apiVersion: "v1",
    kind: "Secret",
    metadata: { name: "user-data" },
    stringData: { userdata: `#!/bin/sh\necho '${SECRET_WORD}' >/root/secret\n` },
  };
  await stage.apply(
    secret,
    manifests.network("second", { cidr: "10.45.0.0/24" }),
    manifests.machine("main", {
      ...atOnce,
      flavor: undefined,
      vcpus: 1,
      maxVcpus: 2,
      memory: "128Mi",
      maxMemory: "256Mi",
      disk: "1Gi",
      networks: [{ name: "test" }, { name: "second", address: "10.45.0.77" }],
      cloudInit: { userDataSecretRef: { name: "user-data" } },
    }),
  );
  await stage.untilStatus("main", "Running");
  guest = await guestOf(stage, "main");
  await guest.untilBooted();
}, 300_000);

afterAll(() => stage.stop(), 60_000);

describe("a guest at its first boot", () => {
  test(
    "has the user data of a Secret, and nobody else has read it",
    async () => {
      await waitFor(
        "the user data's effect",
        async () => (await guest.run("cat /root/secret")).trim() === SECRET_WORD,
      );
      const log = await stage.testbed.kubectl(["get", "vm", "main", "-o", "yaml"]);
      expect(log).not.toContain(SECRET_WORD);
    },
    NO_BOOT_MS,
  );

  test(
    "has an address in each of its networks, and goes out by the first",
    async () => {
      const addresses = await guest.run("ip -4 -o addr show; ip route");
      expect(addresses).toContain(`${guest.address}/24`);
      expect(addresses).toContain("10.45.0.77/24");
      expect(addresses).toMatch(/default via 10\.44\.0\.1 /);
    },
    NO_BOOT_MS,
  );
});

describe("through the Kubernetes API", () => {
  test(
    "a guest is paused, and goes on where it was",
    async () => {
      await guest.run("echo here >/tmp/where");
      await ask("main", "pause");
      const paused = await stage.untilStatus("main", "Paused");
      expect(paused.status?.guest?.pauseRequested).toBe(true);
      expect(conditionOf(paused, "Ready")).toMatchObject({ status: "False", reason: "Paused" });
      await ask("main", "unpause");
      await stage.untilStatus("main", "Running");
      expect(await guest.run("cat /tmp/where")).toBe("here\n");
      await expect(ask("nobody", "pause")).rejects.toThrow(/not found/i);
    },
    NO_BOOT_MS,
  );

  test(
    "a guest is restarted",
    async () => {
      await ask("main", "restart");
      boots += 1;
      await guest.untilBooted(boots);
      const { status } = await untilReady("main");
      expect(status?.guest).toMatchObject({ restarts: 0, lastExit: { reason: "Stopped" } });
      expect(status?.guest?.restartRequestedAt).toBeUndefined();
    },
    BOOT_MS,
  );

  test(
    "a halted machine is not restarted, and who asks is told what to do",
    async () => {
      await stage.apply(manifests.machine("halted", { runStrategy: "Halted" }));
      await stage.untilStatus("halted", "Stopped");
      await expect(ask("halted", "restart")).rejects.toThrow(/runStrategy is Halted/);
      await stage.deleteMachines("halted");
    },
    NO_BOOT_MS,
  );
});

describe("another size", () => {
  const present = async (): Promise<string> =>
    (await guest.run("cat /sys/devices/system/cpu/present")).trim();
  const memoryMiB = async (): Promise<number> =>
    Number((await guest.run("grep MemTotal /proc/meminfo")).replaceAll(/\D/g, "")) / 1024;

  test(
    "comes while the guest runs",
    async () => {
      await guest.run("modprobe virtio_mem; echo online >/sys/devices/system/memory/auto_online_blocks");
      const before = await memoryMiB();
      await stage.patchMachine("main", { vcpus: 2, memory: "256Mi", disk: "1536Mi" });
      await stage.until(
        virtualMachines,
        "main",
        (machine) =>
          isReady(machine) &&
          machine.status?.guest?.vcpus === 2 &&
          (machine.status.guest.memoryMiB ?? 0) >= 250,
      );
      expect(await present()).toBe("0-1");
      expect(await memoryMiB()).toBeGreaterThan(before + 100);
      expect(await guest.run("cat /sys/block/vda/size")).toBe(`${1536 * 2048}\n`);
      expect(await guest.boots()).toHaveLength(boots);
    },
    NO_BOOT_MS,
  );

  test(
    "that only a restart gives is told, and given by one",
    async () => {
      await stage.patchMachine("main", { vcpus: 1 });
      const waiting = await stage.until(
        virtualMachines,
        "main",
        (machine) => conditionOf(machine, "RestartRequired")?.status === "True",
      );
      expect(waiting.status?.pendingChanges).toEqual([{ path: "vcpus", current: "2", desired: "1" }]);
      expect(isReady(waiting)).toBe(true);
      await ask("main", "restart");
      boots += 1;
      await guest.untilBooted(boots);
      const { status } = await stage.until(
        virtualMachines,
        "main",
        (machine) => isReady(machine) && conditionOf(machine, "RestartRequired") === undefined,
      );
      expect(status?.guest?.vcpus).toBe(1);
      expect(status?.pendingChanges).toBeUndefined();
      expect(await guest.run("nproc")).toBe("1\n");
    },
    BOOT_MS,
  );
});

describe("copies", () => {
  test(
    "of a machine that runs are machines of their own",
    async () => {
      await guest.run("echo mother >/root/word; sync");
      await stage.apply(
        manifests.machine("copy", {
          ...atOnce,
          flavor: "large",
          image: undefined,
          source: { virtualMachine: "main" },
        }),
        manifests.flavor("large", { disk: "2Gi" }),
      );
      await stage.untilStatus("copy", "Running");
      const copy = await guestOf(stage, "copy");
      await copy.untilSaid(/hostname=copy /);
      expect(await copy.run("cat /root/word; hostname")).toBe("mother\ncopy\n");
      expect(copy.address).not.toBe(guest.address);
      await copy.run("echo child >/root/word; sync");
      expect(await guest.run("cat /root/word")).toBe("mother\n");
      await stage.deleteMachines("copy");
    },
    BOOT_MS,
  );

  test(
    "are images too, that another node fetches from this one",
    async () => {
      await stage.apply(manifests.image("made", { source: { virtualMachine: "main" }, format: "qcow2" }));
      const { status } = await stage.until(images, "made", isReady);
      expect(status?.checksum).toMatch(/^sha256:/);
      await stage.cordon(guest.node.name, true);
      await stage.apply(manifests.machine("elsewhere", { ...atOnce, flavor: "large", image: "made" }));
      await stage.untilStatus("elsewhere", "Running");
      const elsewhere = await guestOf(stage, "elsewhere");
      expect(elsewhere.node.name).not.toBe(guest.node.name);
      await elsewhere.untilSaid(/hostname=elsewhere /);
      expect(await elsewhere.run("cat /root/word")).toBe("mother\n");
    },
    BOOT_MS,
  );
});

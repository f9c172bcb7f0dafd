import { join } from "node:path";

import { virtualMachineSnapshots } from "../src/api/virtual-machine-snapshot.ts";
import { virtualMachines } from "../src/api/virtual-machine.ts";
import { type Guest, guestOf } from "../test/e2e/support/guest.ts";
import { type Manifest, manifests } from "../test/e2e/support/manifests.ts";
import { isReady, NAMESPACE, type Stage } from "../test/e2e/support/stage.ts";
import { waitFor } from "../test/testbed/wait.ts";
import { median } from "./statistics.ts";
import { openWatch } from "./watch.ts";

const ROUNDS = 5;

/** What Vireo takes for it, from the request to Ready, and what libvirt or qemu-img takes by itself. */
export interface Compared {
  readonly vireoMs: number;
  readonly rawMs: number;
}

export const copyKinds = ["offline", "online", "with memory", "clone"] as const;
export type CopyCosts = Readonly<Record<(typeof copyKinds)[number], Compared>>;

const timed = async (work: () => Promise<unknown>): Promise<number> => {
  const began = performance.now();
  await work();
  return performance.now() - began;
};

const repeat = async (work: (round: number) => Promise<number>): Promise<number> => {
  const samples: number[] = [];
  for (let round = 0; round < ROUNDS; round += 1) samples.push(await work(round));
  return median(samples);
};

const { signal } = new AbortController();
const objectOf = ({ metadata, spec }: Manifest) => ({
  metadata: { ...metadata, namespace: NAMESPACE },
  spec,
});

/** Snapshots of a machine, each deleted before the next is taken. */
const vireoSnapshots = async (stage: Stage, name: string, spec: object): Promise<number> => {
  const watch = await openWatch(stage.api, virtualMachineSnapshots, NAMESPACE);
  try {
    return await repeat(async (round) => {
      const manifest = manifests.snapshot(`bench-${round}`, name, { quiesce: "Never", ...spec });
      const key = { namespace: NAMESPACE, name: manifest.metadata.name };
      const began = performance.now();
      await stage.api.create(virtualMachineSnapshots, objectOf(manifest), { signal });
      const ended = await watch.until(key.name, (snapshot) => snapshot !== undefined && isReady(snapshot));
      await stage.api.delete(virtualMachineSnapshots, key, { signal });
      await watch.until(key.name, (snapshot) => snapshot === undefined);
      return ended - began;
    });
  } finally {
    await watch.close();
  }
};

/** Machines that are copies of a machine that is off, and stay off: what is measured is their disks. */
const vireoClones = async (stage: Stage, name: string): Promise<number> => {
  const watch = await openWatch(stage.api, virtualMachines, NAMESPACE);
  try {
    return await repeat(async (round) => {
      const spec = { image: undefined, source: { virtualMachine: name }, runStrategy: "Halted" };
      const manifest = manifests.machine(`clone-${round}`, spec);
      const began = performance.now();
      await stage.api.create(virtualMachines, objectOf(manifest), { signal });
      const ended = await watch.until(
        manifest.metadata.name,
        (machine) =>
          machine !== undefined && isReady(machine) && machine.status?.printableStatus === "Stopped",
      );
      await stage.deleteMachines(manifest.metadata.name);
      return ended - began;
    });
  } finally {
    await watch.close();
  }
};

/** The layer that a guest writes, as its node names it. */
const headOf = async ({ node, vmUid }: Guest): Promise<string> => {
  const xml = await node.virsh(["dumpxml", "--inactive", `vireo-${vmUid}`]);
  const [, disk] = /<source file='([^']*\/disks\/[^']*)'/.exec(xml) ?? [];
  if (disk === undefined) throw new Error(`no disk in the definition of ${vmUid}`);
  return disk;
};

/** libvirt's own snapshots of the running guest, each on the one before. */
const rawSnapshots = (guest: Guest, disk: string, options: (round: number) => readonly string[]) =>
  repeat((round) => {
    const domain = `vireo-${guest.vmUid}`;
    const spec = `vda,snapshot=external,file=${disk}-${round}`;
    const command = ["snapshot-create-as", domain, "--no-metadata", "--atomic", "--diskspec", spec];
    return timed(() => guest.node.virsh([...command, ...options(round)]));
  });

/** While its agent is away; the machine is of no use afterwards. */
const measureRaw = async (stage: Stage, guest: Guest): Promise<Readonly<Record<keyof CopyCosts, number>>> => {
  const { node, vmUid } = guest;
  const agent = stage.testbed.agent(node.name);
  const head = await headOf(guest);
  const directory = "/var/lib/vireo/bench";
  await agent.kill("SIGKILL");
  await node.run(["install", "-d", "-m", "0777", directory]);
  try {
    const online = await rawSnapshots(guest, join(directory, "online"), () => ["--disk-only"]);
    const withMemory = await rawSnapshots(guest, join(directory, "with-memory"), (round) => [
      "--memspec",
      `snapshot=external,file=${join(directory, `memory-${round}`)}`,
    ]);
    await node.virsh(["destroy", `vireo-${vmUid}`]);
    const create = ["qemu-img", "create", "-q", "-f", "qcow2", "-b", head, "-F", "qcow2"] as const;
    const convert = ["qemu-img", "convert", "-f", "qcow2", "-O", "qcow2", head] as const;
    const offline = await repeat((round) =>
      timed(() => node.run([...create, join(directory, `offline-${round}`)])),
    );
    const clone = await repeat((round) =>
      timed(() => node.run([...convert, join(directory, `clone-${round}`)])),
    );
    return { offline, online, "with memory": withMemory, clone };
  } finally {
    await node.run(["rm", "-rf", directory]);
    await agent.start();
    await agent.ready();
  }
};

/** Snapshots and copies of a machine, which is used up by that. */
export const measureCopies = async (stage: Stage, name: string): Promise<CopyCosts> => {
  const online = await vireoSnapshots(stage, name, {});
  const withMemory = await vireoSnapshots(stage, name, { includeMemory: true });
  await stage.patchMachine(name, { runStrategy: "Halted" });
  await stage.untilStatus(name, "Stopped");
  const offline = await vireoSnapshots(stage, name, {});
  const clone = await vireoClones(stage, name);
  await stage.patchMachine(name, { runStrategy: "Always" });
  await stage.untilStatus(name, "Running");
  const guest = await guestOf(stage, name);
  await waitFor("the guest's process", () => guest.processId() !== undefined);
  const raw = await measureRaw(stage, guest);
  return {
    offline: { vireoMs: offline, rawMs: raw.offline },
    online: { vireoMs: online, rawMs: raw.online },
    "with memory": { vireoMs: withMemory, rawMs: raw["with memory"] },
    clone: { vireoMs: clone, rawMs: raw.clone },
  };
};

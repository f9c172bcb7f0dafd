import { once } from "node:events";
import { writeFile } from "node:fs/promises";
import { join } from "node:path";
import { DomainEventType, type LibvirtClient, openLibvirt } from "../src/libvirt/index.ts";
import type { TestNode } from "../test/testbed/node.ts";
import { createMachine, deleteMachines, isReady, type Stage, until } from "./stage.ts";
import { median } from "./statistics.ts";

const ROUNDS = 7;

/** Resolves with the time at which libvirt says that a guest was started. */
const nextStart = (libvirt: LibvirtClient): Promise<number> =>
  new Promise((resolve) => {
    const stop = libvirt.onDomainLifecycle(({ event }) => {
      if (event !== DomainEventType.STARTED) return;
      stop();
      resolve(performance.now());
    });
  });

/** From the request to create the object, to libvirt's word that the guest's processors run. */
const vireoStarts = async (stage: Stage, libvirts: readonly LibvirtClient[]) => {
  const started: number[] = [];
  const ready: number[] = [];
  for (let round = 0; round < ROUNDS; round += 1) {
    const name = `start-${round}`;
    const start = Promise.race(libvirts.map(nextStart));
    const began = performance.now();
    await createMachine(stage, name);
    started.push((await start) - began);
    ready.push((await until(stage, name, isReady)) - began);
    await deleteMachines(stage, [name]);
  }
  return { started: median(started), ready: median(ready) };
};

/**
 * The same guest without Vireo: the XML of a running machine, with its disk,
 * seed, tap and rules in place, started by `virsh create` while the agent is away.
 */
const virshStarts = async (stage: Stage, node: TestNode, libvirt: LibvirtClient): Promise<number> => {
  const name = "raw";
  const { metadata } = await createMachine(stage, name);
  await until(stage, name, isReady);
  const agent = stage.testbed.agent(node.name);
  const domain = `vireo-${metadata.uid}`;
  const xml = await node.virsh(["dumpxml", "--inactive", domain]);
  const file = join(node.directory, "raw.xml");
  await writeFile(file, xml);
  await agent.kill("SIGKILL");
  await node.virsh(["destroy", domain]);
  await node.virsh(["undefine", domain]);
  const samples: number[] = [];
  for (let round = 0; round < ROUNDS; round += 1) {
    const start = nextStart(libvirt);
    const began = performance.now();
    const virsh = node.spawn(["virsh", "--quiet", "create", file], { stdio: "ignore" });
    const ended = once(virsh, "exit");
    samples.push((await start) - began);
    await ended;
    await node.virsh(["destroy", domain]);
  }
  await agent.start();
  await agent.ready();
  await deleteMachines(stage, [name]);
  return median(samples);
};

/** How much longer a machine takes to run than the bare guest does, image cached. */
export const measureStart = async (stage: Stage) => {
  const [node] = stage.testbed.nodes;
  if (node === undefined) throw new Error("the testbed has no node");
  const libvirt = openLibvirt({ socketPath: node.libvirtSocket });
  try {
    await libvirt.whenConnected();
    // The image is fetched and checked by the first machine, which is not counted.
    await createMachine(stage, "warm");
    await until(stage, "warm", isReady);
    await deleteMachines(stage, ["warm"]);
    const vireo = await vireoStarts(stage, [libvirt]);
    const raw = await virshStarts(stage, node, libvirt);
    return { vireoMs: vireo.started, readyMs: vireo.ready, virshMs: raw, ratio: vireo.started / raw };
  } finally {
    await libvirt.close();
  }
};

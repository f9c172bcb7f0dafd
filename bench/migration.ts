import { cp, rm } from "node:fs/promises";
import { dirname, join } from "node:path";

import {
  type VirtualMachineMigration,
  virtualMachineMigrations,
} from "../src/api/virtual-machine-migration.ts";
import { virtualMachines } from "../src/api/virtual-machine.ts";
import { type Guest, guestOf } from "../test/e2e/support/guest.ts";
import { manifests } from "../test/e2e/support/manifests.ts";
import { isReady, NAMESPACE, type Stage } from "../test/e2e/support/stage.ts";
import type { TestNode } from "../test/testbed/node.ts";
import { run } from "../test/testbed/programs.ts";
import { offerMigrationTls } from "./migration-tls.ts";
import { median } from "./statistics.ts";
import { openWatch } from "./watch.ts";

/** There and back, so that a guest that was moved by hand ends where its machine is. */
const MOVES = 4;

export interface MigrationTimes {
  readonly ms: number;
  readonly downtimeMs: number;
}

export interface MigrationCost {
  readonly vireo: MigrationTimes & {
    /** Until the target has what the guest needs there. */ readonly preparingMs: number;
  };
  readonly virsh: MigrationTimes;
  /** Encrypted, as Vireo's are, by QEMU itself. */
  readonly virshTls: MigrationTimes;
}

const failureOf = ({ status }: VirtualMachineMigration): string | undefined =>
  status?.phase === "Failed" ? JSON.stringify(status.conditions) : undefined;

/** From the request to the phase Succeeded. */
const moveByVireo = async (stage: Stage, name: string): Promise<MigrationCost["vireo"]> => {
  const samples: MigrationCost["vireo"][] = [];
  const watch = await openWatch(stage.api, virtualMachineMigrations, NAMESPACE);
  const { signal } = new AbortController();
  try {
    for (let move = 0; move < MOVES; move += 1) {
      const { metadata, spec } = manifests.migration(`move-${move}`, name, { maxDowntimeMilliseconds: 300 });
      const began = performance.now();
      await stage.api.create(
        virtualMachineMigrations,
        { metadata: { ...metadata, namespace: NAMESPACE }, spec },
        { signal },
      );
      const copying = await watch.until(
        metadata.name,
        (object) => object?.status?.phase === "Copying",
        failureOf,
      );
      const ended = await watch.until(
        metadata.name,
        (object) => object?.status?.phase === "Succeeded",
        failureOf,
      );
      const migration = await stage.read(virtualMachineMigrations, metadata.name);
      samples.push({
        ms: ended - began,
        preparingMs: copying - began,
        downtimeMs: migration?.status?.downtimeMilliseconds ?? Number.NaN,
      });
      await stage.until(virtualMachines, name, (machine) => {
        return isReady(machine) && machine.status?.nodeName === migration?.status?.targetNode;
      });
      // Until the node that it has left is tidy, the next one would wait for its turn.
      await stage.until(virtualMachineMigrations, metadata.name, (object) => {
        return (object.metadata.finalizers ?? []).length === 0;
      });
    }
  } finally {
    await watch.close();
  }
  return {
    ms: median(samples.map(({ ms }) => ms)),
    preparingMs: median(samples.map(({ preparingMs }) => preparingMs)),
    downtimeMs: median(samples.map(({ downtimeMs }) => downtimeMs)),
  };
};

/** What the guest's domain names on its node. */
interface Parts {
  readonly domain: string;
  readonly tap: string;
  readonly disk: string;
  readonly image: string;
  readonly sizeBytes: number;
}

const partsOf = async ({ node, vmUid }: Guest): Promise<Parts> => {
  const domain = `vireo-${vmUid}`;
  const xml = await node.virsh(["dumpxml", domain]);
  const [, tap = ""] = /<target dev='(vtap[0-9a-f]+)'/.exec(xml) ?? [];
  const [, disk = ""] = /<source file='([^']*\/disks\/[^']*)'/.exec(xml) ?? [];
  const said = await node.run(["qemu-img", "info", "--force-share", "--output=json", disk]);
  const info = JSON.parse(said) as Record<string, string | number>;
  return {
    domain,
    tap,
    disk,
    image: String(info["full-backing-filename"]),
    sizeBytes: Number(info["virtual-size"]),
  };
};

/** By hand: the tap, the seed, and an empty disk on the same image. */
const prepareByHand = async (from: TestNode, to: TestNode, { vmUid }: Guest, parts: Parts): Promise<void> => {
  const { tap, disk, image, sizeBytes } = parts;
  const taps = await to.run(["ip", "-o", "link", "show"]);
  if (!taps.includes(tap)) await to.run(["ip", "tuntap", "add", tap, "mode", "tap", "vnet_hdr"]);
  await to.run(["ip", "link", "set", tap, "mtu", "1450", "up"]);
  const seed = join("seeds", vmUid);
  await cp(join(from.stateDirectory, seed), join(to.stateDirectory, seed), { recursive: true });
  await to.run(["mkdir", "-p", dirname(disk)]);
  await to.run(["rm", "-f", disk]);
  await to.run([
    "qemu-img",
    "create",
    "-q",
    "-f",
    "qcow2",
    "-b",
    image,
    "-F",
    "qcow2",
    disk,
    String(sizeBytes),
  ]);
};

const uriOf = (node: TestNode): string => `qemu+unix:///system?socket=${node.libvirtSocket}`;

/** What is in "Total downtime:  123 ms". */
const downtimeIn = (jobInfo: string): number => {
  const [, value, unit] = /Total downtime:\s+([0-9.]+)\s+(m?s)/.exec(jobInfo) ?? [];
  return Number(value) * (unit === "s" ? 1000 : 1);
};

/** To the other node and back, so often that the guest ends where it was. */
const moveByVirsh = async (
  { from, to, parts, guest }: ByHand,
  options: readonly string[],
): Promise<MigrationTimes> => {
  const samples: MigrationTimes[] = [];
  for (let move = 0; move < MOVES; move += 1) {
    const [source, target] = move % 2 === 0 ? [from, to] : [to, from];
    await prepareByHand(source, target, guest, parts);
    const began = performance.now();
    await run("virsh", [
      "--connect",
      uriOf(source),
      "migrate",
      "--live",
      "--copy-storage-inc",
      "--persistent",
      "--undefinesource",
      "--auto-converge",
      ...options,
      `--domain=${parts.domain}`,
      `--desturi=${uriOf(target)}`,
      `--migrateuri=tcp://${target.address}`,
    ]);
    const ms = performance.now() - began;
    const said = await target.virsh(["domjobinfo", "--completed", parts.domain]);
    samples.push({ ms, downtimeMs: downtimeIn(said) });
  }
  return {
    ms: median(samples.map(({ ms }) => ms)),
    downtimeMs: median(samples.map(({ downtimeMs }) => downtimeMs)),
  };
};

interface ByHand {
  readonly guest: Guest;
  readonly parts: Parts;
  readonly from: TestNode;
  readonly to: TestNode;
}

/** The same guest between the same libvirts, by libvirt's own client; agents and controller are away. */
const moveByHand = async (
  { testbed }: Stage,
  guest: Guest,
): Promise<Pick<MigrationCost, "virsh" | "virshTls">> => {
  const programs = [testbed.controller, ...testbed.agents];
  const parts = await partsOf(guest);
  const to = testbed.nodes.find((node) => node !== guest.node) ?? guest.node;
  const hand = { guest, parts, from: guest.node, to };
  for (const program of programs) await program.kill("SIGKILL");
  const virsh = await moveByVirsh(hand, []);
  await offerMigrationTls(testbed.nodes);
  const virshTls = await moveByVirsh(hand, ["--tls"]);
  await to.run(["ip", "link", "delete", parts.tap]);
  await to.run(["rm", "-r", dirname(parts.disk)]);
  await rm(join(to.stateDirectory, "seeds", guest.vmUid), { recursive: true });
  for (const program of programs) await program.start();
  for (const program of programs) await program.ready();
  return { virsh, virshTls };
};

/** Moves a guest to and fro, by Vireo and by `virsh migrate`. */
export const measureMigration = async (stage: Stage, name: string): Promise<MigrationCost> => {
  const vireo = await moveByVireo(stage, name);
  const byHand = await moveByHand(stage, await guestOf(stage, name));
  await stage.until(virtualMachines, name, isReady);
  return { vireo, ...byHand };
};

/**
 * What the libvirt client costs, in proportions that mean the same on any
 * machine. Needs root and libvirtd, which it starts for itself.
 */
import { openLibvirt, type DomainRef, type LibvirtClient } from "../src/libvirt/index.ts";
import { daemonKinds } from "../test/contract/libvirt/daemons.ts";
import { guestXml } from "../test/contract/libvirt/guest-xml.ts";
import { run } from "../test/testbed/programs.ts";

const ROUNDS = 7;
const OPERATIONS = 512;
const AT_A_TIME = 64;

interface Measurement {
  readonly operations: number;
  readonly run: () => Promise<unknown>;
}

/**
 * The best time of each measurement, in ms per operation. The rounds of all
 * are interleaved, so that other work on the machine falls on all of them; it
 * only ever adds, so the best is the truest.
 */
const bestOf = async <K extends string>(
  measurements: Readonly<Record<K, Measurement>>,
): Promise<Record<K, number>> => {
  const best: Partial<Record<K, number>> = {};
  for (let round = 0; round < ROUNDS; round += 1) {
    for (const name of Object.keys(measurements) as K[]) {
      const startedAt = performance.now();
      await measurements[name].run();
      const took = (performance.now() - startedAt) / measurements[name].operations;
      best[name] = Math.min(took, best[name] ?? Number.POSITIVE_INFINITY);
    }
  }
  return best as Record<K, number>;
};

const lookAndAsk = async (client: LibvirtClient, { uuid }: DomainRef): Promise<void> => {
  const found = await client.lookupDomain(uuid);
  if (found !== undefined) await client.domainState(found);
};

const oneByOne = async (client: LibvirtClient, guest: DomainRef, operations: number): Promise<void> => {
  for (let index = 0; index < operations; index += 1) await lookAndAsk(client, guest);
};

const together = async (client: LibvirtClient, guest: DomainRef): Promise<void> => {
  const each = OPERATIONS / AT_A_TIME;
  await Promise.all(Array.from({ length: AT_A_TIME }, () => oneByOne(client, guest, each)));
};

const report = (what: string, ratio: number): void => {
  console.log(`${what.padEnd(78)} ${ratio.toFixed(2)}`);
};

const [, real] = daemonKinds;
if (real === undefined) throw new Error("there is no real libvirtd among the kinds of daemons");
const daemon = await real.start();
const client = openLibvirt({ socketPath: daemon.socketPath });
try {
  await client.whenConnected();
  const guest = await client.createTransientDomain(guestXml("bench"));
  const virsh = ["--connect", `qemu+unix:///system?socket=${daemon.socketPath}`, "domstate", guest.uuid];

  const alone: Measurement = { operations: OPERATIONS, run: () => oneByOne(client, guest, OPERATIONS) };
  const { single, concurrent, shell } = await bestOf({
    single: alone,
    concurrent: { operations: OPERATIONS, run: () => together(client, guest) },
    shell: { operations: 1, run: () => run("virsh", virsh) },
  });
  report("virsh domstate : look-up and state here", shell / single);
  report(`one at a time : ${AT_A_TIME} at a time, time per operation`, single / concurrent);

  const unblock = await daemon.block(guest);
  const stuck = Array.from({ length: 20 }, () => client.suspendDomain(guest).catch(() => {}));
  const { beside } = await bestOf({ beside: alone });
  report("beside 20 calls that a stuck guest blocks : alone, time per operation", beside / single);
  await unblock();
  await Promise.all(stuck);
  await client.destroyDomain(guest);
} finally {
  await client.close();
  await daemon.stop();
}

import { afterAll, beforeAll, describe, expect, test } from "@jest/globals";

import type { MigrationPhase } from "../../../src/api/virtual-machine-migration.ts";
import { domainName } from "../../../src/node-agent/domains/index.ts";
import {
  decide,
  type Departure,
  type DomainStanding,
  type MigrationRole,
  type TargetAgent,
} from "../../../src/node-agent/migrations/index.ts";
import { waitFor } from "../../testbed/wait.ts";
import { type End, Pair, PATIENCE_MS, signal, type Traveller } from "./pair.ts";

let pair: Pair;
/** Stays at the source through every migration but its last. */
let guest: Traveller;

beforeAll(async () => {
  pair = await Pair.start();
  guest = await pair.traveller();
}, PATIENCE_MS);
afterAll(() => pair.stop(), PATIENCE_MS);

const endOf = (role: MigrationRole): End => (role === "source" ? pair.source : pair.target);

const standsAs = (role: MigrationRole, { vmUid }: Traveller, standing: DomainStanding) =>
  waitFor(
    `the guest is ${standing} at the ${role}`,
    async () => {
      const found = await endOf(role).migrations.observe(role, vmUid, { signal });
      if (found !== standing) throw new Error(`it is ${found}`);
      return true;
    },
    { timeoutMs: 60_000 },
  );

/** What the agent of that end does once the migration is in that phase, until it does nothing any more. */
const settle = async (role: MigrationRole, phase: MigrationPhase, traveller: Traveller): Promise<void> => {
  const { vmUid, migrationUid } = traveller;
  await waitFor(
    `the ${role} is settled in phase ${phase}`,
    async () => {
      const { migrations, domains } = endOf(role);
      const session =
        role === "source" ? migrations.outgoing(migrationUid) : migrations.incoming(migrationUid);
      const step = decide({
        role,
        phase,
        live: true,
        targetReady: true,
        isGivenUp: false,
        session: session?.state() ?? "none",
        domain: await migrations.observe(role, vmUid, { signal }),
        isOwner: false,
        isReleased: false,
      });
      if (step === "confirm" || step === "cancel") {
        await migrations.outgoing(migrationUid)?.[step]({ signal });
        await migrations.forget(migrationUid);
      } else if (step === "cancel-job") await migrations.cancelJob(vmUid, { signal });
      else if (step === "resume") await migrations.resume(vmUid, { signal });
      else if (step === "clean-up" || step === "discard") {
        await migrations.forget(migrationUid);
        await domains.remove(vmUid, { signal });
        return true;
      } else return step === "none";
      return false;
    },
    { timeoutMs: 60_000 },
  );
};

/** Begins to move the guest so slowly that there is time to step in. */
const departSlowly = async (traveller: Traveller, changes: Partial<Departure & TargetAgent> = {}) => {
  const moving = Promise.withResolvers<void>();
  traveller.depart({
    bandwidthMiBps: 1,
    onProgress: ({ remainingMiB }) => {
      if (remainingMiB > 0) moving.resolve();
    },
    onEnd: () => moving.reject(new Error("it is over already")),
    ...changes,
  });
  await moving.promise;
};

describe("while it is copied", () => {
  test.each<[string, () => Promise<void>]>([
    ["somebody cancels", async () => {}],
    ["the source's agent is killed", () => pair.source.restartAgent()],
    ["the target's agent is killed", () => pair.target.restartAgent()],
    [
      "the source's libvirtd is killed",
      async () => {
        await pair.source.node.killLibvirtd("SIGKILL");
        await pair.source.node.startLibvirtd();
        await pair.source.reconnected();
      },
    ],
    [
      "the target's libvirtd is killed",
      async () => {
        await pair.target.node.killLibvirtd("SIGKILL");
        await pair.target.node.startLibvirtd();
        await pair.target.reconnected();
      },
    ],
  ])(
    "%s: the guest goes on where it was, and nothing of it is at the target",
    async (_what, happen) => {
      const traveller = pair.again(guest);
      await departSlowly(traveller);
      await happen();
      await settle("source", "Failed", traveller);
      await settle("target", "Failed", traveller);
      await standsAs("source", traveller, "running");
      await standsAs("target", traveller, "absent");
      await using shell = await traveller.shell(pair.source);
      expect(await shell.run("echo alive")).toBe("alive");
    },
    PATIENCE_MS,
  );
});

test(
  "QEMU stops the guest only for a tenth of what is allowed at first",
  async () => {
    const traveller = pair.again(guest);
    await departSlowly(traveller, { maxDowntimeMilliseconds: 1_230 });
    const { node } = pair.source;
    expect((await node.virsh(["migrate-getmaxdowntime", domainName(traveller.vmUid)])).trim()).toBe("123");
    await settle("source", "Failed", traveller);
    await settle("target", "Failed", traveller);
  },
  PATIENCE_MS,
);

describe("when the guest stands still and the target is to let it go on", () => {
  const departAndLose = async (traveller: Traveller, happen: () => Promise<void>): Promise<void> => {
    const over = Promise.withResolvers<void>();
    traveller.depart({
      finish: async () => {
        await happen();
        throw new Error("no answer");
      },
      onEnd: over.resolve,
    });
    await over.promise;
  };

  test.each<[string, () => Promise<void>]>([
    ["the target's agent is killed", () => pair.target.restartAgent()],
    [
      "the source's agent, and then the target's",
      async () => {
        await pair.source.restartAgent();
        await pair.target.restartAgent();
      },
    ],
  ])(
    "%s before it has asked its libvirt: the target tells that the guest has not come, and it goes on where it was",
    async (_what, happen) => {
      const traveller = pair.again(guest);
      await departAndLose(traveller, happen);
      await standsAs("target", traveller, "absent");
      expect(await pair.source.migrations.observe("source", traveller.vmUid, { signal })).not.toBe("running");
      await settle("source", "Failed", traveller);
      await standsAs("source", traveller, "running");
      await using shell = await traveller.shell(pair.source);
      expect(await shell.run("echo alive")).toBe("alive");
    },
    PATIENCE_MS,
  );

  test(
    "the source's agent is killed, the guest runs at the target only, and a fresh agent cleans up",
    async () => {
      const traveller = await pair.traveller();
      const arrived = Promise.withResolvers<void>();
      const agent = pair.targetAgent(traveller);
      traveller.depart({
        ...agent,
        finish: async (cookie, options) => {
          await pair.source.restartAgent();
          const answer = await agent.finish(cookie, options);
          arrived.resolve();
          return answer;
        },
      });
      await arrived.promise;
      await standsAs("target", traveller, "running");
      await settle("source", "Switching", traveller);
      await standsAs("source", traveller, "left");
      await settle("source", "Succeeded", traveller);
      await standsAs("source", traveller, "absent");
      await using shell = await traveller.shell(pair.target);
      expect(await shell.run("echo alive")).toBe("alive");
    },
    PATIENCE_MS,
  );
});

test(
  "a guest moves with its memory, what it has written, and the frozen layer under that",
  async () => {
    const traveller = pair.again(guest);
    {
      await using shell = await traveller.shell(pair.source);
      await shell.run("echo remembered > /dev/shm/note || echo remembered > /tmp/note");
      expect(await shell.run("echo kept > /root/file; sync; cat /root/file")).toBe("kept");
    }
    traveller.depart();
    await standsAs("target", traveller, "running");
    expect(pair.source.migrations.outgoing(traveller.migrationUid)?.failure()).toBeUndefined();
    await settle("source", "Succeeded", traveller);
    await standsAs("source", traveller, "absent");
    await using shell = await traveller.shell(pair.target);
    expect(await shell.run("cat /dev/shm/note /tmp/note 2>/dev/null | head -1")).toBe("remembered");
    expect(await shell.run("echo 3 > /proc/sys/vm/drop_caches; cat /root/file")).toBe("kept");
    expect(await pair.target.migrations.downtimeOf(traveller.vmUid, { signal })).toBeGreaterThan(0);
  },
  PATIENCE_MS,
);

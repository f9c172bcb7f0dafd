import { afterAll, afterEach, beforeAll, expect, test } from "@jest/globals";

import type { DomainStanding } from "../../../src/node-agent/migrations/index.ts";
import { waitFor } from "../../testbed/wait.ts";
import { type End, Pair, PATIENCE_MS, signal, type Traveller } from "./pair.ts";

let pair: Pair;

beforeAll(async () => {
  pair = await Pair.start();
}, PATIENCE_MS);
afterAll(() => pair.stop(), PATIENCE_MS);
afterEach(() => pair.reset(), PATIENCE_MS);

const standsAs = (end: End, role: "source" | "target", { vmUid }: Traveller, standing: DomainStanding) =>
  waitFor(`the guest is ${standing} at the ${role}`, async () => {
    const found = await end.migrations.observe(role, vmUid, { signal });
    if (found !== standing) throw new Error(`it is ${found}`);
    return true;
  });

test(
  "a guest moves with its memory, what it has written, and the frozen layer under that",
  async () => {
    const traveller = await pair.traveller();
    {
      await using shell = await traveller.shell(pair.source);
      await shell.run("echo remembered > /dev/shm/note || echo remembered > /tmp/note");
      expect(await shell.run("echo kept > /root/file; sync; cat /root/file")).toBe("kept");
    }
    traveller.depart();
    await standsAs(pair.target, "target", traveller, "running");
    const session = pair.source.migrations.outgoing(traveller.migrationUid);
    expect(session?.failure()).toBeUndefined();
    await session?.confirm({ signal });
    await standsAs(pair.source, "source", traveller, "off");
    await using shell = await traveller.shell(pair.target);
    expect(await shell.run("cat /dev/shm/note /tmp/note 2>/dev/null | head -1")).toBe("remembered");
    expect(await shell.run("echo 3 > /proc/sys/vm/drop_caches; cat /root/file")).toBe("kept");
    expect(await pair.target.migrations.downtimeOf(traveller.vmUid, { signal })).toBeGreaterThan(0);
  },
  PATIENCE_MS,
);

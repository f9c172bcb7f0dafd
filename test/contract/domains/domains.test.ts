import { randomUUID } from "node:crypto";
import { readdir } from "node:fs/promises";
import { join } from "node:path";

import { afterAll, afterEach, beforeAll, describe, expect, test } from "@jest/globals";

import { ErrorCode } from "../../../src/libvirt/index.ts";
import {
  type Domain,
  DomainRefusedError,
  type ObservedDomain,
} from "../../../src/node-agent/domains/index.ts";
import { waitFor } from "../../testbed/wait.ts";
import { hostKinds, type TestHost } from "./hosts.ts";

const signal = new AbortController().signal;
/** An emulated guest on a busy machine takes its time. */
const PATIENCE_MS = 180_000;

describe.each(hostKinds)("domains, with $name", (kind) => {
  let host: TestHost;
  const uids: string[] = [];

  const machine = (changes: Partial<Domain> = {}): Promise<Domain> => {
    const vmUid = randomUUID();
    uids.push(vmUid);
    return host.prepare(vmUid, changes);
  };
  const observe = (vmUid: string): Promise<ObservedDomain | undefined> =>
    host.domains.observe(vmUid, { signal });
  const whenOff = (vmUid: string): Promise<unknown> =>
    waitFor(
      `machine ${vmUid} is off`,
      async () => {
        const seen = await observe(vmUid);
        if (seen?.exit !== undefined) return true;
        throw new Error(JSON.stringify(seen));
      },
      { timeoutMs: 60_000 },
    );
  const consoleLogs = (): Promise<readonly string[]> =>
    readdir(join(host.stateDirectory, "consoles")).catch(() => []);

  beforeAll(async () => {
    host = await kind.start();
    await host.libvirt.whenConnected({ signal });
  }, PATIENCE_MS);
  afterAll(() => host.stop());
  afterEach(async () => {
    for (const vmUid of uids.splice(0)) await host.domains.remove(vmUid, { signal });
  });

  test(
    "a guest starts, is seen running, is destroyed, starts again, and is removed with all it left",
    async () => {
      const { domains } = host;
      const want = await machine();
      const { vmUid } = want;
      expect(await observe(vmUid)).toBeUndefined();
      await domains.start(want, { signal });
      expect(await observe(vmUid)).toMatchObject({ vmUid, powerState: "Running" });
      expect(await domains.list({ signal })).toEqual([{ vmUid, powerState: "Running" }]);
      await domains.destroy(vmUid, { signal });
      expect(await observe(vmUid)).toEqual({ vmUid, powerState: "ShutOff", exit: "Stopped" });
      await domains.start(want, { signal });
      expect(await observe(vmUid)).toMatchObject({ vmUid, powerState: "Running" });
      await domains.remove(vmUid, { signal });
      expect(await observe(vmUid)).toBeUndefined();
      expect(await domains.list({ signal })).toEqual([]);
      expect(await consoleLogs()).toEqual([]);
    },
    PATIENCE_MS,
  );

  test(
    "the power button lets the guest shut itself down",
    async () => {
      const want = await machine();
      await host.domains.start(want, { signal });
      await host.whenBooted(want.vmUid);
      await host.domains.shutdown(want.vmUid, { signal });
      await whenOff(want.vmUid);
      expect(await observe(want.vmUid)).toMatchObject({ powerState: "ShutOff", exit: "GuestShutdown" });
      await host.domains.shutdown(want.vmUid, { signal });
    },
    PATIENCE_MS,
  );

  test(
    "a guest whose process dies counts as crashed",
    async () => {
      const want = await machine();
      await host.domains.start(want, { signal });
      await host.crash(want.vmUid);
      await whenOff(want.vmUid);
      expect(await observe(want.vmUid)).toMatchObject({ powerState: "ShutOff", exit: "Crashed" });
    },
    PATIENCE_MS,
  );

  test(
    "the guest agent of a guest that runs none does not answer, and says so",
    async () => {
      const want = await machine();
      const ask = () => host.domains.askAgent(want.vmUid, '{"execute":"guest-ping"}', { signal, seconds: 1 });
      await expect(ask()).rejects.toThrow(`there is no guest vireo-${want.vmUid}`);
      await host.domains.start(want, { signal });
      await expect(ask()).rejects.toMatchObject({
        name: "LibvirtError",
        code: ErrorCode.AGENT_UNRESPONSIVE,
        message: expect.stringMatching(/agent/i),
      });
    },
    PATIENCE_MS,
  );

  test(
    "every verb may be repeated",
    async () => {
      const want = await machine();
      const { vmUid } = want;
      const { domains } = host;
      await domains.start(want, { signal });
      const before = await host.libvirt.lookupDomain(vmUid);
      await domains.start(want, { signal });
      expect(await host.libvirt.lookupDomain(vmUid)).toEqual(before);
      for (let i = 0; i < 2; i += 1) await domains.destroy(vmUid, { signal });
      for (let i = 0; i < 2; i += 1) await domains.shutdown(vmUid, { signal });
      for (let i = 0; i < 2; i += 1) await domains.remove(vmUid, { signal });
      await domains.destroy(vmUid, { signal });
      await domains.shutdown(vmUid, { signal });
      expect(await observe(vmUid)).toBeUndefined();
    },
    PATIENCE_MS,
  );

  test(
    "a running guest is removed at once, and two removals at the same time do not disturb each other",
    async () => {
      const want = await machine();
      await host.domains.start(want, { signal });
      await Promise.all([1, 2].map(() => host.domains.remove(want.vmUid, { signal })));
      expect(await observe(want.vmUid)).toBeUndefined();
    },
    PATIENCE_MS,
  );

  test(
    "a guest that was defined and never started is started as it is wanted now",
    async () => {
      const want = await machine();
      await host.libvirt.defineDomain(
        `<domain type="qemu"><name>vireo-${want.vmUid}</name><uuid>${want.vmUid}</uuid><memory unit="MiB">64</memory><os><type>hvm</type></os></domain>`,
      );
      expect(await observe(want.vmUid)).toEqual({
        vmUid: want.vmUid,
        powerState: "ShutOff",
        exit: "Unknown",
      });
      await host.domains.start(want, { signal });
      const ref = await host.libvirt.lookupDomain(want.vmUid);
      expect(ref && (await host.libvirt.domainXml(ref))).toContain("shop/web-1");
    },
    PATIENCE_MS,
  );

  test(
    "names that users chose arrive in libvirt as they are",
    async () => {
      const name = `x"'><&]]>\u0000\n💥</title>`;
      const want = await machine({ namespace: "../..", name });
      await host.domains.start(want, { signal });
      const ref = await host.libvirt.lookupDomain(want.vmUid);
      const xml = ref === undefined ? "" : await host.libvirt.domainXml(ref);
      const title = /<title>(.*)<\/title>/.exec(xml)?.[1] ?? "";
      const text = title
        .replaceAll("&lt;", "<")
        .replaceAll("&gt;", ">")
        .replaceAll("&quot;", '"')
        .replaceAll("&apos;", "'")
        .replaceAll("&amp;", "&");
      expect(text).toBe(`../../x"'><&]]>\ufffd\ufffd💥</title>`);
    },
    PATIENCE_MS,
  );

  test.each<[string, (vmUid: string) => { name: string; uuid: string }]>([
    ["our name under another UUID", (vmUid) => ({ name: `vireo-${vmUid}`, uuid: randomUUID() })],
    ["our UUID under another name", (vmUid) => ({ name: `copy-of-${vmUid}`, uuid: vmUid })],
  ])(
    "a stranger's domain with %s is not ours, is left alone, and stands in the way",
    async (_what, identity) => {
      const want = await machine();
      const { name, uuid } = identity(want.vmUid);
      const stranger = await host.libvirt.defineDomain(
        `<domain type="qemu"><name>${name}</name><uuid>${uuid}</uuid><memory unit="MiB">64</memory><os><type>hvm</type></os></domain>`,
      );
      try {
        expect(await host.domains.list({ signal })).toEqual([]);
        expect(await observe(want.vmUid)).toBeUndefined();
        await expect(host.domains.start(want, { signal })).rejects.toThrow(DomainRefusedError);
        await host.domains.remove(want.vmUid, { signal });
        expect(await host.libvirt.lookupDomain(uuid)).toMatchObject({ name });
      } finally {
        await host.libvirt.undefineDomain(stranger);
      }
    },
    PATIENCE_MS,
  );

  test(
    "changes are told with the machine's UID, and a new connection as a change of all",
    async () => {
      const told: string[] = [];
      const stop = host.domains.onChange((vmUid) => told.push(vmUid));
      const want = await machine();
      await host.domains.start(want, { signal });
      await waitFor("the start is told", () => told.includes(want.vmUid));
      told.length = 0;
      await host.killDaemon();
      await waitFor("the loss is noticed", () => !host.libvirt.connected);
      await expect(observe(want.vmUid)).rejects.toThrow();
      await host.restartDaemon();
      await waitFor("the reconnection is told", () => told.includes("all"));
      expect(await observe(want.vmUid)).toMatchObject({ vmUid: want.vmUid, powerState: "Running" });
      stop();
      told.length = 0;
      await host.domains.destroy(want.vmUid, { signal });
      expect(told).toEqual([]);
    },
    PATIENCE_MS,
  );
});

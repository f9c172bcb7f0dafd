import { randomUUID } from "node:crypto";

import { afterAll, afterEach, beforeAll, describe, expect, test } from "@jest/globals";

import {
  BlockJobStatus,
  connectLibvirt,
  DomainBlockCommitFlags,
  DomainBlockJobAbortFlags,
  DomainBlockJobType,
  DomainSnapshotCreateFlags,
  type DomainEvents,
  type DomainRef,
  type LibvirtConnection,
} from "../../../src/libvirt/index.ts";
import { waitFor } from "../../testbed/wait.ts";
import { daemonKinds, type TestDaemon } from "./daemons.ts";
import { diskXml, guestXml, SCSI_CONTROLLER, sourceOf } from "./guest-xml.ts";

const { DISK_ONLY, NO_METADATA, ATOMIC, REUSE_EXT } = DomainSnapshotCreateFlags;

describe.each(daemonKinds)("$name", (kind) => {
  let daemon: TestDaemon;
  let libvirt: LibvirtConnection;
  const jobs: DomainEvents["blockJob2"][] = [];

  beforeAll(async () => {
    daemon = await kind.start();
    libvirt = await connectLibvirt({ socketPath: daemon.socketPath });
    await libvirt.subscribe("blockJob2", (event) => jobs.push(event));
  });

  afterAll(async () => {
    await libvirt.close();
    await daemon.stop();
  });

  afterEach(async () => {
    for (const domain of await libvirt.listDomains()) await libvirt.destroyDomain(domain);
    jobs.length = 0;
  });

  const source = async (domain: DomainRef) => sourceOf(await libvirt.domainXml(domain), "sda");
  const ended = (type: number, status: number) =>
    waitFor("the event of the job", () => jobs.find((job) => job.type === type && job.status === status));

  /** Puts a layer that has been made before on top of the disk, as a snapshot. */
  const putLayer = async (domain: DomainRef, name: string, backing: string): Promise<string> => {
    const layer = await daemon.image(name, { sizeMib: 4, backing });
    const disk = `<disk name='sda' snapshot='external'><driver type='qcow2'/><source file='${layer}'/></disk>`;
    const xml = `<domainsnapshot><name>${name}</name><disks>${disk}</disks></domainsnapshot>`;
    const flags = DISK_ONLY | NO_METADATA | ATOMIC | REUSE_EXT;
    expect(await libvirt.createSnapshot(domain, xml, { flags })).toBe(name);
    return layer;
  };

  /** A guest that writes `top`, which stands on `middle`, which stands on `base`. */
  const startWithLayers = async () => {
    const base = await daemon.image("base", { sizeMib: 4, writtenMib: 4 });
    const domain = await libvirt.createTransientDomain(
      guestXml("guest", randomUUID(), SCSI_CONTROLLER + diskXml(base, "sda")),
    );
    const middle = await putLayer(domain, "middle", base);
    const top = await putLayer(domain, "top", middle);
    return { domain, base, middle, top };
  };

  test("a snapshot puts a layer on the disk, which the guest writes from then on", async () => {
    const { domain, top } = await startWithLayers();
    expect(await source(domain)).toBe(top);
  });

  test("a rebase pulls what is above the base into the layer that the guest writes", async () => {
    const { domain, base, top } = await startWithLayers();
    await libvirt.blockRebase(domain, "sda", { base });
    expect(await ended(DomainBlockJobType.PULL, BlockJobStatus.COMPLETED)).toMatchObject({
      domain: { uuid: domain.uuid },
      disk: "sda",
    });
    expect(await source(domain)).toBe(top);
    expect(await libvirt.blockJobInfo(domain, "sda")).toBeUndefined();
  });

  test("a commit writes a layer in the middle into the one below", async () => {
    const { domain, base, middle, top } = await startWithLayers();
    await libvirt.blockCommit(domain, "sda", { base, top: middle });
    await ended(DomainBlockJobType.COMMIT, BlockJobStatus.COMPLETED);
    expect(await source(domain)).toBe(top);
  });

  test("a commit of the layer that the guest writes waits until it is told to go over", async () => {
    const { domain, base } = await startWithLayers();
    await libvirt.blockCommit(domain, "sda", { base, flags: DomainBlockCommitFlags.ACTIVE });
    await ended(DomainBlockJobType.ACTIVE_COMMIT, BlockJobStatus.READY);
    expect(await libvirt.blockJobInfo(domain, "sda")).toMatchObject({
      type: DomainBlockJobType.ACTIVE_COMMIT,
    });
    await libvirt.abortBlockJob(domain, "sda", { flags: DomainBlockJobAbortFlags.PIVOT });
    await ended(DomainBlockJobType.ACTIVE_COMMIT, BlockJobStatus.COMPLETED);
    expect(await source(domain)).toBe(base);
  });

  test("a job with a limit takes its time, allows no second one, and can be ended", async () => {
    const { domain, top } = await startWithLayers();
    await libvirt.blockRebase(domain, "sda", { bandwidth: 65_536n });
    expect(await libvirt.blockJobInfo(domain, "sda")).toMatchObject({ type: DomainBlockJobType.PULL });
    await expect(libvirt.blockRebase(domain, "sda")).rejects.toMatchObject({ name: "LibvirtError" });
    await libvirt.abortBlockJob(domain, "sda");
    await ended(DomainBlockJobType.PULL, BlockJobStatus.CANCELED);
    expect(await libvirt.blockJobInfo(domain, "sda")).toBeUndefined();
    expect(await source(domain)).toBe(top);
  });
});

import { DomainSaveRestoreFlags, DomainSnapshotCreateFlags, ErrorCode } from "../../src/libvirt/index.ts";
import { found, type Answers, type Context } from "./libvirt-context.ts";
import { diskOf, nameIn, overlaysIn, replaceDevice, withSourceFile } from "./libvirt-devices.ts";
import { FakeLibvirtError, refOf, type FakeDomain } from "./libvirt-domains.ts";

const frozen = (domain: FakeDomain, { domains }: Context): { readonly filesystems: number } => {
  domains.assertRunning(domain);
  if (domain.agent !== undefined) return { filesystems: 1 };
  throw domain.xml.includes("org.qemu.guest_agent.0")
    ? new FakeLibvirtError(
        ErrorCode.AGENT_UNRESPONSIVE,
        "Guest agent is not responding: QEMU guest agent is not connected",
      )
    : new FakeLibvirtError(ErrorCode.ARGUMENT_UNSUPPORTED, "QEMU guest agent is not configured");
};

const imageOf = ({ domains }: Context, file: string): string => {
  const xml = domains.saveImages.get(file);
  if (xml !== undefined) return xml;
  throw new FakeLibvirtError(
    ErrorCode.SYSTEM_ERROR,
    `Failed to open file '${file}': No such file or directory`,
  );
};

/** What the fake does for snapshots and save images, which it only remembers. */
export const snapshotAnswers = {
  domainSnapshotCreateXml: (args, context) => {
    const domain = found(context, args);
    const { xmlDesc, flags } = args;
    if ((flags & DomainSnapshotCreateFlags.QUIESCE) !== 0) frozen(domain, context);
    for (const { disk, file } of overlaysIn(xmlDesc)) {
      const before = diskOf(domain.xml, disk);
      domain.xml = replaceDevice(domain.xml, before, withSourceFile(before, file));
    }
    const memory = /<memory\b[^>]*\bfile=["']([^"']*)["']/.exec(xmlDesc)?.[1];
    if (memory !== undefined) context.domains.saveImages.set(memory, domain.xml);
    return { snap: { name: nameIn(xmlDesc) ?? "1700000000", dom: refOf(domain) } };
  },
  domainSaveFlags: (args, context) => {
    const domain = found(context, args);
    context.domains.assertRunning(domain);
    context.domains.saveImages.set(args.to, args.dxml ?? domain.xml);
    context.domains.saved(domain);
  },
  domainRestoreFlags: ({ from, dxml, flags }, context) => {
    const xml = dxml ?? imageOf(context, from);
    context.domains.restore(xml, (flags & DomainSaveRestoreFlags.PAUSED) !== 0);
  },
  domainSaveImageGetXmlDesc: ({ file }, context) => ({ xml: imageOf(context, file) }),
  domainSaveImageDefineXml: ({ file, dxml }, context) => {
    imageOf(context, file);
    context.domains.saveImages.set(file, dxml);
  },
  domainFsfreeze: (args, context) => frozen(found(context, args), context),
  domainFsthaw: (args, context) => frozen(found(context, args), context),
} satisfies Partial<Answers>;

import { DomainVcpuFlags, ErrorCode } from "../../src/libvirt/index.ts";
import { found, type Answers, type Context } from "./libvirt-context.ts";
import {
  aliasOf,
  deviceLike,
  deviceWithAlias,
  diskOf,
  memoryKibIn,
  replaceDevice,
  vcpusIn,
  withDevice,
  withoutDevice,
  withVcpus,
} from "./libvirt-devices.ts";
import { FakeLibvirtError, type FakeDomain } from "./libvirt-domains.ts";

/** An image of one grey pixel: what every screen of the fake shows. */
export const SCREEN = Buffer.concat([Buffer.from("P6\n1 1\n255\n"), Buffer.from([127, 127, 127])]);

const detach = ({ domains }: Context, domain: FakeDomain, device: string): void => {
  domains.assertRunning(domain);
  const letGo = (): void => {
    domain.xml = withoutDevice(domain.xml, device);
    domains.tell("deviceRemoved", domain, (dom) => ({ msg: { dom, devAlias: aliasOf(device) } }));
  };
  if (domain.clings === true) domain.heldDevices.push(letGo);
  else letGo();
};

/** What the fake does with devices, vCPUs and memory. */
export const deviceAnswers = {
  domainAttachDeviceFlags: (args, context) => {
    const domain = found(context, args);
    context.domains.assertRunning(domain);
    domain.xml = withDevice(domain.xml, args.xml);
  },
  domainDetachDeviceFlags: (args, context) => {
    const domain = found(context, args);
    detach(context, domain, deviceLike(domain.xml, args.xml));
  },
  domainDetachDeviceAlias: (args, context) => {
    const domain = found(context, args);
    detach(context, domain, deviceWithAlias(domain.xml, args.alias));
  },
  domainUpdateDeviceFlags: (args, context) => {
    const domain = found(context, args);
    domain.xml = replaceDevice(domain.xml, deviceLike(domain.xml, args.xml), args.xml);
  },
  domainSetVcpusFlags: (args, context) => {
    const domain = found(context, args);
    context.domains.assertRunning(domain);
    const { maximum } = vcpusIn(domain.xml);
    if (args.nvcpus > maximum) {
      throw new FakeLibvirtError(
        ErrorCode.INVALID_ARG,
        `requested vcpus is greater than max allowable vcpus for the live domain: ${args.nvcpus} > ${maximum}`,
      );
    }
    domain.xml = withVcpus(domain.xml, args.nvcpus);
  },
  domainGetVcpusFlags: (args, context) => {
    const { current, maximum } = vcpusIn(found(context, args).xml);
    return { num: (args.flags & DomainVcpuFlags.MAXIMUM) === 0 ? current : maximum };
  },
  domainSetMemoryFlags: (args, context) => {
    const domain = found(context, args);
    context.domains.assertRunning(domain);
    if (args.memory > memoryKibIn(domain.xml)) {
      throw new FakeLibvirtError(
        ErrorCode.INVALID_ARG,
        "invalid argument: cannot set memory higher than max memory",
      );
    }
    context.domains.tell("balloonChange", domain, (dom) => ({ msg: { dom, actual: args.memory } }));
  },
  domainBlockResize: (args, context) => {
    const domain = found(context, args);
    context.domains.assertRunning(domain);
    diskOf(domain.xml, args.disk);
    domain.diskBytes.set(args.disk, args.size);
  },
  domainScreenshot: (args, context) => {
    context.domains.assertRunning(found(context, args));
    context.stream(SCREEN);
    return { mime: "image/x-portable-pixmap" };
  },
} satisfies Partial<Answers>;

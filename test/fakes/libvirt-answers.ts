import { DomainCreateFlags, DomainXmlFlags, ErrorCode } from "../../src/libvirt/index.ts";
import { blockAnswers } from "./libvirt-block-answers.ts";
import { found, reply, type Answers } from "./libvirt-context.ts";
import { deviceAnswers } from "./libvirt-device-answers.ts";
import { FakeLibvirtError, refOf, type FakeDomain } from "./libvirt-domains.ts";
import { migrationAnswers } from "./libvirt-migration-answers.ts";
import { snapshotAnswers } from "./libvirt-snapshot-answers.ts";

const ok = (): void => {};
const statsOf = ({ state, reason }: FakeDomain): ReadonlyMap<string, number> =>
  new Map([
    ["state.state", state],
    ["state.reason", reason],
  ]);
const FEATURE_KEEPALIVE = 10;

const CAPABILITIES = "<capabilities><host><cpu><arch>x86_64</arch></cpu></host></capabilities>";
const DOMAIN_CAPABILITIES = "<domainCapabilities><domain>qemu</domain></domainCapabilities>";

/** What the fake does for each procedure of the table: one that is missing does not compile. */
export const answers: Answers = {
  ...deviceAnswers,
  ...blockAnswers,
  ...snapshotAnswers,
  ...migrationAnswers,
  authList: (_, { server }) => ({ types: server.options.authTypes ?? [0] }),
  authPolkit: () => ({ complete: 1 }),
  connectOpen: ({ name }) => {
    if (name?.startsWith("qemu") !== true) {
      throw new FakeLibvirtError(38, `no connection driver available for ${name}`);
    }
  },
  connectClose: ok,
  connectGetType: () => ({ type: "QEMU" }),
  connectGetVersion: () => ({ hvVer: 7_002_022n }),
  connectGetLibVersion: () => ({ libVer: 9_000_000n }),
  connectGetHostname: () => ({ hostname: "fake" }),
  connectGetUri: () => ({ uri: "qemu:///system" }),
  connectSupportsFeature: ({ feature }, { server }) => ({
    supported: feature === FEATURE_KEEPALIVE && server.options.keepalive !== false ? 1 : 0,
  }),
  connectGetCapabilities: () => ({ capabilities: CAPABILITIES }),
  connectGetDomainCapabilities: () => ({ capabilities: DOMAIN_CAPABILITIES }),
  connectListAllDomains: (_, { domains }) => {
    const list = domains.all().map(refOf);
    return { domains: list, ret: list.length };
  },
  connectGetAllDomainStats: ({ doms }, { domains }) => {
    const asked = doms.length === 0 ? domains.all() : doms.map(({ uuid }) => domains.byUuid(uuid));
    return { retStats: asked.map((domain) => ({ dom: refOf(domain), params: statsOf(domain) })) };
  },
  connectDomainEventCallbackRegisterAny: ({ eventID }, { register }) => ({ callbackID: register(eventID) }),
  connectDomainEventCallbackDeregisterAny: ok,
  nodeGetInfo: () => ({
    model: "x86_64",
    memory: 4_194_304n,
    cpus: 4,
    mhz: 2_600,
    nodes: 1,
    sockets: 1,
    cores: 2,
    threads: 2,
  }),
  domainLookupByName: ({ name }, { domains }) => reply(domains.byName(name)),
  domainLookupByUuid: ({ uuid }, { domains }) => reply(domains.byUuid(uuid)),
  domainDefineXmlFlags: ({ xml }, { domains }) => reply(domains.define(xml)),
  domainUndefineFlags: (args, context) => context.domains.undefine(found(context, args)),
  domainCreateXml: ({ xmlDesc }, { domains }) => reply(domains.createTransient(xmlDesc)),
  domainCreateWithFlags: (args, context) => {
    const domain = found(context, args);
    context.domains.start(domain, (args.flags & DomainCreateFlags.PAUSED) !== 0);
    return reply(domain);
  },
  domainShutdownFlags: (args, context) => {
    const domain = found(context, args);
    context.domains.assertAwake(domain);
    // The guest obeys, but not before the call has returned.
    setImmediate(() => {
      if (domain.id !== -1) context.domains.powerOff(domain);
    });
  },
  domainDestroyFlags: (args, context) => context.domains.destroy(found(context, args)),
  domainReboot: (args, context) => context.domains.assertRunning(found(context, args)),
  domainReset: (args, context) => context.domains.assertRunning(found(context, args)),
  domainSuspend: (args, context) => context.domains.suspend(found(context, args)),
  domainResume: (args, context) => context.domains.resume(found(context, args)),
  domainGetState: (args, context) => {
    const { state, reason } = found(context, args);
    return { state, reason };
  },
  domainGetInfo: (args, context) => {
    const { state } = found(context, args);
    return { state, maxMem: 65_536n, memory: 65_536n, nrVirtCpu: 1, cpuTime: 0n };
  },
  domainGetXmlDesc: (args, context) => {
    const { id, xml } = found(context, args);
    const isLive = id !== -1 && (args.flags & DomainXmlFlags.INACTIVE) === 0;
    return { xml: isLive ? xml.replace("<domain", () => `<domain id='${id}'`) : xml };
  },
  domainGetTime: (args, context) => {
    context.domains.assertRunning(found(context, args));
    throw new FakeLibvirtError(74, "QEMU guest agent is not configured");
  },
  domainAgentCommand: (args, context) => {
    const domain = found(context, args);
    context.domains.assertRunning(domain);
    if (!domain.xml.includes("org.qemu.guest_agent.0")) {
      throw new FakeLibvirtError(ErrorCode.ARGUMENT_UNSUPPORTED, "QEMU guest agent is not configured");
    }
    const { agent } = domain;
    if (agent === undefined) {
      throw new FakeLibvirtError(
        ErrorCode.AGENT_UNRESPONSIVE,
        "Guest agent is not responding: QEMU guest agent is not connected",
      );
    }
    return { result: JSON.stringify(agent(JSON.parse(args.cmd))) };
  },
  domainMemoryStats: () => ({ stats: [] }),
  domainIsActive: (args, context) => ({ active: found(context, args).id === -1 ? 0 : 1 }),
  domainIsPersistent: (args, context) => ({ persistent: found(context, args).persistent ? 1 : 0 }),
  domainGetAutostart: (args, context) => ({ autostart: found(context, args).autostart ? 1 : 0 }),
  domainSetAutostart: (args, context) => {
    found(context, args).autostart = args.autostart === 1;
  },
};

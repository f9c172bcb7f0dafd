import { blockJobVerbs } from "./block-job-verbs.ts";
import type { CallOnLane, DownloadOnLane } from "./call-on-lane.ts";
import {
  DomainDefineFlags,
  DomainCreateFlags,
  DomainDestroyFlags,
  DomainUndefineFlags,
  DomainXmlFlags,
  GetAllDomainStatsFlags,
  ListDomainsFlags,
} from "./constants.ts";
import { deviceVerbs } from "./device-verbs.ts";
import { ErrorCode } from "./error-code.ts";
import { LibvirtError } from "./errors.ts";
import { migrationVerbs } from "./migration-verbs.ts";
import { procedures } from "./procedures.ts";
import { screenVerbs } from "./screen-verbs.ts";
import { snapshotVerbs } from "./snapshot-verbs.ts";
import type { DomainRef, DomainVerbs, HostVerbs, LibvirtVerbs } from "./types.ts";

/** VIR_DOMAIN_QEMU_AGENT_COMMAND_DEFAULT */
const AGENT_TIMEOUT_DEFAULT = -1;

const UNDEFINE_ALL =
  DomainUndefineFlags.MANAGED_SAVE |
  DomainUndefineFlags.SNAPSHOTS_METADATA |
  DomainUndefineFlags.CHECKPOINTS_METADATA |
  DomainUndefineFlags.NVRAM;

/** libvirt counts versions as major * 1,000,000 + minor * 1,000 + release. */
const versionText = (version: bigint): string =>
  `${version / 1_000_000n}.${(version / 1_000n) % 1_000n}.${version % 1_000n}`;

const undefinedWhenNoDomain = async (
  found: Promise<{ readonly dom: DomainRef }>,
): Promise<DomainRef | undefined> => {
  try {
    return (await found).dom;
  } catch (error) {
    if (error instanceof LibvirtError && error.code === ErrorCode.NO_DOMAIN) return undefined;
    throw error;
  }
};

/**
 * The verbs, each a line of the procedure table with its flags.
 *
 * What the daemon answers from its memory goes by the control lane. Whatever
 * may wait on QEMU, on a guest or on a program takes the long lane, so that
 * twelve guests that are stuck do not hide the state of the others.
 */
export const verbs = (call: CallOnLane, download: DownloadOnLane): LibvirtVerbs => ({
  ...domainVerbs(call),
  ...hostVerbs(call),
  ...deviceVerbs(call),
  ...blockJobVerbs(call),
  ...snapshotVerbs(call),
  ...migrationVerbs(call),
  ...screenVerbs(download),
});

const domainVerbs = (call: CallOnLane): DomainVerbs => ({
  listDomains: async (options) => {
    const all = { needResults: 1, flags: ListDomainsFlags.ACTIVE | ListDomainsFlags.INACTIVE };
    return (await call("control", procedures.connectListAllDomains, all, options)).domains;
  },
  lookupDomain: (uuid, options) =>
    undefinedWhenNoDomain(call("control", procedures.domainLookupByUuid, { uuid }, options)),
  lookupDomainByName: (name, options) =>
    undefinedWhenNoDomain(call("control", procedures.domainLookupByName, { name }, options)),
  domainState: (dom, options) => call("control", procedures.domainGetState, { dom, flags: 0 }, options),
  defineDomain: async (xml, options) => {
    const args = { xml, flags: DomainDefineFlags.VALIDATE };
    return (await call("long", procedures.domainDefineXmlFlags, args, options)).dom;
  },
  createTransientDomain: async (xmlDesc, options) => {
    const args = { xmlDesc, flags: DomainCreateFlags.VALIDATE };
    return (await call("long", procedures.domainCreateXml, args, options)).dom;
  },
  startDomain: async (dom, { flags = 0, ...options } = {}) =>
    (await call("long", procedures.domainCreateWithFlags, { dom, flags }, options)).dom,
  shutdownDomain: (dom, { flags = 0, ...options } = {}) =>
    call("long", procedures.domainShutdownFlags, { dom, flags }, options),
  rebootDomain: (dom, { flags = 0, ...options } = {}) =>
    call("long", procedures.domainReboot, { dom, flags }, options),
  destroyDomain: (dom, { graceful = false, ...options } = {}) => {
    const flags = graceful ? DomainDestroyFlags.GRACEFUL : DomainDestroyFlags.DEFAULT;
    return call("long", procedures.domainDestroyFlags, { dom, flags }, options);
  },
  undefineDomain: (dom, { flags = UNDEFINE_ALL, ...options } = {}) =>
    call("long", procedures.domainUndefineFlags, { dom, flags }, options),
  suspendDomain: (dom, options) => call("long", procedures.domainSuspend, { dom }, options),
  resumeDomain: (dom, options) => call("long", procedures.domainResume, { dom }, options),
  domainXml: async (dom, { inactive = false, ...options } = {}) => {
    const args = { dom, flags: inactive ? DomainXmlFlags.INACTIVE : 0 };
    return (await call("long", procedures.domainGetXmlDesc, args, options)).xml;
  },
  domainAgentCommand: async (dom, cmd, { seconds: timeout = AGENT_TIMEOUT_DEFAULT, ...options } = {}) => {
    const args = { dom, cmd, timeout, flags: 0 };
    return (await call("long", procedures.domainAgentCommand, args, options)).result ?? "";
  },
  domainStats: async ({ types = 0, domains = [], flags = GetAllDomainStatsFlags.NOWAIT } = {}, options) => {
    const args = { doms: domains, stats: types, flags };
    const { retStats } = await call("long", procedures.connectGetAllDomainStats, args, options);
    return retStats.map(({ dom, params }) => ({ domain: dom, stats: params }));
  },
});

const hostVerbs = (call: CallOnLane): HostVerbs => ({
  domainCapabilities: async ({ emulator, arch, machine, type } = {}, options) => {
    const args = { emulatorbin: emulator, arch, machine, virttype: type, flags: 0 };
    return (await call("long", procedures.connectGetDomainCapabilities, args, options)).capabilities;
  },
  capabilities: async (options) =>
    (await call("long", procedures.connectGetCapabilities, undefined, options)).capabilities,
  nodeInfo: async (options) => {
    const { memory, nodes, ...rest } = await call("control", procedures.nodeGetInfo, undefined, options);
    return { ...rest, memoryKib: memory, numaNodes: nodes };
  },
  versions: async (options) => {
    const [library, hypervisor] = await Promise.all([
      call("control", procedures.connectGetLibVersion, undefined, options),
      call("control", procedures.connectGetVersion, undefined, options),
    ]);
    return { libvirt: versionText(library.libVer), hypervisor: versionText(hypervisor.hvVer) };
  },
  hostname: async (options) =>
    (await call("control", procedures.connectGetHostname, undefined, options)).hostname,
});

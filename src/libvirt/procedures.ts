import { Program } from "./packet.ts";
import type { Procedure } from "./procedure.ts";
import {
  DOMAIN_LIST_MAX,
  domain,
  domains,
  fixedText,
  JOB_STATS_MAX,
  optionalText,
  text,
  typedParameterList,
  typedParameters,
  uuid,
} from "./shapes.ts";
import {
  bytes,
  hyper,
  int,
  list,
  nothing,
  optional,
  struct,
  uchar,
  uhyper,
  uint,
  ushort,
  type Xdr,
} from "./xdr.ts";

/**
 * The procedures that this client can call, one line each: those of libvirt's
 * remote program, and those of its QEMU program, which only QEMU's driver has.
 * To add one, write down its number and shapes from the program's protocol
 * file; the contract test compares every line with that file.
 * https://gitlab.com/libvirt/libvirt/-/blob/master/src/remote/remote_protocol.x
 * https://gitlab.com/libvirt/libvirt/-/blob/master/src/remote/qemu_protocol.x
 */

/** REMOTE_AUTH_TYPE_LIST_MAX */
const AUTH_TYPE_LIST_MAX = 20;
/** REMOTE_DOMAIN_MEMORY_STATS_MAX */
const MEMORY_STATS_MAX = 1024;
/** REMOTE_CONNECT_GET_ALL_DOMAIN_STATS_MAX */
const ALL_DOMAIN_STATS_MAX = 262_144;
/** REMOTE_DOMAIN_FSFREEZE_MOUNTPOINTS_MAX */
const MOUNT_POINTS_MAX = 256;
/** REMOTE_DOMAIN_MIGRATE_PARAM_LIST_MAX */
const MIGRATE_PARAMETERS_MAX = 64;
/** REMOTE_MIGRATE_COOKIE_MAX */
const MIGRATE_COOKIE_MAX = 4_194_304;
/** The fixed length of the CPU model in remote_node_get_info_ret. */
const MODEL_LENGTH = 32;

const ofDomain = struct({ dom: domain });
const ofDomainWithFlags = struct({ dom: domain, flags: uint });
const fromXmlDesc = struct({ xmlDesc: text, flags: uint });
const capabilitiesXml = struct({ capabilities: text });

const capabilitiesArgs = struct({
  emulatorbin: optionalText,
  arch: optionalText,
  machine: optionalText,
  virttype: optionalText,
  flags: uint,
});

const nodeInfo = struct({
  model: fixedText(MODEL_LENGTH),
  memory: uhyper,
  cpus: int,
  mhz: int,
  nodes: int,
  sockets: int,
  cores: int,
  threads: int,
});

const domainInfo = struct({
  state: uchar,
  maxMem: uhyper,
  memory: uhyper,
  nrVirtCpu: ushort,
  cpuTime: uhyper,
});

const domainStats = struct({ dom: domain, params: typedParameters(ALL_DOMAIN_STATS_MAX) });

const memoryStats = struct({ stats: list(struct({ tag: int, val: uhyper }), MEMORY_STATS_MAX) });

const deviceXml = struct({ dom: domain, xml: text, flags: uint });
/** A disk of a domain: its target (vda) or its path on the host. */
const diskOfDomain = struct({ dom: domain, path: text, flags: uint });

const blockJobInfo = struct({ found: int, type: int, bandwidth: uhyper, cur: uhyper, end: uhyper });

const snapshot = struct({ name: text, dom: domain });
const mountPoints = struct({ dom: domain, mountpoints: list(text, MOUNT_POINTS_MAX), flags: uint });

const cookie = bytes(MIGRATE_COOKIE_MAX);
const migrateParams = typedParameterList(MIGRATE_PARAMETERS_MAX);

const jobInfo = struct({
  type: int,
  timeElapsed: uhyper,
  timeRemaining: uhyper,
  dataTotal: uhyper,
  dataProcessed: uhyper,
  dataRemaining: uhyper,
  memTotal: uhyper,
  memProcessed: uhyper,
  memRemaining: uhyper,
  fileTotal: uhyper,
  fileProcessed: uhyper,
  fileRemaining: uhyper,
});

interface Line<A, R> {
  readonly program: number;
  readonly number: number;
  readonly args: Xdr<A>;
  readonly result: Xdr<R>;
}

const line = <A, R>(number: number, args: Xdr<A>, result: Xdr<R>): Line<A, R> => ({
  program: Program.REMOTE,
  number,
  args,
  result,
});

const qemuLine = <A, R>(number: number, args: Xdr<A>, result: Xdr<R>): Line<A, R> => ({
  ...line(number, args, result),
  program: Program.QEMU,
});

type Named<T> = { readonly [K in keyof T]: T[K] extends Line<infer A, infer R> ? Procedure<A, R> : never };

const named = <T extends Readonly<Record<string, object>>>(lines: T): Named<T> =>
  Object.fromEntries(Object.entries(lines).map(([name, line]) => [name, { name, ...line }])) as Named<T>;

export const procedures = named({
  authList: line(66, nothing, struct({ types: list(int, AUTH_TYPE_LIST_MAX) })),
  authPolkit: line(70, nothing, struct({ complete: int })),

  connectOpen: line(1, struct({ name: optionalText, flags: uint }), nothing),
  connectClose: line(2, nothing, nothing),
  connectGetType: line(3, nothing, struct({ type: text })),
  connectGetVersion: line(4, nothing, struct({ hvVer: uhyper })),
  connectGetLibVersion: line(157, nothing, struct({ libVer: uhyper })),
  connectGetHostname: line(59, nothing, struct({ hostname: text })),
  connectGetUri: line(110, nothing, struct({ uri: text })),
  connectSupportsFeature: line(60, struct({ feature: int }), struct({ supported: int })),
  connectGetCapabilities: line(7, nothing, capabilitiesXml),
  connectGetDomainCapabilities: line(342, capabilitiesArgs, capabilitiesXml),
  connectListAllDomains: line(273, struct({ needResults: int, flags: uint }), struct({ domains, ret: uint })),
  connectGetAllDomainStats: line(
    344,
    struct({ doms: domains, stats: uint, flags: uint }),
    struct({ retStats: list(domainStats, DOMAIN_LIST_MAX) }),
  ),
  connectDomainEventCallbackRegisterAny: line(
    316,
    struct({ eventID: int, dom: optional(domain) }),
    struct({ callbackID: int }),
  ),
  connectDomainEventCallbackDeregisterAny: line(317, struct({ callbackID: int }), nothing),
  nodeGetInfo: line(6, nothing, nodeInfo),

  domainLookupByName: line(23, struct({ name: text }), ofDomain),
  domainLookupByUuid: line(24, struct({ uuid }), ofDomain),
  domainDefineXmlFlags: line(350, struct({ xml: text, flags: uint }), ofDomain),
  domainUndefineFlags: line(231, ofDomainWithFlags, nothing),
  domainCreateXml: line(10, fromXmlDesc, ofDomain),
  domainCreateWithFlags: line(196, ofDomainWithFlags, ofDomain),
  domainShutdownFlags: line(258, ofDomainWithFlags, nothing),
  domainDestroyFlags: line(234, ofDomainWithFlags, nothing),
  domainReboot: line(27, ofDomainWithFlags, nothing),
  domainReset: line(245, ofDomainWithFlags, nothing),
  domainSuspend: line(34, ofDomain, nothing),
  domainResume: line(28, ofDomain, nothing),
  domainGetState: line(212, ofDomainWithFlags, struct({ state: int, reason: int })),
  domainGetInfo: line(16, ofDomain, domainInfo),
  domainGetXmlDesc: line(14, ofDomainWithFlags, struct({ xml: text })),
  domainGetTime: line(337, ofDomainWithFlags, struct({ seconds: hyper, nseconds: uint })),
  domainMemoryStats: line(159, struct({ dom: domain, maxStats: uint, flags: uint }), memoryStats),
  domainIsActive: line(150, ofDomain, struct({ active: int })),
  domainIsPersistent: line(151, ofDomain, struct({ persistent: int })),
  domainGetAutostart: line(15, ofDomain, struct({ autostart: int })),
  domainSetAutostart: line(29, struct({ dom: domain, autostart: int }), nothing),

  domainAttachDeviceFlags: line(160, deviceXml, nothing),
  domainDetachDeviceFlags: line(161, deviceXml, nothing),
  domainUpdateDeviceFlags: line(174, deviceXml, nothing),
  domainDetachDeviceAlias: line(392, struct({ dom: domain, alias: text, flags: uint }), nothing),
  domainSetVcpusFlags: line(199, struct({ dom: domain, nvcpus: uint, flags: uint }), nothing),
  domainGetVcpusFlags: line(200, ofDomainWithFlags, struct({ num: int })),
  domainSetMemoryFlags: line(204, struct({ dom: domain, memory: uhyper, flags: uint }), nothing),
  domainBlockResize: line(251, struct({ dom: domain, disk: text, size: uhyper, flags: uint }), nothing),
  domainScreenshot: line(
    211,
    struct({ dom: domain, screen: uint, flags: uint }),
    struct({ mime: optionalText }),
  ),

  domainGetBlockInfo: line(
    194,
    diskOfDomain,
    struct({ allocation: uhyper, capacity: uhyper, physical: uhyper }),
  ),
  domainBlockPull: line(240, struct({ dom: domain, path: text, bandwidth: uhyper, flags: uint }), nothing),
  domainBlockRebase: line(
    266,
    struct({ dom: domain, path: text, base: optionalText, bandwidth: uhyper, flags: uint }),
    nothing,
  ),
  domainBlockCommit: line(
    290,
    struct({
      dom: domain,
      disk: text,
      base: optionalText,
      top: optionalText,
      bandwidth: uhyper,
      flags: uint,
    }),
    nothing,
  ),
  domainBlockJobAbort: line(237, diskOfDomain, nothing),
  domainGetBlockJobInfo: line(238, diskOfDomain, blockJobInfo),

  domainSnapshotCreateXml: line(
    185,
    struct({ dom: domain, xmlDesc: text, flags: uint }),
    struct({ snap: snapshot }),
  ),
  domainSaveFlags: line(232, struct({ dom: domain, to: text, dxml: optionalText, flags: uint }), nothing),
  domainRestoreFlags: line(233, struct({ from: text, dxml: optionalText, flags: uint }), nothing),
  domainSaveImageGetXmlDesc: line(235, struct({ file: text, flags: uint }), struct({ xml: text })),
  domainSaveImageDefineXml: line(236, struct({ file: text, dxml: text, flags: uint }), nothing),
  domainFsfreeze: line(335, mountPoints, struct({ filesystems: int })),
  domainFsthaw: line(336, mountPoints, struct({ filesystems: int })),

  domainMigrateBegin3Params: line(
    302,
    struct({ dom: domain, params: migrateParams, flags: uint }),
    struct({ cookieOut: cookie, xml: text }),
  ),
  domainMigratePrepare3Params: line(
    303,
    struct({ params: migrateParams, cookieIn: cookie, flags: uint }),
    struct({ cookieOut: cookie, uriOut: optionalText }),
  ),
  domainMigratePerform3Params: line(
    305,
    struct({
      dom: domain,
      dconnuri: optionalText,
      params: migrateParams,
      cookieIn: cookie,
      flags: uint,
    }),
    struct({ cookieOut: cookie }),
  ),
  domainMigrateFinish3Params: line(
    306,
    struct({ params: migrateParams, cookieIn: cookie, flags: uint, cancelled: int }),
    struct({ dom: domain, cookieOut: cookie }),
  ),
  domainMigrateConfirm3Params: line(
    307,
    struct({ dom: domain, params: migrateParams, cookieIn: cookie, flags: uint, cancelled: int }),
    nothing,
  ),
  domainMigrateSetMaxDowntime: line(166, struct({ dom: domain, downtime: uhyper, flags: uint }), nothing),
  domainMigrateSetMaxSpeed: line(207, struct({ dom: domain, bandwidth: uhyper, flags: uint }), nothing),
  domainGetJobInfo: line(163, ofDomain, jobInfo),
  domainGetJobStats: line(
    298,
    ofDomainWithFlags,
    struct({ type: int, params: typedParameters(JOB_STATS_MAX) }),
  ),
  domainAbortJob: line(164, ofDomain, nothing),

  domainAgentCommand: qemuLine(
    3,
    struct({ dom: domain, cmd: text, timeout: int, flags: uint }),
    struct({ result: optionalText }),
  ),
});

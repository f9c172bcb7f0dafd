import { Program } from "./packet.ts";
import type { Procedure } from "./procedure.ts";
import {
  DOMAIN_LIST_MAX,
  domain,
  domains,
  fixedText,
  optionalText,
  text,
  typedParameters,
  uuid,
} from "./shapes.ts";
import { hyper, int, list, nothing, optional, struct, uchar, uhyper, uint, ushort, type Xdr } from "./xdr.ts";

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

  domainAgentCommand: qemuLine(
    3,
    struct({ dom: domain, cmd: text, timeout: int, flags: uint }),
    struct({ result: optionalText }),
  ),
});

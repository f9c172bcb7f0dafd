import { readdir, readFile } from "node:fs/promises";
import { join } from "node:path";

import { beforeAll, describe, expect, test } from "@jest/globals";

import * as constants from "../../../src/libvirt/constants.ts";
import { ErrorCode } from "../../../src/libvirt/error-code.ts";
import * as deviceConstants from "../../../src/libvirt/device-constants.ts";
import * as eventConstants from "../../../src/libvirt/event-constants.ts";
import { domainEvents, type DomainEventKind } from "../../../src/libvirt/events.ts";
import * as jobConstants from "../../../src/libvirt/job-constants.ts";
import { MIGRATE_PARAMETER_NAMES } from "../../../src/libvirt/migrate-parameters.ts";
import {
  FRAME_MAX_BYTES,
  PacketStatus,
  PacketType,
  Program,
  PROGRAM_VERSION,
} from "../../../src/libvirt/packet.ts";
import { procedures } from "../../../src/libvirt/procedures.ts";
import { errorReply } from "../../../src/libvirt/shapes.ts";
import {
  int,
  list,
  opaque,
  optional,
  PAYLOAD_MAX_BYTES,
  string,
  struct,
  uint,
  type Layout,
} from "../../../src/libvirt/xdr.ts";
import { libvirtSource } from "../../testbed/libvirt-source.ts";
import { enumsOf, textsOf, type Enum } from "./c-header.ts";
import { differences } from "./layout-differences.ts";
import { XFile } from "./x-file.ts";

/**
 * Our table against libvirt's own description of its protocol, line by line.
 * The files are read where the source package was unpacked; nothing of them is
 * in this repository.
 */

/** libvirt writes its one second version with an underscore more than its third ones: block_job_2, begin3_params. */
const snakeCase = (name: string): string =>
  name.replaceAll(/[A-Z]/g, (letter) => `_${letter.toLowerCase()}`).replace(/_job2$/, "_job_2");

let remote: XFile;
let keepalive: XFile;
let net: XFile;
let enums: ReadonlyMap<string, Enum>;
let headerTexts: ReadonlySet<string>;

const read = (...path: readonly string[]): Promise<string> => readFile(join(...path), "utf8");

beforeAll(async () => {
  const source = await libvirtSource();
  const headers = join(source, "include/libvirt");
  const names = (await readdir(headers)).toSorted();
  const texts = await Promise.all(names.map((name) => read(headers, name)));
  enums = enumsOf([...texts, await read(source, "src/libvirt_internal.h")]);
  headerTexts = textsOf(texts, "VIR_MIGRATE_PARAM_");
  const foreign = (name: string): number | undefined => enums.get("")?.get(name);
  const programs = ["remote", "qemu"].map((name) => read(source, `src/remote/${name}_protocol.x`));
  remote = new XFile(await Promise.all(programs), foreign);
  keepalive = new XFile([await read(source, "src/rpc/virkeepaliveprotocol.x")], foreign);
  net = new XFile([await read(source, "src/rpc/virnetprotocol.x")], foreign);
}, 300_000);

describe("each procedure has the number and the shapes of its program's protocol file", () => {
  test.each(Object.values(procedures))("$name", ({ name, program, number, args, result }) => {
    const prefix = program === Program.QEMU ? "qemu" : "remote";
    const theirs = `${prefix}_${snakeCase(name)}`;
    expect(remote.constant(`${prefix}_PROC_${snakeCase(name)}`.toUpperCase())).toBe(number);
    expect(differences(args.layout, remote.layoutOf(`${theirs}_args`), "args")).toEqual([]);
    expect(differences(result.layout, remote.layoutOf(`${theirs}_ret`), "ret")).toEqual([]);
  });

  test("and so has the error that any of them may reply with", () => {
    expect(differences(errorReply.layout, remote.layoutOf("remote_error"))).toEqual([]);
  });
});

describe("each event has the number and the shape of remote_protocol.x, and libvirt's id", () => {
  test.each(Object.keys(domainEvents) as DomainEventKind[])("%s", (kind) => {
    const { id, message } = domainEvents[kind];
    const { name, number, body } = message;
    expect(remote.constant(`REMOTE_PROC_${snakeCase(name).toUpperCase()}`)).toBe(number);
    expect(differences(body.layout, remote.layoutOf(`remote_${snakeCase(name)}_msg`), "msg")).toEqual([]);
    const idName = `VIR_DOMAIN_EVENT_ID_${snakeCase(kind).toUpperCase()}`;
    expect(enums.get("virDomainEventID")?.get(idName)).toBe(id);
  });
});

describe("the comparison finds", () => {
  const text = `
    const NAME_MAX = 8;
    typedef string some_name<NAME_MAX>;
    struct theirs { some_name name; unsigned int flags; int ids<4>; opaque uuid[16]; some_name *alias; };`;
  const theirs = new XFile([text], () => undefined).layoutOf("theirs");
  const fields = {
    name: string(8),
    flags: uint,
    ids: list(int, 4),
    uuid: opaque(16),
    alias: optional(string(8)),
  };
  const { name, alias, ...rest } = fields;

  test.each<[string, Layout, string[]]>([
    ["nothing where all is the same", struct(fields).layout, []],
    ["nothing wrong in a higher limit", struct({ ...fields, name: string(9) }).layout, []],
    [
      "a lower limit",
      struct({ ...fields, ids: list(int, 3) }).layout,
      ["it.ids may have 4 in libvirt and 3 here"],
    ],
    [
      "another type",
      struct({ ...fields, flags: int }).layout,
      ['it.flags is {"kind":"uint"} in libvirt and {"kind":"int"} here'],
    ],
    [
      "another type of items",
      struct({ ...fields, ids: list(uint, 4) }).layout,
      ['it.ids<> is {"kind":"int"} in libvirt and {"kind":"uint"} here'],
    ],
    [
      "another length",
      struct({ ...fields, uuid: opaque(8) }).layout,
      ['it.uuid is {"kind":"opaque","length":16} in libvirt and {"kind":"opaque","length":8} here'],
    ],
    [
      "a lower limit of what may be absent",
      struct({ ...fields, alias: optional(string(7)) }).layout,
      ["*it.alias may have 8 in libvirt and 7 here"],
    ],
    [
      "a missing field",
      struct({ name, ...rest }).layout,
      ["it has name, flags, ids, uuid, alias in libvirt and name, flags, ids, uuid here"],
    ],
    [
      "another order",
      struct({ alias, ...rest, name }).layout,
      ["it has name, flags, ids, uuid, alias in libvirt and alias, flags, ids, uuid, name here"],
    ],
  ])("%s", (_, layout, expected) => {
    expect(differences(layout, theirs)).toEqual(expected);
  });
});

test("programs, versions, packet types and limits are those of libvirt's protocol files", () => {
  expect(remote.constant("REMOTE_PROGRAM")).toBe(Program.REMOTE);
  expect(remote.constant("REMOTE_PROTOCOL_VERSION")).toBe(PROGRAM_VERSION);
  expect(remote.constant("QEMU_PROGRAM")).toBe(Program.QEMU);
  expect(remote.constant("QEMU_PROTOCOL_VERSION")).toBe(PROGRAM_VERSION);
  expect(keepalive.constant("KEEPALIVE_PROGRAM")).toBe(Program.KEEPALIVE);
  expect(keepalive.constant("KEEPALIVE_PROTOCOL_VERSION")).toBe(PROGRAM_VERSION);
  for (const [name, type] of Object.entries(PacketType)) expect(net.constant(`VIR_NET_${name}`)).toBe(type);
  for (const [name, status] of Object.entries(PacketStatus))
    expect(net.constant(`VIR_NET_${name}`)).toBe(status);
  expect(net.constant("VIR_NET_MESSAGE_PAYLOAD_MAX")).toBe(PAYLOAD_MAX_BYTES);
  expect(FRAME_MAX_BYTES).toBe(
    Number(net.constant("VIR_NET_MESSAGE_MAX")) + Number(net.constant("VIR_NET_MESSAGE_LEN_MAX")),
  );
});

describe("constants have the values of libvirt's headers", () => {
  /** Where each group is in C. A group that is missing here fails the last test. */
  const groups: Readonly<Record<string, readonly [type: string, prefix: string]>> = {
    DomainState: ["virDomainState", "VIR_DOMAIN_"],
    DomainRunningReason: ["virDomainRunningReason", "VIR_DOMAIN_RUNNING_"],
    DomainPausedReason: ["virDomainPausedReason", "VIR_DOMAIN_PAUSED_"],
    DomainShutdownReason: ["virDomainShutdownReason", "VIR_DOMAIN_SHUTDOWN_"],
    DomainShutoffReason: ["virDomainShutoffReason", "VIR_DOMAIN_SHUTOFF_"],
    DomainCrashedReason: ["virDomainCrashedReason", "VIR_DOMAIN_CRASHED_"],
    ConnectFlags: ["virConnectFlags", "VIR_CONNECT_"],
    ListDomainsFlags: ["virConnectListAllDomainsFlags", "VIR_CONNECT_LIST_DOMAINS_"],
    DomainDefineFlags: ["virDomainDefineFlags", "VIR_DOMAIN_DEFINE_"],
    DomainCreateFlags: ["virDomainCreateFlags", "VIR_DOMAIN_START_"],
    DomainShutdownFlags: ["virDomainShutdownFlagValues", "VIR_DOMAIN_SHUTDOWN_"],
    DomainRebootFlags: ["virDomainRebootFlagValues", "VIR_DOMAIN_REBOOT_"],
    DomainDestroyFlags: ["virDomainDestroyFlagsValues", "VIR_DOMAIN_DESTROY_"],
    DomainUndefineFlags: ["virDomainUndefineFlagsValues", "VIR_DOMAIN_UNDEFINE_"],
    DomainXmlFlags: ["virDomainXMLFlags", "VIR_DOMAIN_XML_"],
    DomainStatsTypes: ["virDomainStatsTypes", "VIR_DOMAIN_STATS_"],
    GetAllDomainStatsFlags: ["virConnectGetAllDomainStatsFlags", "VIR_CONNECT_GET_ALL_DOMAINS_STATS_"],
    DomainMemoryStatTag: ["virDomainMemoryStatTags", "VIR_DOMAIN_MEMORY_STAT_"],
    DomainDeviceModifyFlags: ["virDomainDeviceModifyFlags", "VIR_DOMAIN_DEVICE_MODIFY_"],
    DomainVcpuFlags: ["virDomainVcpuFlags", "VIR_DOMAIN_VCPU_"],
    DomainMemoryModFlags: ["virDomainMemoryModFlags", "VIR_DOMAIN_MEM_"],
    DomainBlockResizeFlags: ["virDomainBlockResizeFlags", "VIR_DOMAIN_BLOCK_RESIZE_"],
    DomainBlockRebaseFlags: ["virDomainBlockRebaseFlags", "VIR_DOMAIN_BLOCK_REBASE_"],
    DomainBlockPullFlags: ["virDomainBlockPullFlags", "VIR_DOMAIN_BLOCK_PULL_"],
    DomainBlockCommitFlags: ["virDomainBlockCommitFlags", "VIR_DOMAIN_BLOCK_COMMIT_"],
    DomainBlockJobAbortFlags: ["virDomainBlockJobAbortFlags", "VIR_DOMAIN_BLOCK_JOB_ABORT_"],
    DomainBlockJobInfoFlags: ["virDomainBlockJobInfoFlags", "VIR_DOMAIN_BLOCK_JOB_INFO_"],
    DomainBlockJobType: ["virDomainBlockJobType", "VIR_DOMAIN_BLOCK_JOB_TYPE_"],
    DomainSnapshotCreateFlags: ["virDomainSnapshotCreateFlags", "VIR_DOMAIN_SNAPSHOT_CREATE_"],
    DomainSaveRestoreFlags: ["virDomainSaveRestoreFlags", "VIR_DOMAIN_SAVE_"],
    DomainMigrateFlags: ["virDomainMigrateFlags", "VIR_MIGRATE_"],
    DomainJobType: ["virDomainJobType", "VIR_DOMAIN_JOB_"],
    DomainJobOperation: ["virDomainJobOperation", "VIR_DOMAIN_JOB_OPERATION_"],
    DomainJobStatsFlags: ["virDomainGetJobStatsFlags", "VIR_DOMAIN_JOB_STATS_"],
    BlockJobStatus: ["virConnectDomainEventBlockJobStatus", "VIR_DOMAIN_BLOCK_JOB_"],
    ErrorCode: ["virErrorNumber", "VIR_ERR_"],
    DomainEventType: ["virDomainEventType", "VIR_DOMAIN_EVENT_"],
    DomainEventDefinedDetail: ["virDomainEventDefinedDetailType", "VIR_DOMAIN_EVENT_DEFINED_"],
    DomainEventUndefinedDetail: ["virDomainEventUndefinedDetailType", "VIR_DOMAIN_EVENT_UNDEFINED_"],
    DomainEventStartedDetail: ["virDomainEventStartedDetailType", "VIR_DOMAIN_EVENT_STARTED_"],
    DomainEventSuspendedDetail: ["virDomainEventSuspendedDetailType", "VIR_DOMAIN_EVENT_SUSPENDED_"],
    DomainEventResumedDetail: ["virDomainEventResumedDetailType", "VIR_DOMAIN_EVENT_RESUMED_"],
    DomainEventStoppedDetail: ["virDomainEventStoppedDetailType", "VIR_DOMAIN_EVENT_STOPPED_"],
    DomainEventShutdownDetail: ["virDomainEventShutdownDetailType", "VIR_DOMAIN_EVENT_SHUTDOWN_"],
    DomainEventCrashedDetail: ["virDomainEventCrashedDetailType", "VIR_DOMAIN_EVENT_CRASHED_"],
    AgentLifecycleState: [
      "virConnectDomainEventAgentLifecycleState",
      "VIR_CONNECT_DOMAIN_EVENT_AGENT_LIFECYCLE_STATE_",
    ],
    AgentLifecycleReason: [
      "virConnectDomainEventAgentLifecycleReason",
      "VIR_CONNECT_DOMAIN_EVENT_AGENT_LIFECYCLE_REASON_",
    ],
  };
  const ours: Readonly<Record<string, Readonly<Record<string, number>>>> = {
    ...constants,
    ...deviceConstants,
    ...jobConstants,
    ...eventConstants,
    ErrorCode,
  };

  test.each(Object.entries(groups))("%s", (group, [type, prefix]) => {
    const theirs = enums.get(type);
    const values = Object.entries(ours[group] ?? {});
    expect(values.length).toBeGreaterThan(0);
    expect(values).toEqual(values.map(([name]) => [name, theirs?.get(`${prefix}${name}`)]));
  });

  test("and no group is left out", () => {
    expect(Object.keys(groups).toSorted()).toEqual(Object.keys(ours).toSorted());
  });
});

test.each(Object.values(MIGRATE_PARAMETER_NAMES))("a migration has a parameter of the name %s", (name) => {
  expect(headerTexts).toContain(name);
});

import {
  DomainJobType,
  DomainMigrateFlags,
  ErrorCode,
  type TypedParameter,
} from "../../src/libvirt/index.ts";
import { found, reply, type Answers, type Context } from "./libvirt-context.ts";
import { FakeLibvirtError, refOf, type FakeDomain } from "./libvirt-domains.ts";

const COOKIE = Buffer.from("<qemu-migration/>");

const text = (params: readonly TypedParameter[], name: string): string | undefined => {
  const value = new Map(params).get(name);
  return typeof value === "string" ? value : undefined;
};

const outgoing = (domain: FakeDomain): string => `migration of ${domain.uuid}`;

/** As libvirt does when the connection that migrates a domain ends: the domain goes on where it was. */
const undoWhenClosed = ({ domains, onClose }: Context, domain: FakeDomain): void =>
  onClose(outgoing(domain), () => domains.cancelMigration(domain));

const noJob = {
  timeElapsed: 0n,
  timeRemaining: 0n,
  dataTotal: 0n,
  dataProcessed: 0n,
  dataRemaining: 0n,
  memTotal: 0n,
  memProcessed: 0n,
  memRemaining: 0n,
  fileTotal: 0n,
  fileProcessed: 0n,
  fileRemaining: 0n,
};

/** What the fake does for a migration: each side keeps to the phases, and nothing moves. */
export const migrationAnswers = {
  domainMigrateBegin3Params: (args, context) => {
    const domain = found(context, args);
    context.domains.assertRunning(domain);
    if ((args.flags & DomainMigrateFlags.CHANGE_PROTECTION) !== 0) undoWhenClosed(context, domain);
    return { cookieOut: COOKIE, xml: text(args.params, "destination_xml") ?? domain.xml };
  },
  domainMigratePrepare3Params: ({ params }, context) => {
    const xml = text(params, "destination_xml");
    if (xml === undefined) throw new FakeLibvirtError(ErrorCode.INTERNAL_ERROR, "no domain XML passed");
    const domain = context.domains.prepareIncoming(xml);
    context.onClose(`incoming ${domain.uuid}`, () => context.domains.cancelIncoming(domain));
    return {
      cookieOut: COOKIE,
      uriOut: text(params, "migrate_uri") === undefined ? "tcp:fake:49152" : undefined,
    };
  },
  domainMigratePerform3Params: (args, context) => {
    const domain = found(context, args);
    context.domains.pauseForMigration(domain);
    undoWhenClosed(context, domain);
    return { cookieOut: COOKIE };
  },
  domainMigrateFinish3Params: ({ params, cancelled, flags }, context) => {
    const name = text(params, "destination_name");
    if (name === undefined) throw new FakeLibvirtError(ErrorCode.NO_DOMAIN, "missing domain name");
    const domain = context.domains.byName(name);
    context.onClose(`incoming ${domain.uuid}`, undefined);
    if (cancelled !== 0) {
      context.domains.cancelIncoming(domain);
      throw new FakeLibvirtError(ErrorCode.MIGRATE_FINISH_OK, "migration successfully aborted");
    }
    context.domains.finishIncoming(domain, (flags & DomainMigrateFlags.PERSIST_DEST) !== 0);
    return { ...reply(domain), cookieOut: COOKIE };
  },
  domainMigrateConfirm3Params: (args, context) => {
    const domain = found(context, args);
    context.onClose(outgoing(domain), undefined);
    if (args.cancelled !== 0) context.domains.cancelMigration(domain);
    else context.domains.migrated(domain, (args.flags & DomainMigrateFlags.UNDEFINE_SOURCE) !== 0);
  },
  domainMigrateSetMaxDowntime: (args, context) => context.domains.assertRunning(found(context, args)),
  domainMigrateSetMaxSpeed: (args, context) => context.domains.assertRunning(found(context, args)),
  domainGetJobInfo: (args, context) => {
    found(context, args);
    return { type: DomainJobType.NONE, ...noJob };
  },
  domainGetJobStats: (args, context) => {
    found(context, args);
    return { type: DomainJobType.NONE, params: new Map() };
  },
  domainAbortJob: (args, context) => {
    refOf(found(context, args));
    throw new FakeLibvirtError(ErrorCode.OPERATION_INVALID, "no job is active on the domain");
  },
} satisfies Partial<Answers>;

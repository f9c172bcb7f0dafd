import {
  DomainJobType,
  DomainMigrateFlags,
  ErrorCode,
  type TypedParameter,
} from "../../src/libvirt/index.ts";
import { found, reply, type Answers, type Context } from "./libvirt-context.ts";
import { FakeLibvirtError, type FakeDomain } from "./libvirt-domains.ts";

const COOKIE = Buffer.from("<qemu-migration/>");

const text = (params: readonly TypedParameter[], name: string): string | undefined => {
  const value = new Map(params).get(name);
  return typeof value === "string" ? value : undefined;
};

const outgoing = (domain: FakeDomain): string => `outgoing ${domain.uuid}`;
const incoming = (domain: FakeDomain): string => `incoming ${domain.uuid}`;

/** libvirt ends the job of a connection that ends, and leaves the domain as it is at that moment. */
const forgetWhenClosed = ({ domains, onClose }: Context, domain: FakeDomain): void =>
  onClose(outgoing(domain), () => domains.forgetMigration(domain));

const jobTypeOf = ({ migration }: FakeDomain): number =>
  migration === undefined ? DomainJobType.NONE : DomainJobType.UNBOUNDED;

const noFigures = {
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
    if ((args.flags & DomainMigrateFlags.CHANGE_PROTECTION) !== 0) {
      context.domains.beginMigration(domain);
      forgetWhenClosed(context, domain);
    }
    return { cookieOut: COOKIE, xml: text(args.params, "destination_xml") ?? domain.xml };
  },
  domainMigratePrepare3Params: ({ params }, context) => {
    const xml = text(params, "destination_xml");
    if (xml === undefined) throw new FakeLibvirtError(ErrorCode.INTERNAL_ERROR, "no domain XML passed");
    const domain = context.domains.prepareIncoming(xml);
    context.onClose(incoming(domain), () => context.domains.cancelIncoming(domain));
    const uriOut = text(params, "migrate_uri") === undefined ? "tcp:fake:49152" : undefined;
    return { cookieOut: COOKIE, uriOut };
  },
  domainMigratePerform3Params: (args, context) => {
    const domain = found(context, args);
    if ((args.flags & DomainMigrateFlags.CHANGE_PROTECTION) !== 0) {
      context.domains.assertMigrating(domain, "outgoing");
    }
    context.domains.pauseForMigration(domain);
    forgetWhenClosed(context, domain);
    return { cookieOut: COOKIE };
  },
  domainMigrateFinish3Params: ({ params, cancelled, flags }, context) => {
    const name = text(params, "destination_name");
    if (name === undefined) throw new FakeLibvirtError(ErrorCode.NO_DOMAIN, "missing domain name");
    const domain = context.domains.byName(name);
    context.onClose(incoming(domain), undefined);
    if (cancelled !== 0) {
      context.domains.assertMigrating(domain, "incoming");
      context.domains.cancelIncoming(domain);
      throw new FakeLibvirtError(ErrorCode.MIGRATE_FINISH_OK, "migration successfully aborted");
    }
    context.domains.finishIncoming(domain, (flags & DomainMigrateFlags.PERSIST_DEST) !== 0);
    return { ...reply(domain), cookieOut: COOKIE };
  },
  domainMigrateConfirm3Params: (args, context) => {
    const domain = found(context, args);
    context.onClose(outgoing(domain), undefined);
    const undefine = (args.flags & DomainMigrateFlags.UNDEFINE_SOURCE) !== 0;
    context.domains.confirmMigration(domain, args.cancelled !== 0, undefine);
  },
  domainMigrateSetMaxDowntime: (args, context) => context.domains.assertRunning(found(context, args)),
  domainMigrateSetMaxSpeed: (args, context) => context.domains.assertRunning(found(context, args)),
  domainGetJobInfo: (args, context) => ({ type: jobTypeOf(found(context, args)), ...noFigures }),
  domainGetJobStats: (args, context) => ({ type: jobTypeOf(found(context, args)), params: new Map() }),
  domainAbortJob: (args, context) => {
    found(context, args);
    throw new FakeLibvirtError(ErrorCode.OPERATION_INVALID, "no job is active on the domain");
  },
} satisfies Partial<Answers>;

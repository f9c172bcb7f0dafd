import {
  BlockJobStatus,
  DomainBlockJobAbortFlags,
  DomainBlockJobType,
  ErrorCode,
} from "../../src/libvirt/index.ts";
import { found, type Answers, type Context } from "./libvirt-context.ts";
import { diskOf, targetOf } from "./libvirt-devices.ts";
import { FakeLibvirtError, type FakeDomain } from "./libvirt-domains.ts";

const JOB_BYTES = 65_536n;

/** The disk's target, by which libvirt's events name it. */
const targetIn = (domain: FakeDomain, disk: string): string => targetOf(diskOf(domain.xml, disk));

const begin = ({ domains }: Context, domain: FakeDomain, disk: string, type: number): void => {
  domains.assertRunning(domain);
  const target = targetIn(domain, disk);
  if (domain.blockJobs.has(target)) {
    throw new FakeLibvirtError(ErrorCode.BLOCK_COPY_ACTIVE, `disk '${target}' already in active block job`);
  }
  domain.blockJobs.set(target, { type, cur: 0n, end: JOB_BYTES });
  // The job goes on after the call has returned.
  if (domain.slowBlockJobs !== true) setImmediate(() => domains.finishBlockJob(domain, target));
};

/** What the fake does with block jobs: they end by themselves at once, and move nothing. */
export const blockAnswers = {
  domainGetBlockInfo: (args, context) => {
    const domain = found(context, args);
    const capacity = domain.diskBytes.get(targetIn(domain, args.path)) ?? JOB_BYTES;
    return { allocation: 0n, capacity, physical: JOB_BYTES };
  },
  domainBlockPull: (args, context) =>
    begin(context, found(context, args), args.path, DomainBlockJobType.PULL),
  domainBlockRebase: (args, context) =>
    begin(context, found(context, args), args.path, DomainBlockJobType.PULL),
  domainBlockCommit: (args, context) => {
    const type = args.top === undefined ? DomainBlockJobType.ACTIVE_COMMIT : DomainBlockJobType.COMMIT;
    begin(context, found(context, args), args.disk, type);
  },
  domainBlockJobAbort: (args, context) => {
    const domain = found(context, args);
    const pivot = (args.flags & DomainBlockJobAbortFlags.PIVOT) !== 0;
    const status = pivot ? BlockJobStatus.COMPLETED : BlockJobStatus.CANCELED;
    context.domains.finishBlockJob(domain, targetIn(domain, args.path), status);
  },
  domainGetBlockJobInfo: (args, context) => {
    const domain = found(context, args);
    const job = domain.blockJobs.get(targetIn(domain, args.path));
    if (job === undefined) return { found: 0, type: 0, bandwidth: 0n, cur: 0n, end: 0n };
    return { found: 1, bandwidth: 0n, ...job };
  },
} satisfies Partial<Answers>;

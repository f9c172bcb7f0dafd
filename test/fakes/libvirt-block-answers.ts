import {
  BlockJobStatus,
  DomainBlockJobAbortFlags,
  DomainBlockJobType,
  ErrorCode,
} from "../../src/libvirt/index.ts";
import { found, type Answers, type Context } from "./libvirt-context.ts";
import { diskOf, replaceDevice, targetOf, withSourceFile } from "./libvirt-devices.ts";
import { FakeLibvirtError, type FakeDomain } from "./libvirt-domains.ts";

const JOB_BYTES = 65_536n;

/** The disk's target, by which libvirt's events name it. */
const targetIn = (domain: FakeDomain, disk: string): string => targetOf(diskOf(domain.xml, disk));

interface Begun {
  readonly type: number;
  readonly bandwidth: bigint;
  /** The image that the guest writes when the job is told to go over. */
  readonly base?: string | undefined;
}

const refuse = (code: number, disk: string, problem: string): FakeLibvirtError =>
  new FakeLibvirtError(code, `disk '${disk}' ${problem}`);

const begin = ({ domains }: Context, domain: FakeDomain, disk: string, begun: Begun): void => {
  const { type, bandwidth, base } = begun;
  domains.assertRunning(domain);
  const target = targetIn(domain, disk);
  const other = domain.blockJobs.get(target);
  if (other !== undefined) {
    const code = isActive(other.type) ? ErrorCode.BLOCK_COPY_ACTIVE : ErrorCode.OPERATION_UNSUPPORTED;
    throw refuse(code, target, "already in active block job");
  }
  domain.blockJobs.set(target, { type, base, cur: 0n, end: JOB_BYTES });
  if (bandwidth !== 0n || domain.slowBlockJobs === true) return;
  // The job goes on after the call has returned.
  setImmediate(() => {
    if (isActive(type)) domains.tellBlockJob(domain, target, BlockJobStatus.READY);
    else domains.finishBlockJob(domain, target);
  });
};

const isActive = (type: number): boolean => type === DomainBlockJobType.ACTIVE_COMMIT;

const abort = ({ domains }: Context, domain: FakeDomain, disk: string, pivot: boolean): void => {
  const target = targetIn(domain, disk);
  const job = domain.blockJobs.get(target);
  if (job === undefined) throw refuse(ErrorCode.INVALID_ARG, target, "does not have an active block job");
  if (pivot && job.base !== undefined) {
    const before = diskOf(domain.xml, target);
    domain.xml = replaceDevice(domain.xml, before, withSourceFile(before, job.base));
  }
  domains.finishBlockJob(domain, target, pivot ? BlockJobStatus.COMPLETED : BlockJobStatus.CANCELED);
};

/**
 * What the fake does with block jobs, which move nothing. Those without a limit
 * of bandwidth end by themselves at once, as far as they do that at all.
 */
export const blockAnswers = {
  domainGetBlockInfo: (args, context) => {
    const domain = found(context, args);
    const capacity = domain.diskBytes.get(targetIn(domain, args.path)) ?? JOB_BYTES;
    return { allocation: 0n, capacity, physical: JOB_BYTES };
  },
  domainBlockPull: (args, context) => {
    const { path, bandwidth } = args;
    begin(context, found(context, args), path, { type: DomainBlockJobType.PULL, bandwidth });
  },
  domainBlockRebase: (args, context) => {
    const { path, bandwidth } = args;
    begin(context, found(context, args), path, { type: DomainBlockJobType.PULL, bandwidth });
  },
  domainBlockCommit: (args, context) => {
    const { disk, base, top, bandwidth } = args;
    const type = top === undefined ? DomainBlockJobType.ACTIVE_COMMIT : DomainBlockJobType.COMMIT;
    begin(context, found(context, args), disk, { type, bandwidth, base });
  },
  domainBlockJobAbort: (args, context) => {
    const pivot = (args.flags & DomainBlockJobAbortFlags.PIVOT) !== 0;
    abort(context, found(context, args), args.path, pivot);
  },
  domainGetBlockJobInfo: (args, context) => {
    const domain = found(context, args);
    const job = domain.blockJobs.get(targetIn(domain, args.path));
    if (job === undefined) return { found: 0, type: 0, bandwidth: 0n, cur: 0n, end: 0n };
    const { type, cur, end } = job;
    return { found: 1, type, bandwidth: 0n, cur, end };
  },
} satisfies Partial<Answers>;

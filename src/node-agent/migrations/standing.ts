import {
  type CallOptions,
  DomainJobType,
  DomainPausedReason,
  type DomainRef,
  DomainShutoffReason,
  DomainState,
  type DomainStateAndReason,
  ErrorCode,
  LibvirtError,
  type LibvirtVerbs,
} from "../../libvirt/index.ts";
import type { DomainStanding } from "./types.ts";

type Verbs = Pick<LibvirtVerbs, "lookupDomain" | "domainState" | "jobInfo">;

const isGone = (error: unknown): boolean =>
  error instanceof LibvirtError && error.code === ErrorCode.NO_DOMAIN;

const isOn: ReadonlySet<number> = new Set([DomainState.RUNNING, DomainState.BLOCKED, DomainState.SHUTDOWN]);

/** Without its job, which only a domain has that is on. */
const standingOf = ({ state, reason }: DomainStateAndReason, hasJob: boolean): DomainStanding => {
  if (isOn.has(state)) return hasJob ? "leaving" : "running";
  if (state === DomainState.PAUSED) {
    if (reason !== DomainPausedReason.MIGRATION) return "paused";
    return hasJob ? "leaving" : "left";
  }
  if (state === DomainState.PMSUSPENDED) return "paused";
  return state === DomainState.SHUTOFF && reason === DomainShutoffReason.FAILED ? "never-ran" : "off";
};

/** A job that has ended, or that libvirt has lost, is none. */
const hasJob = async (libvirt: Verbs, ref: DomainRef, options: CallOptions): Promise<boolean> => {
  const { type } = await libvirt.jobInfo(ref, options);
  return type === DomainJobType.BOUNDED || type === DomainJobType.UNBOUNDED;
};

/** What libvirt says of the domain with this UUID at the source. */
export const observeLeaving = async (
  libvirt: Verbs,
  vmUid: string,
  options: CallOptions,
): Promise<DomainStanding> => {
  try {
    const ref = await libvirt.lookupDomain(vmUid, options);
    if (ref === undefined) return "absent";
    const state = await libvirt.domainState(ref, options);
    const isActive = isOn.has(state.state) || state.state === DomainState.PAUSED;
    return standingOf(state, isActive && (await hasJob(libvirt, ref, options)));
  } catch (error) {
    if (isGone(error)) return "absent";
    // It went off between the two questions.
    if (error instanceof LibvirtError && error.code === ErrorCode.OPERATION_INVALID) return "off";
    // It arrives, by a later migration the other way: such a one's job is the source's to tell of.
    if (error instanceof LibvirtError && error.code === ErrorCode.OPERATION_UNSUPPORTED) return "paused";
    throw error;
  }
};

/** The same at the target, where a guest that has not arrived is paused, for whatever reason. */
export const observeArriving = async (
  libvirt: Pick<LibvirtVerbs, "lookupDomain" | "domainState">,
  vmUid: string,
  options: CallOptions,
): Promise<DomainStanding> => {
  try {
    const ref = await libvirt.lookupDomain(vmUid, options);
    if (ref === undefined) return "absent";
    const standing = standingOf(await libvirt.domainState(ref, options), false);
    return standing === "left" ? "paused" : standing;
  } catch (error) {
    if (isGone(error)) return "absent";
    throw error;
  }
};

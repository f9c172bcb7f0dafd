import { isOn } from "./guest-record.ts";
import type { GuestRequest, MachineFacts } from "./lifecycle.ts";
import { untilAborted } from "../../../kube/index.ts";

/** What was asked cannot be done with the guest as it is. */
export class RequestRefusedError extends Error {
  override readonly name = "RequestRefusedError";
}

/**
 * What is asked of guests from outside (restart, pause, unpause), on its way to
 * the next pass over the machine: only a pass writes a machine's status, so that
 * two writers never overwrite each other.
 */
export interface GuestRequests {
  /**
   * Resolves when the request is recorded in the machine's status; what follows
   * is seen there. Rejects with RequestRefusedError when it makes no sense now.
   */
  ask(vmUid: string, request: GuestRequest, options: { readonly signal: AbortSignal }): Promise<void>;
  /** For the pass: the oldest request that nobody has heeded yet. */
  next(vmUid: string): GuestRequest | undefined;
  /** For the pass: the request that `next` named is recorded, or refused. */
  settle(vmUid: string, refusal?: string): void;
}

interface Asked {
  readonly request: GuestRequest;
  readonly resolve: () => void;
  readonly reject: (error: Error) => void;
}

export const createGuestRequests = (lookAt: (vmUid: string) => void): GuestRequests => {
  const waiting = new Map<string, Asked[]>();

  const drop = (vmUid: string, asked: Asked): void => {
    const left = (waiting.get(vmUid) ?? []).filter((one) => one !== asked);
    if (left.length > 0) waiting.set(vmUid, left);
    else waiting.delete(vmUid);
  };

  return {
    ask: async (vmUid, request, { signal }) => {
      const { promise, resolve, reject } = Promise.withResolvers<void>();
      const asked = { request, resolve, reject };
      waiting.set(vmUid, [...(waiting.get(vmUid) ?? []), asked]);
      lookAt(vmUid);
      try {
        await untilAborted(promise, signal);
      } finally {
        drop(vmUid, asked);
      }
    },
    next: (vmUid) => waiting.get(vmUid)?.[0]?.request,
    settle: (vmUid, refusal) => {
      const asked = waiting.get(vmUid)?.[0];
      if (asked === undefined) return;
      drop(vmUid, asked);
      if (refusal === undefined) asked.resolve();
      else asked.reject(new RequestRefusedError(refusal));
      if (waiting.has(vmUid)) lookAt(vmUid);
    },
  };
};

/** Why the request cannot be heeded now, and what to do; undefined when it can. Pure. */
export const refusalOf = (
  request: GuestRequest,
  {
    machine,
    domain,
    restoring,
    migrating,
  }: Pick<MachineFacts, "machine" | "domain" | "restoring" | "migrating">,
): string | undefined => {
  const { metadata, spec } = machine;
  if (metadata.deletionTimestamp !== undefined) return "The machine is being deleted.";
  if (restoring !== undefined) return "The machine is being put back to a snapshot; ask again afterwards.";
  if (migrating === "power") return "The machine is being moved to another node; ask again afterwards.";
  if (request === "restart") {
    return spec.runStrategy === "Halted"
      ? "The machine's runStrategy is Halted; set it to Always to have the guest run."
      : undefined;
  }
  return isOn(domain) ? undefined : `The guest is off, so there is nothing to ${request}.`;
};

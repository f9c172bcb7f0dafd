import { type FloatingIp, floatingIps } from "../../../api/floating-ip.ts";
import { type Clock, type KubeClient, withDeadline } from "../../../kube/index.ts";
import { newestOf } from "./floating-objects.ts";
import { FIELD_MANAGER } from "../../report.ts";

/** A request that takes longer is of no use: the next one is due, in ms. */
export const REQUEST_MS = 1_500;
/** After a failure, in ms. */
export const RETRY_MS = 250;

/** What this node writes of FloatingIPs: who holds the address. */
export interface FloatingWrites {
  /** Uids of the objects that are being written: what is known of them may be about to change. */
  readonly inFlight: ReadonlySet<string>;
  /** Each object in the newest version, be it from a watch or from our own write. */
  newest(stored: readonly FloatingIp[]): readonly FloatingIp[];
  /**
   * Bound to the version that was looked at. Rejects when it did not succeed, or
   * nobody knows; not at once then: the watch has to bring what was in the way.
   */
  write(
    object: FloatingIp,
    status: Readonly<Record<string, unknown>>,
    signal: AbortSignal,
  ): Promise<FloatingIp>;
}

export const createFloatingWrites = (client: KubeClient, clock: Clock): FloatingWrites => {
  const inFlight = new Set<string>();
  /** What our own writes made, until the watch brings it or something newer. */
  const written = new Map<string, FloatingIp>();
  return {
    inFlight,
    newest: (stored) => {
      const known = new Set(stored.map(({ metadata }) => metadata.uid));
      for (const uid of written.keys()) if (!known.has(uid)) written.delete(uid);
      return newestOf([...stored, ...written.values()]);
    },
    write: async (object, status, signal) => {
      const { uid, name, namespace, resourceVersion } = object.metadata;
      const body = { metadata: { name, namespace, resourceVersion }, status };
      inFlight.add(uid);
      try {
        const apply = (limited: AbortSignal) =>
          client.applyStatus(floatingIps, body, {
            fieldManager: FIELD_MANAGER,
            force: true,
            signal: limited,
          });
        const answer = await withDeadline(signal, REQUEST_MS, apply, clock);
        written.set(uid, answer);
        return answer;
      } catch (error) {
        await delay(clock, RETRY_MS, signal);
        throw error;
      } finally {
        inFlight.delete(uid);
      }
    },
  };
};

/** Ends early, without a failure, when the signal is aborted. */
const delay = (clock: Clock, ms: number, signal: AbortSignal): Promise<void> =>
  new Promise((resolve) => {
    const cancel = clock.after(ms, end);
    function end(): void {
      cancel();
      signal.removeEventListener("abort", end);
      resolve();
    }
    if (signal.aborted) end();
    else signal.addEventListener("abort", end, { once: true });
  });

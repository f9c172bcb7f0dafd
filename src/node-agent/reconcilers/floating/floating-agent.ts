import {
  type FloatingIp,
  floatingLeaseName,
  FLOATING_RENEW_MS,
  FLOATING_VALID_SECONDS,
} from "../../../api/floating-ip.ts";
import { SYSTEM_NAMESPACE } from "../../../api/hypervisor.ts";
import {
  type Clock,
  createFencingLease,
  type EventRecorder,
  isConflict,
  type KubeClient,
  type Logger,
  systemClock,
  withDeadline,
} from "../../../kube/index.ts";
import {
  type Confirmation,
  decideFloating,
  type FloatingDecision,
  type FloatingFacts,
  type FloatingTarget,
  type HeldLease,
  isInTime,
  leaseDeadline,
  sameTranslation,
  validForSeconds,
  type Withdrawal,
  type WithdrawReason,
  wantedTranslations,
} from "./floating-claims.ts";
import type { FloatingMetrics } from "./floating-metrics.ts";
import type { FloatingObjects } from "./floating-objects.ts";
import { createFloatingWrites, type FloatingWrites, REQUEST_MS, RETRY_MS } from "./floating-writes.ts";
import type { Floating, FloatingAddress } from "../../floating/index.ts";

export interface FloatingAgentOptions {
  readonly nodeName: string;
  readonly client: KubeClient;
  readonly objects: FloatingObjects;
  readonly floating: Floating;
  /** The guests of this node, asked at each pass; undefined while they are not known. */
  readonly targets: () => readonly FloatingTarget[] | undefined;
  readonly events: Pick<EventRecorder, "event">;
  readonly logger: Logger;
  readonly metrics: FloatingMetrics;
  readonly clock?: Clock | undefined;
}

/** This node's part of the protocol of floating addresses (docs/design/floating.md). */
export interface FloatingAgent {
  /**
   * Follows the claims until the signal is aborted, and leaves the addresses
   * then: the next agent goes on with them if it comes in time, else the kernel
   * takes them away. To be started first of all, before anything else is waited for.
   */
  run(signal: AbortSignal): Promise<void>;
  /** What `targets` says has changed. */
  refresh(): void;
}

/** After rules could not be changed, in ms: what is held goes on with those that are there. */
const TRANSLATE_RETRY_MS = 2_000;
/** Rules are looked at for changes by others this often, in ms. */
const VERIFY_MS = 60_000;

const reasons: Readonly<Record<WithdrawReason, string>> = {
  ClaimMoved: "it goes to a machine elsewhere, or to none",
  LeaseLost: "the API server could not be reached in time, or took the node for dead",
  GuestGone: "its machine is not on this node",
  Unknown: "no FloatingIP has it",
};

export const createFloatingAgent = (options: FloatingAgentOptions): FloatingAgent => {
  const loop = new FloatingLoop(options);
  return {
    run: (signal) => loop.run(signal),
    refresh: () => loop.wake(),
  };
};

class FloatingLoop {
  readonly #options: FloatingAgentOptions;
  readonly #clock: Clock;
  readonly #fencing: ReturnType<typeof createFencingLease>;
  readonly #held = new Set<string>();
  readonly #confirmed = new Map<string, Confirmation>();
  readonly #writes: FloatingWrites;
  readonly #background = new Set<Promise<void>>();
  #lease: HeldLease | undefined;
  #translated: ReadonlyMap<string, FloatingAddress> | undefined;
  #isTranslating = false;
  #isRenewing = false;
  #renewAt = 0;
  #translateAt = 0;
  #verifyAt = 0;
  #retryAt = Number.POSITIVE_INFINITY;
  /** What was last held: for which addresses, with which renewal. */
  #holding = "";
  #woken = Promise.withResolvers<void>();

  constructor(options: FloatingAgentOptions) {
    this.#options = options;
    this.#clock = options.clock ?? systemClock;
    this.#writes = createFloatingWrites(options.client, this.#clock);
    const lease = { namespace: SYSTEM_NAMESPACE, name: floatingLeaseName(options.nodeName) };
    this.#fencing = createFencingLease({
      ...lease,
      client: options.client,
      identity: options.nodeName,
      leaseDurationMs: FLOATING_VALID_SECONDS * 1000,
      clock: this.#clock,
    });
  }

  wake(): void {
    this.#woken.resolve();
  }

  async run(signal: AbortSignal): Promise<void> {
    const { objects } = this.#options;
    const stop = objects.onChange(() => this.wake());
    const following = objects.run(signal);
    // Its failure is that of the loop, below; it must not count as unhandled until then.
    following.catch(() => this.wake());
    try {
      await this.#findHeld(signal);
      while (!signal.aborted) {
        this.#woken = Promise.withResolvers();
        await this.#pass(signal);
        await this.#untilWoken(signal);
      }
      await following;
    } finally {
      stop();
      await Promise.all(this.#background);
    }
  }

  /** What a predecessor left on the device. */
  async #findHeld(signal: AbortSignal): Promise<void> {
    while (!signal.aborted) {
      try {
        for (const address of await this.#options.floating.held({ signal })) this.#held.add(address);
        this.#options.metrics.held(this.#held.size);
        return;
      } catch (err) {
        if (signal.aborted) return;
        this.#options.logger.warn({ err }, "cannot see which floating addresses are held; trying again");
        this.#retrySoon();
        await this.#untilWoken(signal);
      }
    }
  }

  #facts(): FloatingFacts {
    const { nodeName, objects, targets } = this.#options;
    return {
      nodeName,
      now: this.#clock.monotonic(),
      inSync: objects.synced,
      hasUnreadable: objects.hasUnreadable,
      objects: this.#writes.newest(objects.list()),
      inFlight: this.#writes.inFlight,
      held: this.#held,
      translated: this.#translated,
      targets: targets(),
      lease: this.#lease,
      confirmed: this.#confirmed,
    };
  }

  async #pass(signal: AbortSignal): Promise<void> {
    this.#retryAt = Number.POSITIVE_INFINITY;
    const facts = this.#facts();
    const decision = decideFloating(facts);
    if (decision.needsLease) this.#renewWhenDue(signal);
    else this.#renewAt = Number.POSITIVE_INFINITY;
    await this.#withdraw(decision.withdrawals, signal);
    for (const object of decision.clear) this.#inBackground(this.#clear(object, signal));
    for (const object of decision.acquire) this.#inBackground(this.#acquire(object, signal));
    this.#translateWhenDue(signal);
    // By the renewal that was decided on: what is confirmed may be so in no later term.
    await this.#hold(decision, facts.lease, signal);
  }

  #renewWhenDue(signal: AbortSignal): void {
    const now = this.#clock.monotonic();
    if (this.#renewAt === Number.POSITIVE_INFINITY) this.#renewAt = now;
    if (this.#isRenewing || now < this.#renewAt) return;
    this.#isRenewing = true;
    this.#renewAt = now + FLOATING_RENEW_MS;
    this.#inBackground(this.#renew(now, signal).finally(() => (this.#isRenewing = false)));
  }

  /** Counted from before the request is sent: when it arrives, and is seen, is later. */
  async #renew(begunAt: number, signal: AbortSignal): Promise<void> {
    try {
      const renew = (limited: AbortSignal) => this.#fencing.renew(limited);
      const { term, continued } = await withDeadline(signal, REQUEST_MS, renew, this.#clock);
      if (this.#lease === undefined && continued) {
        for (const address of this.#held) this.#confirmed.set(address, { term, uid: undefined });
      }
      this.#lease = { term, begunAt };
    } catch (err) {
      if (signal.aborted) return;
      this.#renewAt = this.#clock.monotonic() + RETRY_MS;
      this.#options.metrics.renewalFailed();
      this.#options.logger.warn({ err }, "cannot renew the Lease of the floating addresses");
    }
  }

  async #withdraw(withdrawals: readonly Withdrawal[], signal: AbortSignal): Promise<void> {
    if (withdrawals.length === 0) return;
    const { floating, nodeName, events, metrics, logger } = this.#options;
    try {
      await floating.withdraw(
        withdrawals.map(({ address }) => address),
        { signal },
      );
    } catch (err) {
      this.#failed(signal, err, "cannot withdraw floating addresses; trying again");
      return;
    }
    this.#holding = "";
    for (const { address, reason, object } of withdrawals) {
      this.#held.delete(address);
      metrics.withdrawn(reason);
      logger.info({ address, reason }, "withdrew a floating address");
      const message = `Node ${nodeName} withdrew the address: ${reasons[reason]}`;
      const type = reason === "ClaimMoved" ? "Normal" : "Warning";
      if (object !== undefined) events.event(object, type, "AddressWithdrawn", message);
    }
    metrics.held(this.#held.size);
    // Who is the holder may be cleared now.
    this.wake();
  }

  async #acquire(object: FloatingIp, signal: AbortSignal): Promise<void> {
    const address = object.status?.address;
    const lease = this.#lease;
    if (address === undefined || lease === undefined) return;
    const since = new Date(this.#clock.now()).toISOString();
    const written = await this.#write(
      object,
      { holder: { nodeName: this.#options.nodeName, since } },
      signal,
    );
    // A write that changed nothing would not stand in the way of whoever decided on the version before.
    if (written === undefined || written.metadata.resourceVersion === object.metadata.resourceVersion) return;
    this.#confirmed.set(address, { term: lease.term, uid: object.metadata.uid });
  }

  async #clear(object: FloatingIp, signal: AbortSignal): Promise<void> {
    // Now, and not when it has succeeded: an answer may be lost, and one of the watches still say otherwise.
    if (object.status?.address !== undefined) this.#confirmed.delete(object.status.address);
    await this.#write(object, {}, signal);
  }

  /** Undefined when it did not succeed, or nobody knows. */
  async #write(
    object: FloatingIp,
    status: Readonly<Record<string, unknown>>,
    signal: AbortSignal,
  ): Promise<FloatingIp | undefined> {
    try {
      return await this.#writes.write(object, status, signal);
    } catch (err) {
      if (isConflict(err)) this.#retrySoon();
      else this.#failed(signal, err, "cannot write who holds a floating address; trying again");
      return undefined;
    }
  }

  #translateWhenDue(signal: AbortSignal): void {
    const now = this.#clock.monotonic();
    if (this.#isTranslating || now < this.#translateAt) return;
    const wanted = wantedTranslations(this.#facts());
    if (wanted === undefined) return;
    const before = this.#translated;
    const common = wanted.filter((one) => sameTranslation(one, before?.get(one.address)));
    const isAsWanted = common.length === wanted.length && before?.size === wanted.length;
    if (isAsWanted && now < this.#verifyAt) return;
    // Until it is done, only what stays as it is can be relied on.
    this.#translated = before && new Map(common.map((one) => [one.address, one]));
    this.#isTranslating = true;
    this.#inBackground(this.#translate(wanted, signal).finally(() => (this.#isTranslating = false)));
  }

  async #translate(wanted: readonly FloatingAddress[], signal: AbortSignal): Promise<void> {
    const verify = this.#clock.monotonic() >= this.#verifyAt;
    try {
      await this.#options.floating.translate(wanted, { signal, verify });
      this.#translated = new Map(wanted.map((one) => [one.address, one]));
      if (verify) this.#verifyAt = this.#clock.monotonic() + VERIFY_MS;
    } catch (err) {
      this.#translated = undefined;
      this.#translateAt = this.#clock.monotonic() + TRANSLATE_RETRY_MS;
      this.#failed(signal, err, "cannot translate floating addresses; trying again");
    }
  }

  /** Puts on the device what was decided, once for each renewal and for each new address. */
  async #hold({ hold }: FloatingDecision, lease: HeldLease | undefined, signal: AbortSignal): Promise<void> {
    const holding = `${lease?.begunAt} ${hold.join(" ")}`;
    if (lease === undefined || hold.length === 0 || holding === this.#holding) return;
    const news = hold.filter((address) => !this.#held.has(address));
    let seconds = validForSeconds(lease, this.#clock.monotonic());
    try {
      while (seconds >= 1) {
        // From here on it may be there, whatever becomes of the attempt.
        for (const address of hold) this.#held.add(address);
        await this.#options.floating.hold(hold, { validForSeconds: seconds, signal });
        if (isInTime(lease, seconds, this.#clock.monotonic())) {
          this.#holding = holding;
          this.#announce(news);
          return;
        }
        // It took too long: a shorter time, before the longer one is too long for others.
        seconds = Math.min(seconds - 1, validForSeconds(lease, this.#clock.monotonic()));
      }
    } catch (err) {
      this.#failed(signal, err, "cannot hold floating addresses; trying again");
    }
    if (seconds < 1 && hold.some((address) => this.#held.has(address))) await this.#giveUp(hold, signal);
  }

  /** The renewal is too old to hold anything by it. */
  async #giveUp(addresses: readonly string[], signal: AbortSignal): Promise<void> {
    const held = addresses.filter((address) => this.#held.has(address));
    const objectOf = new Map(this.#facts().objects.map((object) => [object.status?.address, object]));
    const withdrawals = held.map((address) => ({
      address,
      reason: "LeaseLost" as const,
      object: objectOf.get(address),
    }));
    await this.#withdraw(withdrawals, signal);
  }

  #announce(news: readonly string[]): void {
    const { nodeName, events, metrics, logger } = this.#options;
    metrics.held(this.#held.size);
    if (news.length === 0) return;
    const objectOf = new Map(this.#facts().objects.map((object) => [object.status?.address, object]));
    for (const address of news) {
      metrics.acquired();
      logger.info({ address }, "answering for a floating address");
      const object = objectOf.get(address);
      if (object !== undefined) {
        events.event(object, "Normal", "AddressAcquired", `Node ${nodeName} answers for the address`);
      }
    }
  }

  #failed(signal: AbortSignal, err: unknown, message: string): void {
    if (signal.aborted) return;
    this.#options.logger.warn({ err }, message);
    this.#retrySoon();
  }

  #retrySoon(): void {
    this.#retryAt = Math.min(this.#retryAt, this.#clock.monotonic() + RETRY_MS);
  }

  /** Effects that must not hold up the renewal; each one wakes the loop when it has ended. */
  #inBackground(effect: Promise<void>): void {
    const done = effect.finally(() => {
      this.#background.delete(done);
      this.wake();
    });
    this.#background.add(done);
  }

  async #untilWoken(signal: AbortSignal): Promise<void> {
    const now = this.#clock.monotonic();
    const deadline =
      this.#lease !== undefined && this.#held.size > 0 && leaseDeadline(this.#lease) > now
        ? leaseDeadline(this.#lease)
        : Number.POSITIVE_INFINITY;
    const renewal = this.#isRenewing ? Number.POSITIVE_INFINITY : this.#renewAt;
    const verify = Math.max(this.#verifyAt, now + RETRY_MS);
    const next = Math.min(deadline, renewal, verify, this.#retryAt);
    const cancel = this.#clock.after(Math.max(0, next - now), () => this.wake());
    const onAbort = (): void => this.wake();
    signal.addEventListener("abort", onAbort, { once: true });
    if (signal.aborted) this.wake();
    await this.#woken.promise;
    cancel();
    signal.removeEventListener("abort", onAbort);
  }
}

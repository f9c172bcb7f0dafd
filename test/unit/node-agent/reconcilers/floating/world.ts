import type { FloatingIp } from "../../../../../src/api/floating-ip.ts";
import { FLOATING_FENCED_AFTER_MS } from "../../../../../src/api/floating-ip.ts";
import { type KubeClient, type Lease, whenAborted } from "../../../../../src/kube/index.ts";
import { createFloatingAgent } from "../../../../../src/node-agent/reconcilers/floating/floating-agent.ts";
import type { FloatingTarget } from "../../../../../src/node-agent/reconcilers/floating/floating-claims.ts";
import {
  newestOf,
  type FloatingObjects,
} from "../../../../../src/node-agent/reconcilers/floating/floating-objects.ts";
import type { Floating } from "../../../../../src/node-agent/floating/index.ts";
import { fenceLease } from "../../../../../src/kube/fencing-lease.ts";
import { ManualClock } from "../../../../fakes/manual-clock.ts";
import { ADDRESS, ApiState } from "./api-state.ts";
import { silentLogger } from "../../../../../src/kube/logger.ts";

/**
 * Nodes with real agents, a controller, an API server and kernels, in simulated
 * time, with whatever delays, crashes and partitions a test asks for.
 */

/** Numbers from a seed, in [0, 1). https://en.wikipedia.org/wiki/Xorshift */
const randomFrom = (seed: number): (() => number) => {
  let state = seed | 0 || 1;
  return () => {
    state ^= state << 13;
    state ^= state >>> 17;
    state ^= state << 5;
    return (state >>> 0) / 2 ** 32;
  };
};

/** What lies between a process and the API server. */
interface Link {
  /** Until then nothing of a request or an answer arrives. */
  cutUntil: number;
  /** Until then watches say nothing, though requests pass. */
  stalledUntil: number;
}

export interface Fault {
  readonly kind: "claim" | "crash" | "cut" | "stall" | "slow-host";
  /** Number of a node; of the one after the last: nobody for "claim", else the controller. */
  readonly who: number;
  readonly atMs: number;
  readonly forMs: number;
}

export interface WorldOptions {
  readonly nodes: number;
  readonly seed: number;
  readonly faults: readonly Fault[];
  /** Whether the controller takes the Lease before it clears a holder. Default true, as it must. */
  readonly controllerFences?: boolean;
}

interface Kernel {
  /** When the kernel will have removed the address, however late it is; undefined: it is not there. */
  expiresAt: number | undefined;
}

interface Incarnation {
  readonly controller: AbortController;
  alive: boolean;
  /** Programs that it runs and that take longer than is allowed for without a look at the clock afterwards. */
  slowPrograms: number;
}

export class World {
  readonly clock = new ManualClock();
  readonly api = new ApiState();
  /** Each time that two nodes answered for the address. */
  readonly violations: string[] = [];
  /** How often an address was put on a device. */
  holds = 0;
  /** The nodes that answered in the end. */
  settled: readonly number[] = [];
  readonly #options: WorldOptions;
  readonly #random: () => number;
  readonly #kernels: Kernel[];
  readonly #links: Link[];
  readonly #slowUntil: number[];
  readonly #incarnations: Incarnation[] = [];
  #isFaulty = true;

  constructor(options: WorldOptions) {
    this.#options = options;
    this.#random = randomFrom(options.seed);
    this.#kernels = Array.from({ length: options.nodes }, () => ({ expiresAt: undefined }));
    this.#links = Array.from({ length: options.nodes + 1 }, () => ({ cutUntil: 0, stalledUntil: 0 }));
    this.#slowUntil = Array.from({ length: options.nodes }, () => 0);
  }

  /** The nodes that answer for the address now. */
  get #answering(): readonly number[] {
    return this.#kernels.flatMap((kernel, node) => (this.#answers(kernel) ? [node] : []));
  }

  async run(forMs: number): Promise<void> {
    const stopped = new AbortController();
    this.#watchHolder();
    this.#kernels.forEach((_, node) => this.#startAgent(node));
    this.#runController(stopped.signal);
    for (const fault of this.#options.faults) this.clock.after(fault.atMs, () => this.#inject(fault));
    await this.clock.advance(forMs);
    // Everything heals; what is left has to come right.
    this.#isFaulty = false;
    for (const link of this.#links) Object.assign(link, { cutUntil: 0, stalledUntil: 0 });
    this.#slowUntil.fill(0);
    await this.clock.advance(15_000);
    this.settled = this.#answering;
    stopped.abort();
    for (const { controller } of this.#incarnations) controller.abort();
    await this.clock.advance(3_000);
  }

  #now(): number {
    return this.clock.monotonic();
  }

  #answers({ expiresAt }: Kernel): boolean {
    return expiresAt !== undefined && this.#now() < expiresAt;
  }

  #between(least: number, most: number): number {
    return least + this.#random() * (most - least);
  }

  #wait(ms: number): Promise<void> {
    return new Promise((resolve) => void this.clock.after(ms, resolve));
  }

  #linkOf(who: number): Link {
    const link = this.#links[who];
    if (link === undefined) throw new Error(`there is no process ${who}`);
    return link;
  }

  #kernelOf(node: number): Kernel {
    const kernel = this.#kernels[node];
    if (kernel === undefined) throw new Error(`there is no node ${node}`);
    return kernel;
  }

  #inject({ kind, who, forMs }: Fault): void {
    const end = this.#now() + forMs;
    const node = who % this.#options.nodes;
    switch (kind) {
      case "claim":
        this.api.setStatus({ claim: who === this.#options.nodes ? undefined : claimOf(who) });
        return;
      case "cut":
        this.#linkOf(who).cutUntil = end;
        return;
      case "stall":
        this.#linkOf(who).stalledUntil = end;
        return;
      case "slow-host":
        this.#slowUntil[node] = end;
        return;
      case "crash": {
        const running = this.#incarnations.findLast(
          ({ alive }, index) => alive && this.#nodeOf(index) === node,
        );
        if (running === undefined) return;
        if (running.slowPrograms > 0) {
          // What is assumed (docs/design/floating.md): not both at once.
          this.clock.after(5, () => this.#inject({ kind, who, atMs: 0, forMs }));
          return;
        }
        running.alive = false;
        running.controller.abort();
        this.clock.after(forMs, () => this.#startAgent(node));
      }
    }
  }

  readonly #nodes: number[] = [];
  #nodeOf(incarnation: number): number | undefined {
    return this.#nodes[incarnation];
  }

  #startAgent(node: number): void {
    const incarnation: Incarnation = { controller: new AbortController(), alive: true, slowPrograms: 0 };
    this.#incarnations.push(incarnation);
    this.#nodes.push(node);
    const { signal } = incarnation.controller;
    const targets: readonly FloatingTarget[] = [targetOf(node)];
    const knownAt = this.#now() + this.#between(0, 3_000);
    const agent = createFloatingAgent({
      nodeName: `node-${node}`,
      client: this.#client(node),
      objects: this.#objects(node),
      floating: this.#room(node, incarnation),
      targets: () => (this.#now() < knownAt ? undefined : targets),
      events: { event: () => {} },
      logger: silentLogger,
      metrics: { held: () => {}, acquired: () => {}, withdrawn: () => {}, renewalFailed: () => {} },
      clock: this.clock,
    });
    this.clock.after(3_001, () => agent.refresh());
    agent.run(signal).catch((error: unknown) => {
      if (!signal.aborted) this.violations.push(`agent ${node} ended: ${String(error)}`);
    });
  }

  /**
   * A request takes its time there, and the answer back. Both are lost while
   * the link is cut; what has arrived is done, whether anybody waits for it or not.
   */
  async #request<T>(who: number, work: () => T, signal: AbortSignal): Promise<T> {
    const lost = new Promise<never>((_, reject) => {
      const fail = (): void => reject(signal.reason as Error);
      if (signal.aborted) fail();
      else signal.addEventListener("abort", fail, { once: true });
    });
    const answered = (async () => {
      await this.#travel(who, 400);
      const outcome = attempt(work);
      await this.#travel(who, 200);
      return outcome();
    })();
    answered.catch(() => {});
    return Promise.race([lost, answered]);
  }

  async #travel(who: number, slowMs: number): Promise<void> {
    const luck = this.#random();
    const mostMs = luck < 0.9 ? 30 : luck < 0.97 || !this.#isFaulty ? slowMs : 12_000;
    await this.#wait(this.#between(1, mostMs));
    // What is lost here is lost for good.
    if (this.#now() < this.#linkOf(who).cutUntil) await new Promise(() => {});
  }

  #client(who: number): KubeClient {
    const send = <T>(work: () => T, signal: AbortSignal): Promise<T> => this.#request(who, work, signal);
    const { api } = this;
    return {
      get: (_: unknown, { name }: { name: string }, { signal }: { signal: AbortSignal }) =>
        send(() => api.leases.get(name), signal),
      create: (_: unknown, body: { metadata: { name: string }; spec: Lease["spec"] }, options: Abort) =>
        send(() => api.createLease(body.metadata.name, body.spec), options.signal),
      mergePatch: (_: unknown, { name }: { name: string }, patch: LeasePatch, options: Abort) =>
        send(() => api.patchLease(name, patch.spec, patch.metadata?.resourceVersion), options.signal),
      applyStatus: (_: unknown, body: StatusBody, options: Abort) =>
        send(
          () => api.setStatus({ holder: body.status.holder }, body.metadata.resourceVersion),
          options.signal,
        ),
    } as unknown as KubeClient;
  }

  /** Two watches, each as late as it likes; what is selected is decided by the state that is delivered. */
  #objects(node: number): FloatingObjects {
    const listeners = new Set<() => void>();
    const watches = (["claim", "holder"] as const).map((member) =>
      this.#watch(
        node,
        (object) => object.status?.[member]?.nodeName === `node-${node}`,
        () => {
          for (const listener of listeners) listener();
        },
      ),
    );
    return {
      run: (signal) => whenAborted(signal),
      get synced() {
        return watches.every(({ synced }) => synced());
      },
      whenSynced: async () => {},
      hasUnreadable: false,
      list: () => newestOf(watches.flatMap(({ list }) => list())),
      onChange: (listener) => {
        listeners.add(listener);
        return () => listeners.delete(listener);
      },
    };
  }

  #watch(who: number, selects: (object: FloatingIp) => boolean, onChange: () => void) {
    let seen: FloatingIp | undefined;
    let isSynced = false;
    const deliver = async (): Promise<void> => {
      for (;;) {
        // The states in between may be skipped: a watch that was broken lists again.
        await this.#wait(this.#random() < 0.8 ? this.#between(5, 120) : this.#between(5, 700));
        const { cutUntil, stalledUntil } = this.#linkOf(who);
        if (this.#now() < Math.max(cutUntil, stalledUntil)) continue;
        const now = this.api.floatingIp;
        const changed = !isSynced || seen?.metadata.resourceVersion !== now.metadata.resourceVersion;
        isSynced = true;
        seen = now;
        if (changed) onChange();
      }
    };
    void deliver();
    return {
      synced: () => isSynced,
      list: () => (seen !== undefined && selects(seen) ? [seen] : []),
    };
  }

  /** The host takes its time; programs that a dead agent left behind still end, within the time allowed for. */
  #room(node: number, incarnation: Incarnation): Floating {
    const kernel = this.#kernelOf(node);
    const command = async <T>(effect: () => T): Promise<T> => {
      const isSlow = this.#now() < (this.#slowUntil[node] ?? 0);
      const delayMs = isSlow ? this.#between(20, 900) : this.#between(1, 40);
      if (isSlow) incarnation.slowPrograms += 1;
      await this.#wait(delayMs);
      const result = effect();
      await this.#wait(isSlow ? this.#between(1, 300) : this.#between(1, 10));
      if (isSlow) incarnation.slowPrograms -= 1;
      if (!incarnation.alive) await new Promise(() => {});
      return result;
    };
    return {
      translate: () => command(() => {}),
      hold: (_, { validForSeconds }) => command(() => this.#put(node, validForSeconds)),
      withdraw: () => command(() => void (kernel.expiresAt = undefined)),
      held: () => command(() => (this.#answers(kernel) ? [ADDRESS] : [])),
      tearDown: () => Promise.reject(new Error("nobody tears down here")),
    };
  }

  /** Stronger than what is to be proved: whoever answers is the holder, for all to see. */
  #watchHolder(): void {
    let before: string | undefined;
    this.api.onChange(() => {
      const holder = this.api.floatingIp.status?.holder?.nodeName;
      if (holder === before) return;
      const stillAnswering = this.#answering.filter((node) => `node-${node}` !== holder);
      if (stillAnswering.length > 0) {
        this.violations.push(
          `at ${this.#now()} node ${stillAnswering.join()} answers, ${holder} is the holder`,
        );
      }
      before = holder;
    });
  }

  #put(node: number, seconds: number): void {
    this.holds += 1;
    const holder = this.api.floatingIp.status?.holder?.nodeName;
    if (holder !== `node-${node}`) {
      this.violations.push(`at ${this.#now()} node ${node} answers, ${holder} is the holder`);
    }
    const kernel = this.#kernelOf(node);
    kernel.expiresAt = this.#now() + seconds * 1000 + this.#between(0, 1_250);
    const others = this.#answering.filter((other) => other !== node);
    if (others.length > 0) {
      this.violations.push(`at ${Math.round(this.#now())} node ${node} answers beside ${others.join()}`);
    }
  }

  /** The controller's part, as far as it concerns holders: its view is late, its clock is its own. */
  #runController(signal: AbortSignal): void {
    const who = this.#options.nodes;
    const client = this.#client(who);
    const renewals = new Map<string, { readonly lease: Lease; readonly seenAt: number }>();
    const view = this.#watch(
      who,
      () => true,
      () => {},
    );
    const look = (): void => {
      if (this.#now() < Math.max(this.#linkOf(who).stalledUntil, this.#linkOf(who).cutUntil)) return;
      for (const [name, lease] of this.api.leases) {
        const before = renewals.get(name);
        if (before?.lease.metadata.resourceVersion === lease.metadata.resourceVersion) continue;
        const isRenewal = lease.spec.holderIdentity === name.slice("floating-".length);
        const seenAt = isRenewal ? this.#now() : (before?.seenAt ?? this.#now());
        renewals.set(name, { lease, seenAt });
      }
    };
    // As soon as may be: later is safer.
    this.api.onChange(look);
    const step = async (): Promise<void> => {
      look();
      const [seen] = view.list();
      const holder = seen?.status?.holder?.nodeName;
      if (seen === undefined || holder === undefined || holder === seen.status?.claim?.nodeName) return;
      const renewal = renewals.get(`floating-${holder}`);
      if (renewal === undefined || this.#now() - renewal.seenAt < FLOATING_FENCED_AFTER_MS) return;
      const { controllerFences = true } = this.#options;
      if (controllerFences && !(await fenceLease(client, renewal.lease, { signal }))) return;
      const clear = () => this.api.setStatus({ holder: undefined }, seen.metadata.resourceVersion);
      await this.#request(who, clear, signal);
    };
    const loop = async (): Promise<void> => {
      while (!signal.aborted) {
        await this.#wait(this.#between(5, 60));
        // A request that is lost must not hold it up for ever.
        await Promise.race([step().catch(() => {}), this.#wait(2_000)]);
      }
    };
    void loop();
  }
}

interface Abort {
  readonly signal: AbortSignal;
}
interface LeasePatch {
  readonly metadata?: { readonly resourceVersion?: string };
  readonly spec: Lease["spec"];
}
interface StatusBody {
  readonly metadata: { readonly resourceVersion?: string };
  readonly status: { readonly holder?: unknown };
}

const targetOf = (node: number): FloatingTarget => ({
  machineUid: `machine-${node}`,
  guestAddress: `10.0.0.${node + 10}`,
  vni: 1,
  tap: `vtap0000000000${node}`,
});

const claimOf = (node: number) => ({
  machine: `web-${node}`,
  machineUid: `machine-${node}`,
  nodeName: `node-${node}`,
  address: targetOf(node).guestAddress,
  vni: 1,
});

/** The outcome of work that is done now and told later. */
const attempt = <T>(work: () => T): (() => T) => {
  try {
    const value = work();
    return () => value;
  } catch (error) {
    return () => {
      throw error;
    };
  }
};

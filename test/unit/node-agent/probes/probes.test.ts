import { describe, expect, test } from "@jest/globals";
import { readinessProbe } from "../../../../src/api/probe.ts";
import { sleep } from "../../../../src/kube/clock.ts";
import { CommandError } from "../../../../src/node-agent/host/command.ts";
import { createProbes, type ProbedGuest } from "../../../../src/node-agent/probes/index.ts";
import { ManualClock } from "../../../fakes/manual-clock.ts";

const probe = (changes: object = {}) => readinessProbe.parse({ tcpSocket: { port: 80 }, ...changes });

/** Guests whose ports are open or closed, behind programs that answer at once, or when they are let. */
class Node {
  readonly clock = new ManualClock();
  readonly changes: string[] = [];
  readonly results: string[] = [];
  readonly troubles: string[] = [];
  readonly ran: string[] = [];
  /** Taps whose guests accept connections. */
  readonly open = new Set<string>();
  readonly missing = new Set<string>();
  /** Programs wait for release(). */
  held: (() => void)[] | undefined;
  mostAtOnce = 0;
  #running = 0;

  readonly probes = createProbes({
    networkSlots: 3,
    run: async (file, args) => {
      const tap = /so-bindtodevice=([^,]+)/.exec(args.join(" "))?.[1] ?? "";
      this.ran.push(tap);
      this.#running += 1;
      this.mostAtOnce = Math.max(this.mostAtOnce, this.#running);
      if (this.held !== undefined) await new Promise<void>((resolve) => this.held?.push(resolve));
      this.#running -= 1;
      if (this.open.has(tap)) return { stdout: "", stderr: "" };
      const stderr = this.missing.has(tap)
        ? "socat[1] E setsockopt(6, 1, 25): No such device"
        : "socat[1] E connect(6, AF=2 10.0.0.2:80, 16): Connection refused";
      throw new CommandError("exit", file, args, { exitCode: 1, stderr });
    },
    askAgent: () => Promise.reject(new Error("not asked")),
    timing: {
      monotonic: () => this.clock.monotonic(),
      sleep: (ms, signal) => sleep(this.clock, ms, signal),
    },
    now: () => new Date(this.clock.now()),
    onResult: (kind, result) => this.results.push(`${kind} ${result}`),
    onTrouble: (_uid, message) => this.troubles.push(message),
  });

  constructor() {
    this.probes.onChange((uid) => this.changes.push(uid));
  }

  guest(changes: Partial<ProbedGuest> = {}): ProbedGuest {
    return {
      vmUid: "a",
      tap: "vtapa",
      address: "10.0.0.2",
      startedAt: new Date(Date.UTC(2026, 0, 1)),
      readyBefore: { kind: "pending" },
      ...changes,
    };
  }
}

describe("probes", () => {
  test("a guest is probed at each period, and tells when something else is found", async () => {
    const node = new Node();
    node.probes.follow(node.guest({ readinessProbe: probe({ periodSeconds: 5 }) }));
    expect(node.probes.findings("a")).toEqual({ readiness: { kind: "pending" } });
    node.open.add("vtapa");
    await node.clock.advance(1);
    expect(node.probes.findings("a")).toEqual({ readiness: { kind: "healthy" } });
    node.open.clear();
    await node.clock.advance(10_000);
    expect(node.probes.findings("a")).toEqual({ readiness: { kind: "healthy" } });
    await node.clock.advance(5_000);
    expect(node.probes.findings("a")).toEqual({
      readiness: { kind: "unhealthy", message: "connection refused" },
    });
    expect(node.changes).toEqual(["a", "a"]);
    expect(node.results.map((result) => result.split(" ")[1])).toEqual([
      "success",
      "failure",
      "failure",
      "failure",
    ]);
    node.probes.close();
    expect(node.clock.pendingTimers).toBe(0);
  });

  test("the first probe waits for the initial delay, counted from the guest's start", async () => {
    const node = new Node();
    const startedAt = new Date(node.clock.now() - 20_000);
    node.probes.follow(node.guest({ startedAt, livenessProbe: probe({ initialDelaySeconds: 30 }) }));
    await node.clock.advance(9_999);
    expect(node.ran).toEqual([]);
    await node.clock.advance(1);
    expect(node.ran).toEqual(["vtapa"]);
    node.probes.close();
  });

  test("following again changes nothing, and does not begin anew", async () => {
    const node = new Node();
    for (let second = 0; second < 19; second += 1) {
      node.probes.follow(node.guest({ livenessProbe: probe() }));
      await node.clock.advance(1_000);
    }
    expect(node.ran).toHaveLength(2);
    node.probes.close();
  });

  test("a probe that was changed begins anew with the readiness that is known", async () => {
    const node = new Node();
    node.open.add("vtapa");
    node.probes.follow(node.guest({ readinessProbe: probe() }));
    await node.clock.advance(1);
    node.open.clear();
    node.probes.follow(node.guest({ readinessProbe: probe({ periodSeconds: 1, failureThreshold: 2 }) }));
    await node.clock.advance(1);
    expect(node.probes.findings("a")).toEqual({ readiness: { kind: "healthy" } });
    await node.clock.advance(1_000);
    expect(node.probes.findings("a").readiness?.kind).toBe("unhealthy");
    node.probes.close();
    expect(node.clock.pendingTimers).toBe(0);
  });

  test("a guest that was started again is another one", async () => {
    const node = new Node();
    node.open.add("vtapa");
    node.probes.follow(node.guest({ readinessProbe: probe() }));
    await node.clock.advance(1);
    node.probes.follow(
      node.guest({ readinessProbe: probe(), startedAt: new Date(node.clock.now() + 1_000) }),
    );
    expect(node.probes.findings("a")).toEqual({ readiness: { kind: "pending" } });
    node.probes.close();
  });

  test("a guest that is forgotten, and one without probes, is not probed and nothing is known of it", async () => {
    const node = new Node();
    node.probes.follow(node.guest({ livenessProbe: probe(), readinessProbe: probe() }));
    node.probes.forget("a");
    node.probes.follow(node.guest({ vmUid: "b" }));
    await node.clock.advance(60_000);
    expect([node.ran, node.probes.findings("a"), node.probes.findings("b")]).toEqual([[], {}, {}]);
  });

  test("a result that comes after the guest was forgotten counts for nothing", async () => {
    const node = new Node();
    node.held = [];
    node.probes.follow(node.guest({ livenessProbe: probe({ failureThreshold: 1 }) }));
    await node.clock.advance(1);
    node.probes.forget("a");
    for (const release of node.held) release();
    await node.clock.advance(60_000);
    expect([node.results, node.changes, node.ran]).toEqual([[], [], ["vtapa"]]);
  });

  test("a node that cannot probe takes no guest for dead", async () => {
    const node = new Node();
    node.missing.add("vtapa");
    node.probes.follow(node.guest({ livenessProbe: probe({ failureThreshold: 1, periodSeconds: 1 }) }));
    await node.clock.advance(5_000);
    expect(node.probes.findings("a")).toEqual({ liveness: { kind: "healthy" } });
    expect(new Set(node.results)).toEqual(new Set(["liveness unknown"]));
    expect(node.troubles).toHaveLength(1);
    node.probes.close();
  });

  test("no more run at once than there are slots, and all have their turn", async () => {
    const node = new Node();
    node.held = [];
    const uids = Array.from({ length: 10 }, (_, index) => `guest-${index}`);
    for (const vmUid of uids) {
      node.probes.follow(node.guest({ vmUid, tap: vmUid, livenessProbe: probe({ periodSeconds: 3600 }) }));
    }
    // One that leaves while it waits does not take a slot with it.
    await node.clock.advance(1);
    node.probes.forget("guest-5");
    while (node.held.length > 0) {
      node.held.shift()?.();
      await node.clock.advance(1);
    }
    expect(node.mostAtOnce).toBe(3);
    expect(node.ran).toEqual(uids.filter((uid) => uid !== "guest-5"));
    node.probes.close();
  });
});

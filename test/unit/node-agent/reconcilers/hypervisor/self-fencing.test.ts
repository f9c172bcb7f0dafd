import { describe, expect, test } from "@jest/globals";
import { type Hypervisor, type HypervisorStatus, hypervisors } from "../../../../../src/api/hypervisor.ts";
import { ApiError, type KubeClient, silentLogger, systemClock } from "../../../../../src/kube/index.ts";
import type { WatchdogDevice } from "../../../../../src/node-agent/host/watchdog-device.ts";
import {
  createSelfFencing,
  isStale,
  keepAliveIntervalMs,
  mayKeepAlive,
  type SelfFencingOptions,
} from "../../../../../src/node-agent/reconcilers/hypervisor/self-fencing.ts";

type Word = HypervisorStatus["selfFencing"];

const own = { graceSeconds: 40, timeoutSeconds: 60 };

/** The API server's one Hypervisor. */
class Server {
  version = 1;
  stored: Word;
  isDown = false;
  /** Carried out, but the answer to it is lost. */
  losesAnswers = 0;
  readonly said: Word[] = [];

  readonly client = {
    get: async () => {
      if (this.isDown) throw new Error("no answer");
      return this.#object();
    },
    mergePatch: async (_resource: unknown, _key: unknown, body: PatchBody) => {
      if (this.isDown) throw new Error("no answer");
      this.write(body.metadata.resourceVersion, body.status.selfFencing ?? undefined);
      if (this.losesAnswers > 0) {
        this.losesAnswers -= 1;
        throw new Error("no answer");
      }
      return this.#object();
    },
  } as unknown as Pick<KubeClient, "get" | "mergePatch">;

  /** A write that is bound to a version. */
  write(version: string, word: Word): void {
    if (version !== String(this.version)) throw new ApiError("patch Hypervisor node-1", 409, {});
    this.version += 1;
    this.stored = word;
    this.said.push(word);
  }

  #object(): Hypervisor {
    return hypervisors.parse({
      apiVersion: "vireo.dev/v1alpha1",
      kind: "Hypervisor",
      metadata: {
        name: "node-1",
        uid: "0e6ae2de-2b1c-4ba1-8ac9-1f8d8f6e0001",
        resourceVersion: String(this.version),
        creationTimestamp: "2026-01-01T00:00:00Z",
      },
      spec: {},
      status: { selfFencing: this.stored },
    });
  }
}

interface PatchBody {
  readonly metadata: { readonly resourceVersion: string };
  readonly status: { readonly selfFencing: Word | null };
}

const world = (changes: Partial<WatchdogDevice> | undefined = {}) => {
  const server = new Server();
  const acts: string[] = [];
  const life = { sinceMs: undefined as number | undefined };
  const device: WatchdogDevice = {
    timeoutSeconds: own.timeoutSeconds,
    cannotBeDisarmed: false,
    arm: () => void acts.push("arm"),
    keepAlive: () => void acts.push("alive"),
    disarm: () => void acts.push("disarm"),
    ...changes,
  };
  const options: SelfFencingOptions = {
    nodeName: "node-1",
    client: server.client,
    device,
    graceSeconds: own.graceSeconds,
    heartbeat: { sinceRenewalMs: () => life.sinceMs },
    clock: systemClock,
    logger: silentLogger,
    onKeepAlive: () => {},
  };
  return { server, acts, life, options, fencing: createSelfFencing(options) };
};

const { signal } = new AbortController();
const soonOver = (): AbortSignal => AbortSignal.timeout(50);

describe("the timer", () => {
  test.each<[string, number | undefined, boolean]>([
    ["is not kept alive before a heartbeat of this process is acknowledged", undefined, false],
    ["is kept alive right after one", 0, true],
    ["is kept alive until the grace is over", 40_000, true],
    ["is not kept alive afterwards", 40_001, false],
  ])("%s", (_, sinceMs, expected) => {
    expect(mayKeepAlive(sinceMs, 40_000)).toBe(expected);
  });

  test.each([
    [60, 5_000],
    [10, 2_500],
    [1, 250],
  ])("of %d s is kept alive every %d ms", (seconds, ms) => {
    expect(keepAliveIntervalMs(seconds)).toBe(ms);
  });

  test("is not begun before a heartbeat is acknowledged, since that were a sign of life", async () => {
    const { fencing, acts, life } = world();
    await expect(fencing.arm(soonOver())).rejects.toThrow();
    expect(acts).toEqual([]);
    expect(fencing.status()).toBeUndefined();
    life.sinceMs = 10;
    await fencing.arm(signal);
    expect(acts).toEqual(["arm"]);
    expect(fencing.status()).toEqual(own);
  });

  test("is not kept alive while no heartbeat is acknowledged", async () => {
    const { fencing, acts, life } = world();
    life.sinceMs = 10;
    await fencing.arm(signal);
    life.sinceMs = 40_001;
    await fencing.run(soonOver());
    expect(acts).toEqual(["arm"]);
    life.sinceMs = 10;
    await fencing.run(soonOver());
    expect(acts).toEqual(["arm", "alive"]);
  });
});

describe("what an earlier agent has said", () => {
  test.each<[string, Word, Word, boolean]>([
    ["is nothing to take back when it has said nothing", undefined, own, false],
    ["stays when it will be true again", own, own, false],
    ["is taken back when this one has no watchdog", own, undefined, true],
    ["is taken back when the timeout is another one", { ...own, timeoutSeconds: 30 }, own, true],
    ["is taken back when the grace is another one", { ...own, graceSeconds: 30 }, own, true],
  ])("%s", (_, stored, next, expected) => {
    expect(isStale(stored, next)).toBe(expected);
  });

  test("is taken back before anything else, however often the answer is lost", async () => {
    const { server, options } = world();
    server.stored = own;
    server.losesAnswers = 1;
    await createSelfFencing({ ...options, device: undefined }).prepare(signal);
    expect(server.stored).toBeUndefined();
  });
});

describe("a clean end", () => {
  const armed = async (changes: Partial<WatchdogDevice> = {}, stored: Word = own) => {
    const made = world(changes);
    made.life.sinceMs = 10;
    await made.fencing.arm(signal);
    made.server.stored = stored;
    made.acts.length = 0;
    return made;
  };

  test("takes the word back, and then ends the timer", async () => {
    const { fencing, server, acts } = await armed({});
    await fencing.end(signal);
    expect(server.stored).toBeUndefined();
    expect(acts).toEqual(["alive", "disarm"]);
  });

  test("leaves the timer running when the API server does not acknowledge that", async () => {
    const { fencing, server, acts } = await armed({});
    server.isDown = true;
    await fencing.end(soonOver());
    expect(server.stored).toEqual(own);
    expect(acts).toEqual(["alive"]);
  });

  test("changes the object also when nothing was said yet: a first report on its way meets a conflict", async () => {
    const { fencing, server, acts } = await armed({}, undefined);
    const late = String(server.version);
    await fencing.end(signal);
    expect(acts).toEqual(["alive", "disarm"]);
    expect(() => server.write(late, own)).toThrow("409");
    expect(server.stored).toBeUndefined();
  });

  test("is sure of the same when the answer is lost", async () => {
    const { fencing, server } = await armed({}, undefined);
    const late = String(server.version);
    server.losesAnswers = 2;
    await fencing.end(signal);
    expect(() => server.write(late, own)).toThrow("409");
    expect(server.stored).toBeUndefined();
  });

  test("leaves the word of a timer that nothing ends, since it stays true", async () => {
    const { fencing, server, acts } = await armed({ cannotBeDisarmed: true });
    await fencing.end(signal);
    expect(server.stored).toEqual(own);
    expect(acts).toEqual([]);
  });
});

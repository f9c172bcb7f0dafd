import { describe, expect, test } from "@jest/globals";
import { sleep } from "../../../../src/kube/clock.ts";
import { ErrorCode, LibvirtError, NotSentError } from "../../../../src/libvirt/index.ts";
import { type AskAgent, createAgentProbe } from "../../../../src/node-agent/probes/agent-probe.ts";
import { ManualClock } from "../../../fakes/manual-clock.ts";

const signal = new AbortController().signal;

interface Exit {
  readonly exitcode?: number;
  readonly signal?: number;
}

/** A guest agent whose programs end when they are told to. */
class FakeAgent {
  readonly started: unknown[] = [];
  readonly exits = new Map<number, Exit>();
  /** What the next program ends with at once. */
  next: Exit | undefined = { exitcode: 0 };

  readonly ask: AskAgent = async (_uid, command) => {
    const { execute, arguments: given } = JSON.parse(command) as {
      execute: string;
      arguments: { pid: number };
    };
    if (execute === "guest-exec-status") {
      const exit = this.exits.get(given.pid);
      return JSON.stringify({ return: exit === undefined ? { exited: false } : { exited: true, ...exit } });
    }
    this.started.push(given);
    const pid = 1000 + this.started.length;
    if (this.next !== undefined) this.exits.set(pid, this.next);
    return JSON.stringify({ return: { pid } });
  };
}

const probeWith = (ask: AskAgent) => {
  const clock = new ManualClock();
  const timing = {
    monotonic: () => clock.monotonic(),
    sleep: (ms: number, given: AbortSignal) => sleep(clock, ms, given),
  };
  const probe = createAgentProbe("a-guest", ask, timing);
  const run = (timeoutSeconds = 2) => probe.run(["/bin/check", "--all"], { signal, timeoutSeconds });
  return { clock, run };
};

describe("a program in the guest", () => {
  test("is started with its arguments, in no shell", async () => {
    const agent = new FakeAgent();
    const { run } = probeWith(agent.ask);
    expect(await run()).toEqual({ kind: "success" });
    expect(agent.started).toEqual([{ path: "/bin/check", arg: ["--all"] }]);
  });

  test.each<[string, Exit, string]>([
    ["another exit code", { exitcode: 3 }, "exit code 3"],
    ["a signal", { signal: 9 }, "the program was ended by signal 9"],
  ])("fails with %s", async (_, exit, message) => {
    const agent = new FakeAgent();
    agent.next = exit;
    expect(await probeWith(agent.ask).run()).toEqual({ kind: "failure", message });
  });

  test("succeeds when it ends before its time is over", async () => {
    const agent = new FakeAgent();
    agent.next = undefined;
    const { clock, run } = probeWith(agent.ask);
    const result = run();
    await clock.advance(1_500);
    agent.exits.set(1001, { exitcode: 0 });
    await clock.advance(500);
    expect(await result).toEqual({ kind: "success" });
  });

  test("fails when it does not, and no other is started while it runs", async () => {
    const agent = new FakeAgent();
    agent.next = undefined;
    const { clock, run } = probeWith(agent.ask);
    const first = run();
    await clock.advance(2_000);
    expect(await first).toEqual({ kind: "failure", message: "the program did not end within 2 s" });
    expect(await run()).toEqual({
      kind: "failure",
      message: "the program of an earlier probe still runs",
    });
    expect(agent.started).toHaveLength(1);
    agent.exits.set(1001, { exitcode: 0 });
    agent.next = { exitcode: 0 };
    expect(await run()).toEqual({ kind: "success" });
    expect(agent.started).toHaveLength(2);
  });
});

const libvirtError = (code: number, message: string) =>
  new LibvirtError("domainAgentCommand", { code, domain: 10, level: 2, message });

describe("an agent that cannot be asked", () => {
  test.each<[string, Error, object]>([
    [
      "is the guest's failure when it does not run",
      libvirtError(ErrorCode.AGENT_UNRESPONSIVE, "Guest agent is not responding:\nnot connected"),
      { kind: "failure", message: "Guest agent is not responding: not connected" },
    ],
    [
      "is the guest's failure when it refuses",
      libvirtError(ErrorCode.INTERNAL_ERROR, "guest-exec has been disabled"),
      { kind: "failure", message: "guest-exec has been disabled" },
    ],
    [
      "says nothing of a guest that is off",
      libvirtError(ErrorCode.OPERATION_INVALID, "domain is not running"),
      { kind: "unknown", message: "domain is not running" },
    ],
    [
      "says nothing of the guest when libvirtd is away",
      new NotSentError("domainAgentCommand", "disconnected", undefined),
      { kind: "unknown" },
    ],
  ])("%s", async (_, error, expected) => {
    expect(await probeWith(() => Promise.reject(error)).run()).toMatchObject(expected);
  });

  test.each(["", "{", "null", "[]", '{"return":{}}', '{"return":{"pid":"1"}}', '{"error":{"desc":"no"}}'])(
    "is the guest's failure when it answers %j",
    async (answer) => {
      expect(await probeWith(() => Promise.resolve(answer)).run()).toEqual({
        kind: "failure",
        message: "the guest agent's answer cannot be understood",
      });
    },
  );

  test("is given up when the probe is stopped", async () => {
    const stopping = new AbortController();
    const agent = new FakeAgent();
    agent.next = undefined;
    const clock = new ManualClock();
    const probe = createAgentProbe("a-guest", agent.ask, {
      monotonic: () => clock.monotonic(),
      sleep: (ms, given) => sleep(clock, ms, given),
    });
    const result = probe.run(["/bin/check"], { signal: stopping.signal, timeoutSeconds: 10 });
    stopping.abort(new Error("stopped"));
    await expect(result).rejects.toThrow("stopped");
    expect(clock.pendingTimers).toBe(0);
  });
});

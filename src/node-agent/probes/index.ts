import { isDeepStrictEqual } from "node:util";
import type { Probe } from "../../api/probe.ts";
import type { RunCommand } from "../host/command.ts";
import { type AgentProbe, type AskAgent, createAgentProbe, type Timing } from "./agent-probe.ts";
import { createNetworkProbes } from "./network-probe.ts";
import { oneLine } from "./message.ts";
import { createSlots } from "./slots.ts";
import type { Finding, GuestFindings, ProbedGuest, ProbeKind, ProbeResult } from "./types.ts";
import { startWatch, type Watch } from "./watch.ts";

export type { AskAgent } from "./agent-probe.ts";
export type { Finding, GuestFindings, ProbedGuest, ProbeKind, ProbeResult } from "./types.ts";

/** Whether the guests of this node do what they are for. Nothing of it is on the host: it is gone with the process. */
export interface Probes {
  /**
   * Probes this guest from now on. Saying the same again changes nothing; a
   * probe that differs begins anew, with what is known of the guest's readiness.
   */
  follow(guest: ProbedGuest): void;
  /** Stops probing the guest, and forgets what was found. */
  forget(vmUid: string): void;
  /** What was found so far; nothing of a guest that is not followed. */
  findings(vmUid: string): GuestFindings;
  /** Calls back with the UID of a machine of which something else is found now. */
  onChange(listener: (vmUid: string) => void): () => void;
  /** Stops all probes. */
  close(): void;
}

export interface ProbesOptions {
  readonly run: RunCommand;
  readonly askAgent: AskAgent;
  readonly timing: Timing;
  readonly now: () => Date;
  /** Called with each result. */
  readonly onResult: (probe: ProbeKind, result: ProbeResult["kind"]) => void;
  /** Called when the node itself cannot probe, once for each reason in a row. */
  readonly onTrouble: (vmUid: string, message: string) => void;
  /** How many probes over the network run at once. Default 32. */
  readonly networkSlots?: number;
  /** How many guest agents are asked at once: each takes a call of libvirt's. Default 4. */
  readonly agentSlots?: number;
}

interface Followed {
  readonly guest: ProbedGuest;
  readonly watches: Partial<Record<ProbeKind, Watch>>;
}

const stop = ({ watches }: Followed): void => {
  for (const watch of Object.values(watches)) watch.stop();
};

/** Whether one of two probes of a guest may go on as the other. */
const isSameGuest = (one: ProbedGuest, other: ProbedGuest): boolean =>
  one.tap === other.tap &&
  one.address === other.address &&
  one.startedAt.getTime() === other.startedAt.getTime();

export const createProbes = (options: ProbesOptions): Probes => {
  const { timing, now } = options;
  const runOnce = createRunner(options);
  const followed = new Map<string, Followed>();
  const listeners = new Set<(vmUid: string) => void>();

  const start = (kind: ProbeKind, probe: Probe, guest: ProbedGuest, initial: Finding): Watch => {
    const { vmUid, startedAt } = guest;
    const agent = createAgentProbe(vmUid, options.askAgent, timing);
    let trouble: string | undefined;
    return startWatch({
      probe,
      initial,
      firstDelayMs: Math.max(0, startedAt.getTime() + probe.initialDelaySeconds * 1_000 - now().getTime()),
      runOnce: (signal) => runOnce(probe, guest, agent, signal),
      timing,
      onResult: (result) => {
        options.onResult(kind, result.kind);
        const troubleBefore = trouble;
        trouble = result.kind === "unknown" ? result.message : undefined;
        if (trouble !== undefined && trouble !== troubleBefore) options.onTrouble(vmUid, trouble);
      },
      onFinding: () => listeners.forEach((listener) => listener(vmUid)),
    });
  };

  const forget = (vmUid: string): void => {
    const known = followed.get(vmUid);
    if (known === undefined) return;
    followed.delete(vmUid);
    stop(known);
  };

  return {
    follow: (guest) => {
      const { vmUid, livenessProbe, readinessProbe } = guest;
      const known = followed.get(vmUid);
      if (livenessProbe === undefined && readinessProbe === undefined) return forget(vmUid);
      const same = known !== undefined && isSameGuest(known.guest, guest);
      const next = (kind: ProbeKind, probe: Probe | undefined, initial: Finding) => {
        const watch = known?.watches[kind];
        if (same && watch !== undefined && isDeepStrictEqual(watch.probe, probe)) return { [kind]: watch };
        watch?.stop();
        if (probe === undefined) return {};
        return { [kind]: start(kind, probe, guest, (same ? watch?.finding() : undefined) ?? initial) };
      };
      const watches = {
        ...next("liveness", livenessProbe, { kind: "healthy" }),
        ...next("readiness", readinessProbe, guest.readyBefore),
      };
      followed.set(vmUid, { guest, watches });
    },
    forget,
    findings: (vmUid) => {
      const watches = followed.get(vmUid)?.watches ?? {};
      const found = Object.entries(watches).map(([kind, watch]) => [kind, watch.finding()] as const);
      return Object.fromEntries(found);
    },
    onChange: (listener) => {
      listeners.add(listener);
      return () => listeners.delete(listener);
    },
    close: () => {
      for (const vmUid of followed.keys()) forget(vmUid);
    },
  };
};

type RunOnce = (
  probe: Probe,
  guest: ProbedGuest,
  agent: AgentProbe,
  signal: AbortSignal,
) => Promise<ProbeResult>;

/** Runs one probe when its turn has come. Its time begins then: a busy node does not fail its guests. */
const createRunner = (options: ProbesOptions): RunOnce => {
  const network = createNetworkProbes(options.run);
  const overNetwork = createSlots(options.networkSlots ?? 32);
  const byAgent = createSlots(options.agentSlots ?? 4);

  const perform: RunOnce = (probe, guest, agent, signal) => {
    const { tcpSocket, httpGet, exec, timeoutSeconds } = probe;
    const bounds = { signal, timeoutSeconds };
    if (exec !== undefined) return byAgent(() => agent.run(exec.command, bounds), signal);
    if (httpGet !== undefined) return overNetwork(() => network.http(guest, httpGet, bounds), signal);
    if (tcpSocket !== undefined) return overNetwork(() => network.tcp(guest, tcpSocket.port, bounds), signal);
    return Promise.resolve({ kind: "unknown", message: "the probe has no action" });
  };
  return async (probe, guest, agent, signal) => {
    try {
      return await perform(probe, guest, agent, signal);
    } catch (error) {
      signal.throwIfAborted();
      return { kind: "unknown", message: oneLine(error instanceof Error ? error.message : String(error)) };
    }
  };
};

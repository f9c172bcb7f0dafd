import type {
  ExitReason,
  GuestStatus,
  RunStrategy,
  VirtualMachine,
} from "../../../../../src/api/virtual-machine.ts";
import type { RestorePowerState } from "../../../../../src/api/virtual-machine-restore.ts";
import type { ObservedDomain } from "../../../../../src/node-agent/domains/types.ts";
import { decide, type GuestRequest } from "../../../../../src/node-agent/reconcilers/machine/lifecycle.ts";
import { machineWith } from "../../machines.ts";

/** Situations of a machine, as the tests of its lifecycle describe them. */

export const nodeName = "node-1";
export const now = new Date("2026-01-01T12:00:00Z");
export const secondsAgo = (seconds: number): string =>
  new Date(now.getTime() - seconds * 1000).toISOString().replace(".000", "");

export const on: ObservedDomain = { vmUid: "uid", powerState: "Running" };
export const paused: ObservedDomain = { vmUid: "uid", powerState: "Paused" };
export const off = (exit?: ExitReason): ObservedDomain => ({
  vmUid: "uid",
  powerState: "ShutOff",
  ...(exit === undefined ? {} : { exit }),
});

export const guest = (fields: Partial<GuestStatus>): GuestStatus => ({
  nodeName,
  powerState: "ShutOff",
  restarts: 0,
  ...fields,
});
export const running = guest({ powerState: "Running", startedAt: secondsAgo(60) });
export const ended = (reason: ExitReason, seconds: number, restarts = 0): GuestStatus =>
  guest({ startedAt: secondsAgo(seconds + 5), restarts, lastExit: { reason, at: secondsAgo(seconds) } });

export interface Case {
  readonly strategy: RunStrategy;
  readonly guest?: GuestStatus;
  readonly domain?: ObservedDomain;
  readonly deleting?: boolean;
  readonly grace?: number;
  readonly request?: GuestRequest;
  readonly restoring?: RestorePowerState;
  readonly migrating?: "shape" | "power";
  readonly step: string;
}

export const machineOf = ({ strategy, guest: before, deleting, grace }: Case): VirtualMachine =>
  machineWith({
    spec: { runStrategy: strategy, terminationGracePeriodSeconds: grace ?? 60 },
    metadata: deleting === true ? { deletionTimestamp: secondsAgo(1) } : {},
    status: before === undefined ? {} : { guest: before },
  });

export const decideCase = (given: Case) => {
  const { domain, request, restoring, migrating } = given;
  return decide({ machine: machineOf(given), domain, request, restoring, migrating, now }, nodeName);
};

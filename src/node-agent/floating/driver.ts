import { CommandError, type RunCommand } from "../host/command.ts";
import { addressOfSwitch } from "./owner.ts";
import {
  OBSERVE,
  parseOutside,
  renderHold,
  renderMakeSwitches,
  renderRemove,
  renderRemoveSwitches,
  renderSwitchOff,
  renderSwitchOn,
} from "./render.ts";
import type { DeviceAddress, ObservedOutside, Placement } from "./types.ts";

/** Looks at addresses and switches and changes them, with iproute2, ipset, conntrack and arping. */
export interface FloatingDriver {
  observe(signal: AbortSignal): Promise<ObservedOutside>;
  /** Addresses that have a switch, on or off. */
  switches(signal: AbortSignal): Promise<readonly string[]>;
  makeSwitches(addresses: readonly string[], signal: AbortSignal): Promise<void>;
  switchOn(addresses: readonly string[], seconds: number, signal: AbortSignal): Promise<void>;
  switchOff(addresses: readonly string[], signal: AbortSignal): Promise<void>;
  /** No rule may name them any more. */
  removeSwitches(addresses: readonly string[], signal: AbortSignal): Promise<void>;
  hold(placements: readonly Placement[], seconds: number, signal: AbortSignal): Promise<void>;
  /** One that has gone meanwhile makes it reject. */
  remove(addresses: readonly DeviceAddress[], signal: AbortSignal): Promise<void>;
  /** Forgets the connections that came to the address or were sent from it. */
  forgetConnections(address: string, signal: AbortSignal): Promise<void>;
  /** Tells the neighbours on the device once, in both forms: some heed only one. */
  announce(placement: Placement, signal: AbortSignal): Promise<void>;
}

/** An address is held for seconds only: a program that takes longer is of no use any more. */
const TIMEOUT_MS = 2_500;
const CONNTRACK_TIMEOUT_MS = 30_000;

const deletedNone = (error: unknown): boolean =>
  error instanceof CommandError && error.failure === "exit" && error.stderr.includes("0 flow entries");

export const createFloatingDriver = (run: RunCommand): FloatingDriver => {
  const ip = (stdin: string, signal: AbortSignal) =>
    run("ip", ["-4", "-json", "-batch", "-"], { stdin, signal, timeoutMs: TIMEOUT_MS });
  const restore = async (stdin: string, signal: AbortSignal): Promise<void> => {
    if (stdin !== "") await run("ipset", ["-exist", "restore"], { stdin, signal, timeoutMs: TIMEOUT_MS });
  };
  const change = async (stdin: string, signal: AbortSignal): Promise<void> => {
    if (stdin !== "") await ip(stdin, signal);
  };
  return {
    observe: async (signal) => parseOutside((await ip(OBSERVE, signal)).stdout),
    switches: async (signal) => {
      const { stdout } = await run("ipset", ["list", "-name"], { signal, timeoutMs: TIMEOUT_MS });
      return stdout.split("\n").flatMap((name) => addressOfSwitch(name.trim()) ?? []);
    },
    makeSwitches: (addresses, signal) => restore(renderMakeSwitches(addresses), signal),
    switchOn: (addresses, seconds, signal) => restore(renderSwitchOn(addresses, seconds), signal),
    switchOff: (addresses, signal) => restore(renderSwitchOff(addresses), signal),
    removeSwitches: (addresses, signal) => restore(renderRemoveSwitches(addresses), signal),
    hold: (placements, seconds, signal) => change(renderHold(placements, seconds), signal),
    remove: (addresses, signal) => change(renderRemove(addresses), signal),
    forgetConnections: async (address, signal) => {
      for (const direction of ["--orig-dst", "--reply-dst"]) {
        await run("conntrack", ["-D", direction, address], {
          signal,
          timeoutMs: CONNTRACK_TIMEOUT_MS,
          maxOutputBytes: 64 * 1024 * 1024,
        }).catch((error: unknown) => {
          if (!deletedNone(error)) throw error;
        });
      }
    },
    announce: async ({ address, device }, signal) => {
      const send = (form: "-U" | "-A") =>
        run("arping", ["-q", form, "-c", "1", "-I", device, address], { signal, timeoutMs: TIMEOUT_MS });
      await Promise.all([send("-U"), send("-A")]);
    },
  };
};

import type { RunCommand } from "../host/command.ts";
import { both } from "../host/both.ts";
import { isOwnVxlan, isTapName } from "./owner.ts";
import { LOOK, parseForwarding, parseLook, parseSettings } from "./observe.ts";
import { renderBatch, renderForwarding, renderSettings } from "./render.ts";
import { settingsOf, type Tuning } from "./settings.ts";
import type { Plan, Step } from "./steps.ts";
import type { ObservedDevice, ObservedLinks } from "./types.ts";

/** Looks at the node's links and changes them, with iproute2 and procps. */
export interface LinkDriver {
  observe(signal: AbortSignal): Promise<ObservedLinks>;
  /** Carries the parts of the plan out, one after the other; a part that is empty costs nothing. */
  apply(plan: Plan, signal: AbortSignal): Promise<void>;
}

export interface LinkDriverOptions {
  readonly run: RunCommand;
  /** A clock that never goes back, in ms. */
  readonly monotonicMs: () => number;
}

/** Generous for a busy node: the kernel waits for readers for each device that it removes, and there may be hundreds. */
const TIMEOUT_MS = 60_000;
const MAX_OUTPUT_BYTES = 64 * 1024 * 1024;

/**
 * How long the kernel's settings are believed to be as they were last seen or
 * written, in ms. Reading them takes the kernel longer than all the rest (0.1 s
 * for 500 taps), and hardly anybody changes them.
 */
export const SETTINGS_LIFE_MS = 30_000;

/** Everything of ours that has settings. */
const tuningsOf = (devices: readonly ObservedDevice[]): readonly Tuning[] => [
  { kind: "node" },
  { kind: "gateway" },
  ...devices.flatMap((device): Tuning[] => {
    if (device.kind === "tap" && isTapName(device.name)) return [{ kind: "tap", device: device.name }];
    return isOwnVxlan(device) ? [{ kind: "vxlan", device: device.name }] : [];
  }),
];

export const createLinkDriver = ({ run, monotonicMs }: LinkDriverOptions): LinkDriver => {
  const settings = createSettings(run, monotonicMs);
  const changeLinks = async (steps: readonly Step[], signal: AbortSignal): Promise<void> => {
    if (steps.length === 0) return;
    await run("ip", ["-batch", "-"], { stdin: renderBatch(steps), signal, timeoutMs: TIMEOUT_MS });
  };
  return {
    observe: async (signal) => {
      const options = { signal, timeoutMs: TIMEOUT_MS, maxOutputBytes: MAX_OUTPUT_BYTES };
      const [look, forwarding] = await both(
        run("ip", ["-N", "-json", "-details", "-batch", "-"], { ...options, stdin: LOOK }),
        run("bridge", ["-json", "fdb", "show"], options),
      );
      const links = parseLook(look.stdout);
      return {
        ...links,
        forwarding: parseForwarding(forwarding.stdout),
        settings: await settings.of(tuningsOf(links.devices), signal),
      };
    },
    apply: async ({ make, tune, forward, connect }, signal) => {
      await changeLinks(make, signal);
      if (tune.length > 0) await settings.write(tune, signal);
      if (forward.length > 0) {
        const stdin = renderForwarding(forward);
        await run("bridge", ["-batch", "-"], { stdin, signal, timeoutMs: TIMEOUT_MS });
      }
      await changeLinks(connect, signal);
    },
  };
};

/** The kernel's settings, read at most once in SETTINGS_LIFE_MS. */
const createSettings = (run: RunCommand, monotonicMs: () => number) => {
  let known: { readonly values: Map<string, string>; readonly at: number } | undefined;
  // --ignore: a kernel without IPv6 has no settings for it, and a device may have gone meanwhile.
  const sysctl = (args: readonly string[], options: { signal: AbortSignal; stdin?: string }) =>
    run("sysctl", ["--ignore", ...args], {
      ...options,
      timeoutMs: TIMEOUT_MS,
      maxOutputBytes: MAX_OUTPUT_BYTES,
    });
  return {
    of: async (tunings: readonly Tuning[], signal: AbortSignal): Promise<ReadonlyMap<string, string>> => {
      if (known !== undefined && monotonicMs() - known.at < SETTINGS_LIFE_MS) return new Map(known.values);
      const at = monotonicMs();
      const names = tunings.flatMap((tuning) => Object.keys(settingsOf(tuning)));
      const { stdout } = await sysctl(names, { signal });
      known = { values: new Map(parseSettings(stdout)), at };
      return new Map(known.values);
    },
    write: async (tunings: readonly Tuning[], signal: AbortSignal): Promise<void> => {
      const last = known;
      // Until it is known to have ended well, nothing is known.
      known = undefined;
      await sysctl(["--quiet", "--load=-"], { signal, stdin: renderSettings(tunings) });
      known = last;
      for (const tuning of tunings) {
        for (const [name, value] of Object.entries(settingsOf(tuning))) last?.values.set(name, String(value));
      }
    },
  };
};

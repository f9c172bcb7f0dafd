import { z } from "zod";
import type { RunCommand } from "../host/command.ts";
import { isEmpty, type ObservedDevice, type ObservedLinks, type Plan, type Step } from "./plan.ts";
import { renderBatch, renderSettings } from "./render.ts";

/** Looks at the node's links and changes them, with iproute2 and procps. */
export interface LinkDriver {
  observe(signal: AbortSignal): Promise<ObservedLinks>;
  /** Carries the parts of the plan out, one after the other; a part that is empty costs nothing. */
  apply(plan: Plan, signal: AbortSignal): Promise<void>;
}

/** Generous for a busy node: the kernel may wait for readers while it removes devices. */
const TIMEOUT_MS = 20_000;
const MAX_OUTPUT_BYTES = 64 * 1024 * 1024;

const device = z.object({
  ifname: z.string(),
  ifalias: z.string().optional(),
  address: z.string().optional(),
  mtu: z.int(),
  flags: z.array(z.string()),
  linkinfo: z
    .object({
      info_kind: z.string().optional(),
      info_data: z.object({ type: z.unknown().optional() }).optional(),
    })
    .optional(),
  addr_info: z
    .array(
      z.object({
        family: z.string().optional(),
        local: z.string().optional(),
        prefixlen: z.int().optional(),
      }),
    )
    .default([]),
});
const route = z.object({ dst: z.string(), dev: z.string().optional() });
const neighbour = z.object({ dst: z.string(), dev: z.string(), lladdr: z.string().optional() });

/** The kernel's settings of a device, or of "all"; one entry for each address family. */
const netconf = z.object({
  interface: z.string().optional(),
  family: z.string(),
  forwarding: z.boolean().default(false),
  rp_filter: z.string().default("off"),
  proxy_neigh: z.boolean().default(false),
});

type Netconf = z.output<typeof netconf>;

/** iproute2 leaves an empty object where it filtered an entry out. */
const listOf = <T extends z.ZodType>(entry: T) =>
  z
    .array(z.unknown())
    .transform((list) => list.filter((item) => Object.keys(item ?? {}).length > 0))
    .pipe(z.array(entry));

/** What OBSERVE prints: one line of JSON for each of its lines. */
const observation = z.tuple([listOf(device), listOf(route), listOf(neighbour), listOf(netconf)]);

const OBSERVE = "address show\nroute show table main\nneighbour show nud permanent\nnetconf show\n";

const kindOf = ({ linkinfo }: z.output<typeof device>): string | undefined =>
  linkinfo?.info_kind === "tun" && linkinfo.info_data?.type === "tap" ? "tap" : linkinfo?.info_kind;

/** Names of the devices, among them "all", whose IPv4 settings fit. */
const devicesThat = (
  entries: readonly Netconf[],
  fit: (entry: Netconf) => boolean,
): ReadonlySet<string | undefined> =>
  new Set(entries.filter((entry) => entry.family === "inet" && fit(entry)).map((entry) => entry.interface));

/** As far as netlink tells what render.ts writes for a tap. */
const routesForGuest = (entry: Netconf): boolean =>
  entry.forwarding && entry.proxy_neigh && entry.rp_filter === "strict";

const deviceOf = (
  entry: z.output<typeof device>,
  routing: ReadonlySet<string | undefined>,
): ObservedDevice => ({
  name: entry.ifname,
  kind: kindOf(entry),
  alias: entry.ifalias,
  macAddress: entry.address,
  mtu: entry.mtu,
  up: entry.flags.includes("UP"),
  addresses: entry.addr_info
    .filter(({ family }) => family === "inet")
    .map(({ local, prefixlen }) => `${local}/${prefixlen}`),
  routesForGuest: routing.has(entry.ifname),
});

/** Reads the output of `ip -json -details -batch -` for OBSERVE. */
export const parseObservation = (stdout: string): ObservedLinks => {
  const lines = stdout.split("\n").filter((line) => line.trim() !== "");
  const [devices, routes, neighbours, settings] = observation.parse(
    lines.map((line): unknown => JSON.parse(line)),
  );
  const routing = devicesThat(settings, routesForGuest);
  return {
    forwarding: devicesThat(settings, ({ forwarding }) => forwarding).has("all"),
    devices: devices.map((entry) => deviceOf(entry, routing)),
    routes: routes.map(({ dst, dev }) => ({ destination: dst, device: dev })),
    neighbours: neighbours.map(({ dst, dev, lladdr }) => ({ address: dst, device: dev, macAddress: lladdr })),
  };
};

/**
 * How long an observation may serve several verbs, in ms. A look at the node
 * costs a process; when all machines are looked at in turn, one look does.
 */
const OBSERVATION_LIFE_MS = 1_000;

/** Shares what was observed a moment ago, until something is changed here. */
export const sharingObservations = (driver: LinkDriver, monotonicMs: () => number): LinkDriver => {
  let recent: { readonly links: ObservedLinks; readonly at: number } | undefined;
  return {
    observe: async (signal) => {
      if (recent !== undefined && monotonicMs() - recent.at < OBSERVATION_LIFE_MS) return recent.links;
      const at = monotonicMs();
      const links = await driver.observe(signal);
      recent = { links, at };
      return links;
    },
    apply: async (plan, signal) => {
      if (isEmpty(plan)) return;
      recent = undefined;
      await driver.apply(plan, signal);
    },
  };
};

export const createLinkDriver = (run: RunCommand): LinkDriver => {
  const changeLinks = async (steps: readonly Step[], signal: AbortSignal): Promise<void> => {
    if (steps.length === 0) return;
    await run("ip", ["-batch", "-"], { stdin: renderBatch(steps), signal, timeoutMs: TIMEOUT_MS });
  };
  return {
    observe: async (signal) => {
      const { stdout } = await run("ip", ["-json", "-details", "-batch", "-"], {
        stdin: OBSERVE,
        signal,
        timeoutMs: TIMEOUT_MS,
        maxOutputBytes: MAX_OUTPUT_BYTES,
      });
      return parseObservation(stdout);
    },
    apply: async ({ make, tune, connect }, signal) => {
      await changeLinks(make, signal);
      if (tune.length > 0) {
        // --ignore: a kernel without IPv6 has no settings for it.
        await run("sysctl", ["--quiet", "--ignore", "--load=-"], {
          stdin: renderSettings(tune),
          signal,
          timeoutMs: TIMEOUT_MS,
        });
      }
      await changeLinks(connect, signal);
    },
  };
};

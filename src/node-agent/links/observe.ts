import { z } from "zod";
import { ROUTE_PROTOCOL, vniOfTable } from "../../api/network-identity.ts";
import { isOurs, type Rule } from "./rules.ts";
import type { ObservedDevice, ObservedForwarding, ObservedLinks, ObservedRoute } from "./types.ts";

/** What `ip -N -json -details -batch -` and `bridge -json fdb show` print, as observed values. */

/** Standard input of the look at everything but settings and forwarding. -N: no names from the host's tables of names. */
export const LOOK = `address show\nrule show\nroute show table all proto ${ROUTE_PROTOCOL}\nneighbour show nud permanent\n`;

const device = z.object({
  ifname: z.string(),
  ifalias: z.string().optional(),
  address: z.string().optional(),
  mtu: z.int(),
  group: z.coerce.number().default(0),
  flags: z.array(z.string()),
  linkinfo: z
    .object({
      info_kind: z.string().optional(),
      info_data: z
        .object({
          type: z.unknown().optional(),
          id: z.unknown().optional(),
          local: z.string().optional(),
          port: z.unknown().optional(),
          learning: z.unknown().optional(),
        })
        .optional(),
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

/** A rule of any other shape than ours is somebody else's, whatever protocol it says. */
const rule = z.strictObject({
  priority: z.int(),
  src: z.literal("all"),
  protocol: z.literal(String(ROUTE_PROTOCOL)),
  dst: z.string().optional(),
  dstlen: z.int().optional(),
  fwmark: z.string().optional(),
  fwmask: z.string().optional(),
  iif: z.string().optional(),
  iif_detached: z.unknown().optional(),
  // UDP; the last is what -N makes of it in iproute2 6.1.
  ipproto: z.literal(["udp", "17", "ipproto-17"]).optional(),
  dport: z.int().optional(),
  table: z.coerce.number().optional(),
  goto: z.int().optional(),
  unresolved: z.unknown().optional(),
  nop: z.null().optional(),
  // As of routes: 6 leads nowhere.
  action: z.literal("6").optional(),
});

const route = z.object({
  // The kernel's number of the kind of route: 1 leads somewhere.
  type: z.string(),
  dst: z.string(),
  dev: z.string().optional(),
  gateway: z.string().optional(),
  prefsrc: z.string().optional(),
  metric: z.int().default(0),
  table: z.coerce.number().optional(),
});

const neighbour = z.object({ dst: z.string(), dev: z.string(), lladdr: z.string().optional() });

const forwarding = z.object({
  mac: z.string(),
  ifname: z.string(),
  dst: z.string().optional(),
  state: z.string().optional(),
});

/** iproute2 leaves an empty object where it filtered an entry out. */
const listOf = <T extends z.ZodType>(entry: T) =>
  z
    .array(z.unknown())
    .transform((list) => list.filter((item) => Object.keys(item ?? {}).length > 0))
    .pipe(z.array(entry));

const look = z.tuple([listOf(device), listOf(z.unknown()), listOf(route), listOf(neighbour)]);
const table = listOf(forwarding);

const vxlanOf = ({ linkinfo }: z.output<typeof device>): ObservedDevice["vxlan"] => {
  if (linkinfo?.info_kind !== "vxlan") return undefined;
  const { id, local, port, learning } = linkinfo.info_data ?? {};
  return { vni: Number(id), local, port: Number(port), learning: learning !== false };
};

const kindOf = ({ linkinfo }: z.output<typeof device>): string | undefined =>
  linkinfo?.info_kind === "tun" && linkinfo.info_data?.type === "tap" ? "tap" : linkinfo?.info_kind;

const deviceOf = (entry: z.output<typeof device>): ObservedDevice => ({
  name: entry.ifname,
  kind: kindOf(entry),
  alias: entry.ifalias,
  macAddress: entry.address,
  mtu: entry.mtu,
  up: entry.flags.includes("UP"),
  group: entry.group,
  addresses: entry.addr_info
    .filter(({ family }) => family === "inet")
    .map(({ local, prefixlen }) => `${local}/${prefixlen}`),
  vxlan: vxlanOf(entry),
});

const actionOf = (entry: z.output<typeof rule>): Rule["action"] | undefined => {
  if (entry.table !== undefined) return { kind: "lookup", table: entry.table };
  if (entry.goto !== undefined) return { kind: "goto", priority: entry.goto };
  if (entry.nop === null) return { kind: "nop" };
  return entry.action === undefined ? undefined : { kind: "blackhole" };
};

/** None for a rule that is not one of ours. */
const rulesIn = (entry: unknown): Rule[] => {
  const { data } = rule.safeParse(entry);
  const action = data === undefined ? undefined : actionOf(data);
  if (data === undefined || action === undefined) return [];
  const { priority, fwmark, fwmask, iif, dst, dstlen, dport } = data;
  const found: Rule = {
    priority,
    ...(fwmark === undefined ? {} : { mark: `${fwmark}${fwmask === undefined ? "" : `/${fwmask}`}` }),
    ...(iif === undefined ? {} : { device: iif }),
    ...(dst === undefined ? {} : { destination: dstlen === undefined ? dst : `${dst}/${dstlen}` }),
    ...(dport === undefined ? {} : { udpPort: dport }),
    action,
  };
  return isOurs(found) ? [found] : [];
};

/** None for a route that is not in a table of ours. */
const routesIn = (entry: z.output<typeof route>): ObservedRoute[] => {
  if (entry.table === undefined || vniOfTable(entry.table) === undefined) return [];
  return [
    {
      table: entry.table,
      destination: entry.dst,
      device: entry.dev,
      gateway: entry.gateway,
      source: entry.prefsrc,
      metric: entry.metric,
      unicast: entry.type === "1",
    },
  ];
};

/** Throws when iproute2 printed anything else than what LOOK asks for. */
export const parseLook = (stdout: string): Omit<ObservedLinks, "forwarding" | "settings"> => {
  const lines = stdout.split("\n").filter((line) => line.trim() !== "");
  const [devices, rules, routes, neighbours] = look.parse(lines.map((line): unknown => JSON.parse(line)));
  return {
    devices: devices.map(deviceOf),
    rules: rules.flatMap(rulesIn),
    routes: routes.flatMap(routesIn),
    neighbours: neighbours.map(({ dst, dev, lladdr }) => ({ address: dst, device: dev, macAddress: lladdr })),
  };
};

/** Entries that lead to another host: those of VXLAN devices. */
export const parseForwarding = (stdout: string): readonly ObservedForwarding[] =>
  table
    .parse(stdout.trim() === "" ? [] : JSON.parse(stdout))
    .flatMap(({ mac, ifname, dst, state }) =>
      dst === undefined
        ? []
        : [{ device: ifname, macAddress: mac, nodeAddress: dst, permanent: state === "permanent" }],
    );

/** What `sysctl` prints: a name and a value on each line. */
export const parseSettings = (stdout: string): ReadonlyMap<string, string> =>
  new Map(
    stdout.split("\n").flatMap((line) => {
      const [, name, value] = /^(\S+) = (.*)$/.exec(line) ?? [];
      return name === undefined || value === undefined ? [] : [[name, value] as const];
    }),
  );

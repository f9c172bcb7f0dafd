/**
 * What programming the packet filter costs on one node: 500 guests, each in a
 * group of its own with ten rules, and a remote group of a thousand members.
 *
 *   node bench/filters.ts            prints milliseconds, for each backend of iptables
 */
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";

import type { RunCommand } from "../src/node-agent/host/command.ts";
import {
  createFilters,
  type DesiredFilters,
  type FilterGroup,
  type FilterRule,
  type GuestFilter,
} from "../src/node-agent/filters/index.ts";
import { startNetworkNamespace } from "../test/testbed/network-namespace.ts";
import { median } from "./statistics.ts";

const GUESTS = 500;
const RULES = 10;
const MEMBERS = 1000;
const REPEATS = 7;

export const filterBackends = ["nft", "legacy"] as const;
export type FilterBackend = (typeof filterBackends)[number];

export interface FilterCosts {
  /** From nothing to everything. */
  readonly fullMs: number;
  /** One address joins the remote group. */
  readonly memberMs: number;
  /** One guest changes its groups. */
  readonly guestMs: number;
  /** A look at everything that finds nothing to do. */
  readonly verifyMs: number;
}

const addressOf = (network: number, index: number): string =>
  `10.${network}.${Math.floor(index / 250)}.${(index % 250) + 2}`;

const ruleOf = (group: number, index: number): FilterRule => ({
  protocol: 6,
  ports: { first: 1000 + index, last: 1000 + index },
  remote:
    index % 2 === 0
      ? { kind: "group", uid: "everybody" }
      : { kind: "cidrs", cidrs: [`172.16.${group % 250}.0/24`], except: [] },
});

const groupOf = (index: number): FilterGroup => ({
  uid: `group-${index}`,
  ingress: Array.from({ length: RULES }, (_, rule) => ruleOf(index, rule)),
  egress: [{ protocol: "any", remote: { kind: "any" } }],
  logRefused: false,
});

const guestOf = (index: number): GuestFilter => ({
  vmUid: `guest-${index}`,
  namespace: "bench",
  name: `guest-${index}`,
  tap: `vtap${(index * 0x1234567).toString(16).padStart(11, "0").split("").toReversed().join("").slice(0, 11)}`,
  vni: 1,
  macAddress: `02:00:00:00:${Math.floor(index / 256)
    .toString(16)
    .padStart(2, "0")}:${(index % 256).toString(16).padStart(2, "0")}`,
  address: addressOf(0, index),
  allowedAddresses: [],
  gateway: "10.0.0.1",
  securityGroups: [`group-${index}`],
});

const members = Array.from({ length: MEMBERS }, (_, index) => addressOf(1, index));

/** A node full of guests; `change` counts what differs from one pass to the next. */
const desired = (change: { readonly members?: number; readonly guest?: number } = {}): DesiredFilters => {
  const guests = Array.from({ length: GUESTS }, (_, index) => guestOf(index));
  const [first, ...others] = guests;
  const securityGroups = ["group-0", `group-${1 + (change.guest ?? 0)}`];
  const changed = change.guest === undefined || first === undefined ? [] : [{ ...first, securityGroups }];
  return {
    guests: changed.length === 0 ? guests : [...changed, ...others],
    networks: [{ vni: 1, cidr: "10.0.0.0/8", egress: "NAT", peers: [] }],
    groups: Array.from({ length: GUESTS }, (_, index) => groupOf(index)),
    members: [
      {
        groupUid: "everybody",
        vni: 1,
        addresses: [...members, ...Array.from({ length: change.members ?? 0 }, (_, i) => addressOf(2, i))],
      },
    ],
    nodeAddresses: ["192.0.2.1"],
    tunnelAddress: "192.0.2.1",
    vxlanPort: 14_789,
  };
};

const timed = async (work: () => Promise<unknown>): Promise<number> => {
  const start = performance.now();
  await work();
  return performance.now() - start;
};

/** Median of several runs, each with another change. */
const repeated = async (work: (run: number) => Promise<unknown>): Promise<number> => {
  const times = [];
  for (let run = 0; run < REPEATS; run += 1) times.push(await timed(() => work(run)));
  return median(times);
};

/** In a network namespace of its own: rules of the machine are neither seen nor changed. */
export const measureFilters = async (backend: FilterBackend): Promise<FilterCosts> => {
  const directory = await mkdtemp(join(tmpdir(), "vireo-bench-filters-"));
  const namespace = await startNetworkNamespace({ name: backend, directory });
  const { signal } = new AbortController();
  const run: RunCommand = (file, args, options) =>
    namespace.runCommand(file.replace(/^(ip6?tables)-/, `$1-${backend}-`), args, options);
  try {
    const filters = createFilters({ run });
    return {
      fullMs: await timed(() => filters.sync(desired(), { signal })),
      memberMs: await repeated((n) => filters.sync(desired({ members: n + 1 }), { signal })),
      guestMs: await repeated((n) => filters.sync(desired({ members: REPEATS, guest: n }), { signal })),
      verifyMs: await repeated(() =>
        filters.sync(desired({ members: REPEATS, guest: REPEATS - 1 }), { signal, verify: true }),
      ),
    };
  } finally {
    await namespace.stop();
    await rm(directory, { recursive: true });
  }
};

if (import.meta.main) {
  for (const backend of filterBackends) {
    const { fullMs, memberMs, guestMs, verifyMs } = await measureFilters(backend);
    const show = (ms: number): string => `${ms.toFixed(0)} ms`;
    process.stdout.write(
      [
        `iptables-${backend}, ${GUESTS} guests x ${RULES} rules, ${MEMBERS} members`,
        `  full programming        ${show(fullMs)}`,
        `  one member more         ${show(memberMs)}`,
        `  one guest's groups      ${show(guestMs)}`,
        `  a look at everything    ${show(verifyMs)}`,
        "",
      ].join("\n"),
    );
  }
}

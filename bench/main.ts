/**
 * `make bench`: what Vireo costs, measured in one run, printed beside the
 * checked-in baseline. Ratios can be compared between machines; times and
 * sizes only with a baseline of the same machine.
 *
 *   node bench/main.ts                measures and compares
 *   node bench/main.ts life filters   these parts only
 *   node bench/main.ts --write        also writes what was measured into bench/baseline.json
 */
import { readFile, writeFile } from "node:fs/promises";
import { cpus } from "node:os";
import { join } from "node:path";
import { startTestbed } from "../test/testbed/testbed.ts";
import { copyKinds } from "./copies.ts";
import { measureFailovers } from "./failover.ts";
import { filterBackends, measureFilters } from "./filters.ts";
import { measureLife } from "./life.ts";
import { measureMany } from "./many.ts";
import { measureMembership } from "./membership.ts";
import { openStage } from "./stage.ts";
import { measureStart } from "./start.ts";

interface Row {
  readonly name: string;
  readonly value: number;
  readonly unit: string;
  /** What the project aims at: at most this. */
  readonly target?: number;
}

type Baseline = Readonly<Record<string, number>>;

const BASELINE = join(import.meta.dirname, "baseline.json");
const say = (text: string): void => void process.stdout.write(`${text}\n`);
const progress = (text: string): void => void process.stderr.write(`${text}\n`);

const measureOneNode = async (): Promise<readonly Row[]> => {
  const testbed = await startTestbed({ nodes: 1, program: "bundle", progress });
  const stage = await openStage(testbed);
  try {
    progress("measuring starts against virsh create");
    const start = await measureStart(stage);
    progress("measuring 20 machines at once, memory, and idle load (four minutes)");
    const many = await measureMany(stage);
    progress("measuring what 100 machines cost that join a group");
    const membership = await measureMembership(stage);
    return [
      { name: "start: apply to guest running / virsh create", value: start.ratio, unit: "x", target: 1.5 },
      { name: "start: apply to guest running", value: start.vireoMs, unit: "ms" },
      { name: "start: apply to Ready", value: start.readyMs, unit: "ms" },
      { name: "start: virsh create to guest running", value: start.virshMs, unit: "ms" },
      { name: "20 machines at once: apply to Ready, p50", value: many.p50Ms, unit: "ms" },
      { name: "20 machines at once: apply to Ready, p95", value: many.p95Ms, unit: "ms" },
      {
        name: "20 machines at once: p95 / (20 x virsh create)",
        value: many.p95Ms / (20 * start.virshMs),
        unit: "x",
      },
      { name: "controller, resident, 0 machines", value: many.empty.controllerMiB, unit: "MiB" },
      { name: "controller, resident, 20 machines", value: many.full.controllerMiB, unit: "MiB" },
      { name: "agent, resident, 0 machines", value: many.empty.agentMiB, unit: "MiB" },
      { name: "agent, resident, 20 machines", value: many.full.agentMiB, unit: "MiB" },
      { name: "agent, idle, 0 machines", value: many.empty.idleCpuPercent, unit: "% of a CPU", target: 1 },
      { name: "agent, idle, 20 machines", value: many.full.idleCpuPercent, unit: "% of a CPU", target: 1 },
      { name: "100 machines join a group: slice writes", value: membership.writes, unit: "writes" },
      { name: "100 machines join a group: sent to an agent", value: membership.sentKiB, unit: "KiB" },
      { name: "100 machines join a group: until all are told", value: membership.ms, unit: "ms" },
    ];
  } finally {
    await stage.close();
    await testbed.stop();
  }
};

/** How long a client may go without an answer from a floating address, in ms. */
const outageTargets: Readonly<Record<string, number>> = {
  "machine halted": 1000,
  "machine crashed": 2000,
  // None: what is left is the noise of a busy machine.
  "agent killed": 100,
  "node powered off": 5000,
  "node cut off": 5000,
};

const measureFloatingAddress = async (): Promise<readonly Row[]> => {
  const outages = await measureFailovers(progress);
  const twice = outages.filter(({ twoAnswers }) => twoAnswers).length;
  return [
    ...outages.map(({ name, gapMs }): Row => ({
      name: `floating address: ${name}`,
      value: gapMs,
      unit: "ms",
      target: outageTargets[name] ?? 0,
    })),
    { name: "floating address: moves with two answers", value: twice, unit: "moves", target: 0 },
  ];
};

const measureFilterRules = async (): Promise<readonly Row[]> => {
  const rows: Row[] = [];
  for (const backend of filterBackends) {
    progress(`measuring 500 guests x 10 rules x a group of 1,000, with iptables-${backend}`);
    const { fullMs, memberMs, guestMs, verifyMs } = await measureFilters(backend);
    const name = (what: string): string => `filters (${backend}): ${what}`;
    rows.push(
      { name: name("full programming"), value: fullMs, unit: "ms", target: 2000 },
      { name: name("one member more"), value: memberMs, unit: "ms", target: 50 },
      { name: name("one guest's groups"), value: guestMs, unit: "ms", target: 50 },
      { name: name("a look at everything"), value: verifyMs, unit: "ms" },
    );
  }
  return rows;
};

const measureOneGuest = async (): Promise<readonly Row[]> => {
  const { console, migration, copies } = await measureLife(progress);
  const { vireo, virsh, virshTls } = migration;
  return [
    {
      name: "migration: apply to Succeeded / virsh migrate",
      value: vireo.ms / virsh.ms,
      unit: "x",
      target: 1.1,
    },
    {
      name: "migration: Copying to Succeeded / virsh migrate",
      value: (vireo.ms - vireo.preparingMs) / virsh.ms,
      unit: "x",
    },
    {
      name: "migration: Copying to Succeeded / virsh migrate --tls",
      value: (vireo.ms - vireo.preparingMs) / virshTls.ms,
      unit: "x",
    },
    { name: "migration: apply to Succeeded", value: vireo.ms, unit: "ms" },
    { name: "migration: of that, preparing the target", value: vireo.preparingMs, unit: "ms" },
    { name: "migration: virsh migrate", value: virsh.ms, unit: "ms" },
    { name: "migration: virsh migrate --tls", value: virshTls.ms, unit: "ms" },
    {
      name: "migration: downtime / of virsh migrate",
      value: vireo.downtimeMs / virsh.downtimeMs,
      unit: "x",
      target: 1.1,
    },
    { name: "migration: downtime", value: vireo.downtimeMs, unit: "ms" },
    { name: "migration: downtime of virsh migrate", value: virsh.downtimeMs, unit: "ms" },
    { name: "migration: downtime of virsh migrate --tls", value: virshTls.downtimeMs, unit: "ms" },
    ...copyKinds.flatMap((kind): readonly Row[] => {
      const { vireoMs, rawMs } = copies[kind];
      const [what, raw] =
        kind === "clone"
          ? [kind, "qemu-img"]
          : [`snapshot ${kind}`, kind === "offline" ? "qemu-img" : "virsh"];
      return [
        { name: `${what}: apply to Ready / ${raw}`, value: vireoMs / rawMs, unit: "x" },
        { name: `${what}: apply to Ready`, value: vireoMs, unit: "ms" },
        { name: `${what}: ${raw}`, value: rawMs, unit: "ms" },
      ];
    }),
    {
      name: "console: key to echo / QEMU's socket",
      value: console.api.p50Ms / console.socket.p50Ms,
      unit: "x",
    },
    { name: "console: key to echo, p50", value: console.api.p50Ms, unit: "ms" },
    { name: "console: key to echo, p95", value: console.api.p95Ms, unit: "ms" },
    { name: "console: key to echo at QEMU's socket, p50", value: console.socket.p50Ms, unit: "ms" },
  ];
};

/** What can be measured by itself, in the order of the whole. */
const parts: ReadonlyMap<string, () => Promise<readonly Row[]>> = new Map([
  ["filters", measureFilterRules],
  ["machines", measureOneNode],
  ["life", measureOneGuest],
  ["floating", measureFloatingAddress],
]);

const measure = async (names: readonly string[]): Promise<readonly Row[]> => {
  const rows: Row[] = [];
  for (const [name, part] of parts) {
    if (names.length === 0 || names.includes(name)) rows.push(...(await part()));
  }
  return rows;
};

const readBaseline = async (): Promise<Baseline> =>
  JSON.parse(await readFile(BASELINE, "utf8").catch(() => "{}")) as Baseline;

const show = (rows: readonly Row[], baseline: Baseline): void => {
  const number = (value: number | undefined): string =>
    (value === undefined ? "-" : value.toFixed(2)).padStart(10);
  say(`${"".padEnd(48)}${"now".padStart(10)}${"baseline".padStart(10)}${"target".padStart(10)}`);
  for (const { name, value, unit, target } of rows) {
    const missed = target !== undefined && value > target ? "  MISSED" : "";
    say(`${name.padEnd(48)}${number(value)}${number(baseline[name])}${number(target)}  ${unit}${missed}`);
  }
  say(`\n${cpus().length} CPUs, ${cpus()[0]?.model ?? "unknown"}; guests under emulation (TCG).`);
};

const names = process.argv.slice(2).filter((argument) => argument !== "--write");
const unknown = names.filter((name) => !parts.has(name));
if (unknown.length > 0)
  throw new Error(`there is no part ${unknown.join(", ")}; there are ${[...parts.keys()].join(", ")}`);
const rows = await measure(names);
const baseline = await readBaseline();
show(rows, baseline);
if (process.argv.includes("--write")) {
  const entries = rows.map(({ name, value }) => [name, Number(value.toFixed(2))]);
  // The parts that were not measured keep theirs.
  const kept = names.length === 0 ? {} : baseline;
  await writeFile(BASELINE, `${JSON.stringify({ ...kept, ...Object.fromEntries(entries) }, null, 2)}\n`);
}

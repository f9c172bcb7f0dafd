import type { VireoProcess } from "../../testbed/processes.ts";
import { waitFor } from "../../testbed/wait.ts";

/** The sum of a metric's samples that carry all of these labels; 0 when there is none. */
const sumOf = (text: string, name: string, labels: Readonly<Record<string, string>>): number =>
  text
    .split("\n")
    .filter((line) => line.startsWith(`${name}{`) || line.startsWith(`${name} `))
    .filter((line) => Object.entries(labels).every(([key, value]) => line.includes(`${key}="${value}"`)))
    .reduce((sum, line) => sum + Number(line.slice(line.lastIndexOf(" ") + 1)), 0);

const readMetric = async (
  { metricsUrl }: VireoProcess,
  name: string,
  labels: Readonly<Record<string, string>>,
): Promise<number> => {
  const response = await fetch(`${metricsUrl}/metrics`, { signal: AbortSignal.timeout(5_000) });
  return sumOf(await response.text(), name, labels);
};

/** How often the process has looked at an object, by the name of the controller inside it. */
export const countReconciles = (process: VireoProcess, controller: string): Promise<number> =>
  readMetric(process, "vireo_reconcile_total", { controller });

/** Waits until the process has looked at some object again after `count` looks, and has nothing left to do. */
export const untilReconciled = async (
  process: VireoProcess,
  controller: string,
  count: number,
): Promise<void> => {
  await waitFor(`${process.name}: more than ${count} reconciles of ${controller}, none waiting`, async () => {
    const reconciles = await countReconciles(process, controller);
    const waiting = await readMetric(process, "vireo_queue_depth", { queue: controller });
    if (reconciles <= count || waiting > 0) throw new Error(`${reconciles}, and ${waiting} wait`);
    return true;
  });
};

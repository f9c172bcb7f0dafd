/**
 * One candidate as a process of its own, which a test can freeze and kill:
 * `leader-process.ts <kubeconfig> <identity>`. While it leads, it writes a line
 * of JSON per piece of work; whether it may work it asks before each.
 */
import { setTimeout as delay } from "node:timers/promises";
import { createKubeClient } from "../../../src/kube/client.ts";
import { loadKubeConfig } from "../../../src/kube/kube-config.ts";
import { runLeaderElection } from "../../../src/kube/leader-election.ts";
import { createLogger } from "../../../src/kube/logger.ts";
import { runUntilShutdown } from "../../../src/kube/run.ts";

const [kubeconfig, identity = "nobody"] = process.argv.slice(2);
const client = createKubeClient({ kubeConfig: loadKubeConfig({ kubeconfig }) });
const logger = createLogger({ component: identity, destination: process.stderr });
const say = (what: string): void =>
  void process.stdout.write(`${JSON.stringify({ what, identity, at: Date.now() })}\n`);

process.exitCode = await runUntilShutdown({
  logger,
  run: (signal) =>
    runLeaderElection({
      client,
      namespace: "shop",
      leaseName: "vireo-test",
      identity,
      leaseDurationMs: 6_000,
      renewDeadlineMs: 4_000,
      retryPeriodMs: 500,
      logger,
      signal,
      onStartedLeading: async (leading, leadership) => {
        while (!leading.aborted) {
          if (leadership.isCurrent()) say("work");
          await delay(20);
        }
        say("stopped");
      },
    }),
});
await client.close();

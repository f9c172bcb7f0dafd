import { spawn, type ChildProcess } from "node:child_process";
import { once } from "node:events";
import { createInterface } from "node:readline";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "@jest/globals";
import { startControlPlane, type ControlPlane } from "../../testbed/control-plane.ts";
import { waitFor } from "../../testbed/wait.ts";
import { prepare } from "./sites.ts";

interface Line {
  readonly what: "work" | "stopped";
  readonly identity: string;
  readonly at: number;
}

const program = join(import.meta.dirname, "leader-process.ts");
const patience = { timeoutMs: 60_000 };

describe("processes that fight for the lease of a real API server", () => {
  let controlPlane: ControlPlane;
  const lines: Line[] = [];
  const children: ChildProcess[] = [];

  beforeAll(async () => {
    controlPlane = await startControlPlane();
    await prepare(controlPlane);
  }, 180_000);
  afterAll(async () => {
    for (const child of children) child.kill("SIGKILL");
    await controlPlane.stop();
  }, 60_000);

  const startCandidate = (identity: string): ChildProcess => {
    const args = ["--no-warnings", program, controlPlane.kubeconfig, identity];
    const child = spawn(process.execPath, args, { stdio: ["ignore", "pipe", "ignore"] });
    children.push(child);
    createInterface({ input: child.stdout }).on("line", (text) => void lines.push(JSON.parse(text) as Line));
    return child;
  };
  const workOf = (identity: string): number =>
    lines.filter((line) => line.identity === identity && line.what === "work").length;
  const whenWorks = async (identity: string): Promise<void> => {
    const before = workOf(identity);
    await waitFor(`${identity} to work`, () => workOf(identity) > before, patience);
  };

  /** The leaders in the order of their work; each change is one hand-over. */
  const handOvers = (): string[] => {
    const work = lines.filter(({ what }) => what === "work").sort((a, b) => a.at - b.at);
    return work.map(({ identity }) => identity).filter((identity, index, all) => identity !== all[index - 1]);
  };

  test("frozen, thawed, killed, ended: never two at once", async () => {
    const a = startCandidate("a");
    await whenWorks("a");
    const b = startCandidate("b");

    a.kill("SIGSTOP");
    await whenWorks("b");
    a.kill("SIGCONT");
    await waitFor(
      "a to know that it was replaced",
      () => lines.some(({ what, identity }) => what === "stopped" && identity === "a"),
      patience,
    );
    await whenWorks("b");

    b.kill("SIGKILL");
    await whenWorks("a");

    const c = startCandidate("c");
    const askedAt = Date.now();
    a.kill("SIGTERM");
    expect(await once(a, "exit")).toEqual([0, null]);
    await whenWorks("c");
    const handOverMs = (lines.find(({ identity }) => identity === "c")?.at ?? 0) - askedAt;
    process.stdout.write(`graceful hand-over after ${handOverMs} ms (start of the process included)\n`);

    await controlPlane.killApiServer("SIGSTOP");
    await waitFor(
      "c to stop",
      () => lines.some(({ what, identity }) => what === "stopped" && identity === "c"),
      patience,
    );
    await controlPlane.killApiServer("SIGCONT");
    await whenWorks("c");
    c.kill("SIGTERM");
    expect(await once(c, "exit")).toEqual([0, null]);

    expect(handOvers()).toEqual(["a", "b", "a", "c"]);
  }, 240_000);
});

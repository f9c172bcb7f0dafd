import { join } from "node:path";
import { parseArgs } from "node:util";

import { down } from "./demo/down.ts";
import { serialConsole, ssh } from "./demo/guest.ts";
import { up } from "./demo/up.ts";
import { RUNTIME_DIRECTORY, withLock } from "./lock.ts";
import { printProgress } from "./progress.ts";

/**
 * node test/testbed/demo.ts up [--nodes 2] [--kvm] [--debian]
 * node test/testbed/demo.ts ssh NAME [--namespace default] [--user root] [-- COMMAND…]
 * node test/testbed/demo.ts console NAME [--namespace default]
 * node test/testbed/demo.ts down
 */

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    nodes: { type: "string", default: "2" },
    kvm: { type: "boolean", default: false },
    debian: { type: "boolean", default: false },
    namespace: { type: "string", default: "default" },
    user: { type: "string" },
  },
});

const nodeCount = (): number => {
  const nodes = Number(values.nodes);
  if (Number.isInteger(nodes) && nodes >= 1 && nodes <= 8) return nodes;
  throw new Error(`--nodes must be a number from 1 to 8, not ${values.nodes}`);
};

const interrupted = new AbortController();
for (const signal of ["SIGINT", "SIGTERM"] as const) {
  process.once(signal, () =>
    interrupted.abort(new Error(`interrupted; make demo continues, make down cleans up`)),
  );
}

/** Two commands that change the demo at the same time would meet half of each other's work. */
const alone = (action: () => Promise<void>): Promise<void> =>
  withLock(join(RUNTIME_DIRECTORY, "demo.lock"), action, () =>
    printProgress("waiting for another make demo or make down"),
  );

const main = async (): Promise<void> => {
  if (process.getuid?.() !== 0) throw new Error("the demo needs root: it makes network namespaces");
  const [verb, name = "hello", ...command] = positionals;
  const { namespace, user, kvm, debian } = values;
  switch (verb) {
    case "up":
      return alone(() => up({ nodes: nodeCount(), kvm, debian, signal: interrupted.signal }));
    case "down":
      return alone(down);
    case "ssh":
      return ssh({ name, namespace, user, command });
    case "console":
      return serialConsole({ name, namespace });
    default:
      throw new Error(`what to do? up, ssh, console or down, not ${verb ?? "nothing"}`);
  }
};

main().catch((error: unknown) => {
  process.stderr.write(`vireo: ${error instanceof Error ? error.message : String(error)}\n`);
  process.exitCode = 1;
});

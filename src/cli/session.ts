import type { Clock, Random } from "../kube/index.ts";
import type { Cluster } from "./cluster.ts";
import type { Host } from "./host/index.ts";
import type { Say } from "./say.ts";

/** What a command works with. */
export interface Session {
  readonly host: Host;
  /** The cluster that the flags name; connected to when it is first asked for. */
  readonly cluster: () => Promise<Cluster>;
  /** Messages for people, on standard error. */
  readonly say: Say;
  /** Aborted by Ctrl-C; its reason is an InterruptedError. */
  readonly signal: AbortSignal;
  readonly clock: Clock;
  readonly random: Random;
  /** The program of the page that shows a screen in a browser; undefined when this program was not built. */
  readonly viewerScript: string | undefined;
  /** Version of this program. */
  readonly version: string;
}

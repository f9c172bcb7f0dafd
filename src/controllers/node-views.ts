import type { Hypervisor } from "../api/hypervisor.ts";
import type { Stores } from "./context.ts";
import { type Candidate, candidateOf } from "./scheduler/types.ts";
import type { Usage } from "./virtual-machine/ledger.ts";
import type { NodeView } from "./virtual-machine/relocation.ts";

/** The node as the scheduler sees it, with what it has given out. */
export const candidateFor = (hypervisor: Hypervisor, usage: Usage): Candidate =>
  candidateOf(hypervisor, usage.resourcesOn(hypervisor.metadata.name), (pool) => usage.diskIn(pool));

/** All nodes. */
export const nodeViewsOf = (
  { hypervisors }: Pick<Stores, "hypervisors">,
  usage: Usage,
): readonly NodeView[] =>
  hypervisors.list().map((hypervisor) => ({ hypervisor, candidate: candidateFor(hypervisor, usage) }));

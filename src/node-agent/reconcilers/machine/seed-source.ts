import { z } from "zod";
import type { VirtualMachine } from "../../../api/virtual-machine.ts";
import type { RawKubeClient } from "../../../kube/index.ts";
import type { SeedSecrets } from "../../desired.ts";

/** The API server has not said what is in the machine's Secrets. */
export class SeedUnavailableError extends Error {
  override readonly name = "SeedUnavailableError";
}

/** What of a guest's seed is in Secrets: the agent reads none, and asks Vireo's API server for this one machine's. */
export type FetchSeed = (
  machine: VirtualMachine,
  options: { readonly signal: AbortSignal },
) => Promise<SeedSecrets>;

const seedAnswer = z.object({ userData: z.string().optional(), networkData: z.string().optional() });

/** Subresource of a machine; see docs/design/api-server.md. */
const seedPath = ({ metadata }: VirtualMachine): string =>
  `/apis/subresources.vireo.dev/v1alpha1/namespaces/${encodeURIComponent(metadata.namespace ?? "")}` +
  `/virtualmachines/${encodeURIComponent(metadata.name)}/seed`;

export const createSeedSource =
  (client: Pick<RawKubeClient, "json">): FetchSeed =>
  async (machine, { signal }) => {
    const { namespace, name } = machine.metadata;
    try {
      const what = `get the seed of VirtualMachine ${namespace}/${name}`;
      const answer = await client.json({ what, method: "GET", path: seedPath(machine), signal });
      return seedAnswer.parse(answer);
    } catch (error) {
      if (signal.aborted || !(error instanceof Error)) throw error;
      throw new SeedUnavailableError(error.message, { cause: error });
    }
  };

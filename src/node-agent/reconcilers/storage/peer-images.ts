import type { HttpAnswer, PeerSource } from "../../disks/index.ts";
import { type PeerClient, PeerRefusal } from "../../../pki/index.ts";

export interface PeerImagesOptions {
  readonly peers: PeerClient;
  /** "address:port" of that node's agent; undefined while it serves nothing. */
  readonly endpointOf: (
    nodeName: string,
    options: { readonly signal: AbortSignal },
  ) => Promise<string | undefined>;
}

/** Images of other nodes, from the agents there: see image-routes.ts. */
export const createPeerImages = ({ peers, endpointOf }: PeerImagesOptions): PeerSource => ({
  get: async ({ hostname: nodeName, pathname: path }, { headers, signal }) => {
    const endpoint = await endpointOf(nodeName, { signal });
    if (endpoint === undefined) throw new Error(`the agent of node ${nodeName} serves nothing at the moment`);
    const to = { endpoint, identity: { kind: "node-agent", nodeName } as const };
    try {
      const answer = await peers.request(to, { path, headers, signal });
      return {
        status: answer.statusCode ?? 0,
        header: (name) => {
          const value = answer.headers[name];
          return typeof value === "string" ? value : undefined;
        },
        body: answer,
        discard: () => {
          answer.on("error", () => {}).destroy();
        },
      };
    } catch (error) {
      if (!(error instanceof PeerRefusal)) throw error;
      return refused(error.status);
    }
  },
});

/** What a refusal says is not about the image, but for its status. */
const refused = (status: number): HttpAnswer => ({
  status,
  header: () => undefined,
  body: (async function* () {})(),
  discard: () => {},
});
